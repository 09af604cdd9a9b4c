"""The command runtime: any program of the operator's, in the workspace, with the briefing on its standard input.

docs/runtimes.md tells what the program finds, and how it answers.
"""

import asyncio
import json
import os
import shlex
import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import ValidationError
from pydantic_ai.exceptions import ToolFailed

from agents.contracts import Assignment, FailureOutcome, FailureReason, Outcome
from agents.runner import sandbox
from agents.runner.confinement import system_paths
from agents.runner.reports import Faults
from agents.runner.sandbox import CommandResult, Confined, SandboxMissing
from agents.runtimes.answers import Answer, Summary, faults_of, wanted
from agents.runtimes.asking import after_interrupt
from agents.runtimes.capabilities import Capabilities
from agents.runtimes.companion import Companion, free_ports
from agents.runtimes.context import Context
from agents.runtimes.delivery import LAST_WORDS, ROUNDS, Delivery, NoChanges, NotKept
from agents.runtimes.files import bytes_of
from agents.runtimes.inbox import as_heard
from agents.runtimes.opencode.configuration import MCP_PATH, MODEL_PATH
from agents.runtimes.output import Growing
from agents.runtimes.policy import Policy
from agents.runtimes.prompts import instructions, renamed
from agents.runtimes.recording import Transcript, clip, listed, now

CAN = Capabilities(
    hears="when it is run again",
    asks=False,
    seeks_permission=False,
    crash="ends with a reason",
    streams_commands=True,
)
ANSWER = "waggle-answer.json"
ANSWER_BYTES = 1_000_000
SUMMARY_CHARS = 500
FINISH = """
Exit with 0 when you are done. Before that, write your answer as JSON to the file named by the variable `WAGGLE_ANSWER`;
the file named by `WAGGLE_SCHEMA` has its JSON Schema.
"""
WORDING = {
    " as a message, or as the answer to `ask_person`:": " when you are run again:",
    "Ask only what you cannot find out, and what would be dear to get wrong.\n": "",
    "calling `final_result`": "writing your answer",
    "call it again": "write it again",
}


class Wrong(Exception):
    """What the program left as its answer is none; the message says why, for the program."""


async def run(assignment: Assignment, context: Context) -> Outcome:
    """Runs the program until its answer is accepted or it fails; each fault that is found in it costs a run."""
    command = os.environ.get("WAGGLE_RUNNER_COMMAND", "")
    if not command:
        message = "This runner has no command: WAGGLE_RUNNER_COMMAND is not set."
        return FailureOutcome(reason=FailureReason.AGENT_ERROR, message=message)
    transcript = Transcript(context.reports)
    transcript.doing("preparing its workspace")
    workspace = await context.workspace(assignment)
    standing = _instructed(assignment.role)
    transcript.say("system", standing)
    transcript.say("user", assignment.briefing)
    program = Program(command, assignment, context.confined(assignment, workspace), transcript)
    if why := await Policy(context.reports, transcript).refusal("shell", {"command": command}):
        return FailureOutcome(reason=FailureReason.AGENT_ERROR, message=f"The program may not run. {why}")
    delivery = Delivery(assignment, context, workspace, transcript)
    told = f"{standing}\n{assignment.briefing}\n"
    try:
        return await _through_runs(told, program, delivery)
    except NoChanges as error:
        failure = error.failure(program.said)
    except Failed as error:
        failure = error.failure
    transcript.begin_answer()
    transcript.note("error", state="failed", text=failure.message)
    return failure


class Failed(Exception):
    """The program did not do its part."""

    def __init__(self, reason: FailureReason, message: str, detail: str) -> None:
        super().__init__(message)
        self.failure = FailureOutcome(reason=reason, message=message, detail=detail)


async def _through_runs(told: str, program: "Program", delivery: Delivery) -> Outcome:
    """As many runs as it takes. Raises Failed or NoChanges."""
    inbox, transcript = delivery.context.told.inbox, delivery.transcript
    text, rounds, last_words = told, 0, 0
    while True:
        transcript.begin_answer()
        running = asyncio.create_task(program.run(text))
        stopping = asyncio.create_task(inbox.interrupted())
        try:
            await asyncio.wait({running, stopping}, return_when=asyncio.FIRST_COMPLETED)
            is_over = running.done()
        finally:
            for task in (running, stopping):
                task.cancel()
            await asyncio.gather(running, stopping, return_exceptions=True)
        if not is_over:
            text = f"{told}\n# Meanwhile\n\n{await after_interrupt(transcript, inbox)}\n"
            continue
        result = running.result()
        if result.exit_code != 0:
            why = f"was stopped: {result.stopped}" if result.stopped else f"ended with exit code {result.exit_code}"
            raise Failed(FailureReason.AGENT_ERROR, f"The program {why}.", program.said)
        if last_words < LAST_WORDS and (heard := as_heard(inbox.take())):
            last_words += 1
            text = f"{told}\n# Before you finish\n\n{heard}\n"
            continue
        try:
            outcome = await delivery.outcome(program.answer())
            await delivery.context.reports.outcome(outcome)
            return outcome
        except (Wrong, NotKept) as error:
            faults = [str(error)]
        except Faults as error:
            faults = error.faults
        rounds += 1
        if rounds > ROUNDS:
            message = f"The program's answer kept breaking its contract: {'; '.join(faults)}"
            raise Failed(FailureReason.INVALID_OUTPUT, message, program.said)
        mend = f"# Your answer breaks the contract\n\n{listed(faults)}\n\nMend all of it; what you did before is there."
        transcript.say("user", mend)
        text = f"{told}\n{mend}\n"


@dataclass
class Program:
    """The operator's program in the sandbox of one execution."""

    command: str
    assignment: Assignment
    confined: Confined
    transcript: Transcript
    said: str = field(default="", init=False)
    """The end of what its last run printed."""

    async def run(self, text: str) -> CommandResult:
        """Runs it once, to its end, told this much. Raises SandboxMissing."""
        self.confined.allow()
        self._clear()
        transcript = self.transcript
        transcript.doing(f"running {self.command}")
        given = {"command": self.command}
        part = transcript.note("tool", state="open", tool="command", input=given, started_at=now())

        def show(output: str) -> None:
            transcript.put(part, output=output)

        growing = Growing(show)
        try:
            result = await self._confined(text, growing)
        except (asyncio.CancelledError, SandboxMissing):
            growing.close()
            transcript.put(part, state="failed", output="It was stopped.", ended_at=now())
            raise
        growing.close()
        self.said = result.output[-4000:]
        output = clip(f"{result.output.rstrip()}\n[exit code {result.exit_code} after {result.seconds:.1f} s]")
        transcript.put(part, state="done" if result.exit_code == 0 else "failed", output=output, ended_at=now())
        return result

    def answer(self) -> Answer:
        """What the last run left. Raises Wrong."""
        try:
            _, file = bytes_of(self.confined.places.tmp, ANSWER)
        except ToolFailed as error:
            if self.assignment.kind == "work" and not self.assignment.answers:
                return Summary(summary=_last_line(self.said) or "The program ended without a word.")
            raise Wrong("There is no answer in the file that `WAGGLE_ANSWER` names.") from error
        with file:
            data = file.read(ANSWER_BYTES + 1)
        if len(data) > ANSWER_BYTES:
            raise Wrong(f"The answer has more than {ANSWER_BYTES} bytes.")
        try:
            return wanted(self.assignment).model_validate_json(data)
        except ValidationError as error:
            raise Wrong(listed(faults_of(error))) from error

    async def _confined(self, text: str, growing: Growing) -> CommandResult:
        """Runs it beside a folder of ours with what it is told. Raises SandboxMissing."""
        ours = self.confined.places.scratch / "command"
        shutil.rmtree(ours, ignore_errors=True)
        ours.mkdir(mode=0o700, parents=True)
        briefing, schema = ours / "briefing.md", ours / "answer.schema.json"
        briefing.write_text(text)
        schema.write_text(json.dumps(wanted(self.assignment).model_json_schema(), indent=1))
        named = dict.fromkeys(_files_outside(self.command))
        shown = {path: f"/opt/command/{number}/{path.name}" for number, path in enumerate(named)}
        shown |= {path: f"/opt/waggle/{path.name}" for path in (briefing, schema)}
        companion = Companion(self.assignment, self.confined, shown)
        command = self.command
        for path in named:
            command = command.replace(str(path), companion.seen(path))
        port, _ = free_ports()
        variables = {
            "WAGGLE_BRIEFING": companion.seen(briefing),
            "WAGGLE_SCHEMA": companion.seen(schema),
            "WAGGLE_ANSWER": f"{companion.home}/{ANSWER}",
            "WAGGLE_KIND": self.assignment.kind,
            "WAGGLE_ROLE": self.assignment.role,
            # The proxy sets the true key.
            "OPENAI_BASE_URL": f"http://127.0.0.1:{port}{MODEL_PATH}",
            "OPENAI_API_KEY": "none",
            "WAGGLE_MODEL": self.assignment.model.name if self.assignment.model else "",
            "WAGGLE_MCP": f"http://127.0.0.1:{port}{MCP_PATH}",
        }
        told = f"exec < {shlex.quote(companion.seen(briefing))}\n{command}"
        line = companion.line(["sh", "-c", told], port)
        async with companion.reachable():
            return await sandbox.run(line, companion.kind, companion.places, companion.limits(), growing, variables)

    def _clear(self) -> None:
        """Removes the answer of an earlier run, whatever it is."""
        path = self.confined.places.tmp / ANSWER
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        with suppress(FileNotFoundError):
            path.unlink()


def _files_outside(command: str) -> Iterator[Path]:
    """Files that a command names by their whole path and that the sandbox would not show."""
    try:
        words = shlex.split(command)
    except ValueError:
        return
    system = [path for path, _ in system_paths()]
    for word in words:
        path = Path(word)
        if path.is_absolute() and path.is_file() and not any(path.is_relative_to(one) for one in system):
            yield path


def _instructed(role: str) -> str:
    """The standing instructions of a role, in this runtime's words."""
    return renamed(instructions(role), WORDING) + FINISH


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:SUMMARY_CHARS] if lines else ""
