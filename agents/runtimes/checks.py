"""Runs checks on an exact commit in a fresh clone: the proof behind a node's success."""

import re
import tempfile
from typing import IO
from uuid import UUID

from agents.contracts import Assignment, Check, CheckOutcome, CheckResult, Outcome, PartRecord
from agents.runner.reports import Faults, Reports
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
    results = []
    for number, check in enumerate(assignment.checks, start=1):
        with tempfile.TemporaryFile(dir=context.folder) as whole:
            result = await _check(check, workspace, confined, transcript, whole)
            if result.truncated:
                kept = await _keep(whole, f"checks/{number}-{_slug(check.name)}.log", context.reports, transcript)
                result = result.model_copy(update={"artifact": kept})
        results.append(result)
    return CheckOutcome(results=tuple(results))


def _slug(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-") or "check"


async def _keep(whole: IO[bytes], name: str, reports: Reports, transcript: Transcript) -> UUID | None:
    """Keep a long output as an artifact; what is refused is told in the transcript, and changes nothing."""
    try:
        return (await reports.artifact(whole, name=name, media_type="text/plain")).artifact
    except Faults as error:
        transcript.note("text", text=f"The whole output is not kept: {error}")
        return None


async def _check(
    check: Check, workspace: Workspace, confined: Confined, transcript: Transcript, whole: IO[bytes]
) -> CheckResult:
    transcript.doing(f"checking: {check.name}")
    given = {"name": check.name, "command": check.command}
    part = transcript.note("tool", state="open", tool="check", input=given, started_at=now())
    result = await confined.run(check.command, check.timeout, whole)
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
