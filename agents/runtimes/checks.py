"""Runs checks on an exact commit in a fresh clone: the proof behind a node's success."""

import re

from agents.contracts import Assignment, Check, CheckOutcome, CheckResult, Outcome, PartRecord
from agents.runner.sandbox import CommandResult, Confined
from agents.runner.workspace import Workspace
from agents.runtimes.context import Context
from agents.runtimes.recording import Transcript, now

UNITTEST_RAN = re.compile(r"^Ran (\d+) tests? in ", re.MULTILINE)
UNITTEST_END = re.compile(r"^(?:OK|FAILED|NO TESTS RAN)(?: \((.*)\))?$", re.MULTILINE)
PYTEST_END = re.compile(r"^=* ?((?:\d+ [a-z]+(?:, )?)+) in [\d.]+s.*$", re.MULTILINE)


async def run(assignment: Assignment, context: Context) -> Outcome:
    """Runs each check of the assignment in turn; all are run, also after one failed."""
    transcript = Transcript(context.reports)
    transcript.doing("fetching the commit")
    workspace = await context.workspace(assignment)
    confined = context.confined(assignment, workspace)
    results = [await _check(check, workspace, confined, transcript) for check in assignment.checks]
    return CheckOutcome(results=tuple(results))


async def _check(check: Check, workspace: Workspace, confined: Confined, transcript: Transcript) -> CheckResult:
    transcript.doing(f"checking: {check.name}")
    given = {"name": check.name, "command": check.command}
    part = transcript.note("tool", state="open", tool="check", input=given, started_at=now())
    result = await confined.run(check.command, check.timeout)
    passed, failed = counts(result.output)
    _record(transcript, part, result)
    return CheckResult(
        name=check.name,
        command=check.command,
        commit=workspace.repository.commit,
        exit_code=result.exit_code,
        seconds=result.seconds,
        output=result.output,
        truncated=result.truncated,
        passed=passed,
        failed=failed,
    )


def _record(transcript: Transcript, part: PartRecord, result: CommandResult) -> None:
    transcript.put(
        part,
        state="done" if result.exit_code == 0 else "failed",
        output=f"exit code {result.exit_code} after {result.seconds:.1f} s\n{result.output}".rstrip(),
        ended_at=now(),
    )


def counts(output: str) -> tuple[int | None, int | None]:
    """Tests that passed and failed, over all runs of unittest or pytest in an output; None: unknown."""
    ran = [int(number) for number in UNITTEST_RAN.findall(output)]
    if ran:
        numbers = _numbers(", ".join(UNITTEST_END.findall(output)), r"([a-z ]+)=(\d+)", names_first=True)
        failed = sum(numbers.get(name, 0) for name in ("failures", "errors", "unexpected successes"))
        return max(sum(ran) - failed - numbers.get("skipped", 0), 0), failed
    ends = PYTEST_END.findall(output)
    if ends:
        numbers = _numbers(", ".join(ends), r"(\d+) ([a-z]+)", names_first=False)
        return numbers.get("passed", 0), sum(numbers.get(name, 0) for name in ("failed", "error", "errors"))
    return None, None


def _numbers(text: str, pattern: str, *, names_first: bool) -> dict[str, int]:
    found: dict[str, int] = {}
    for first, second in re.findall(pattern, text):
        name, number = (first, second) if names_first else (second, first)
        found[name.strip()] = found.get(name.strip(), 0) + int(number)
    return found
