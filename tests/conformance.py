"""The stage of the conformance suite: every runtime, driven by the same acts, through a real runner.

A runtime takes part with a *driver*, one small class: how an agent of its kind is scripted. It has

- `runtime`: its name in agents.contracts.RUNTIMES;
- `environment(folder)`: variables of the runner, such as where the agent's program is; `folder` is empty, and the
  driver's own. Raises Missing when a program is not here: then its cases are skipped, and say so;
- `script(plane, acts)`: the next agent does these acts, one after the other. Each is begun once: an agent that was
  interrupted, or whose process died, goes on with the next one;
- `heard(plane)`: all that its agent was told so far, in one text;
- `agent(folder, marker)`: the process of its agent, while a command with this marker runs. `folder` is the execution's.

What a runtime cannot do is said by its `CAN` (agents.runtimes.capabilities): cases that ask for more leave it out, and
those that touch it expect what is declared. To add a driver: write the class in a module of its own
(`tests/conformance_acp.py`), and add one line to DRIVERS in tests/test_runtime_conformance.py. Choose the lightest
agent of its kind: each case starts one.
"""

import dataclasses
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from uuid import UUID, uuid4

from agents.contracts import Assignment, Outcome
from agents.contracts.link import Order, Steer
from agents.runtimes import RUNTIMES
from agents.runtimes.capabilities import Capabilities
from agents.runtimes.opencode.install import NotInstalled, install
from tests.fake_control_plane import FakeControlPlane, call, until
from tests.test_runner import child_of, processes_now_with


class Missing(Exception):
    """A program that a driver needs is not on this machine."""


@dataclass(frozen=True)
class Say:
    """It says something."""

    text: str


@dataclass(frozen=True)
class Wait:
    """It is silent for a while: a model thinks, a program computes."""

    seconds: float


@dataclass(frozen=True)
class Write:
    """It writes a file of its workspace."""

    path: str
    text: str


@dataclass(frozen=True)
class Run:
    """It runs a shell command in its workspace."""

    command: str


@dataclass(frozen=True)
class Ask:
    """It asks the people of the team."""

    question: str
    options: tuple[str, ...] = ()


@dataclass(frozen=True)
class Finish:
    """It says that it is done, and answers by name."""

    summary: str
    answers: dict[str, Any] | None = None

    @property
    def result(self) -> dict[str, Any]:
        return {"summary": self.summary} | ({} if self.answers is None else {"answers": self.answers})


Act = Say | Wait | Write | Run | Ask | Finish


class Driver(Protocol):
    """How an agent of one kind is scripted; see above."""

    runtime: str

    def environment(self, folder: Path) -> dict[str, str]: ...

    def script(self, plane: FakeControlPlane, acts: Sequence[Act]) -> None: ...

    def heard(self, plane: FakeControlPlane) -> str: ...

    def agent(self, folder: Path, marker: str) -> int: ...


class ModelDriver:
    """An agent that does what a scripted model says, by calls of tools."""

    runtime = ""

    def environment(self, folder: Path) -> dict[str, str]:
        return {}

    def script(self, plane: FakeControlPlane, acts: Sequence[Act]) -> None:
        answers = self._answers(acts)
        plane.script = lambda messages: next(answers)

    def heard(self, plane: FakeControlPlane) -> str:
        return "\n".join(str(message.get("content")) for asked in plane.requests for message in asked["messages"])

    def agent(self, folder: Path, marker: str) -> int:
        raise NotImplementedError

    def calls(self, act: Act) -> list[dict[str, Any]]:
        """The calls of tools, one after the other, that do an act."""
        raise NotImplementedError

    def _answers(self, acts: Sequence[Act]) -> Iterator[list[dict[str, Any]]]:
        answer: list[dict[str, Any]] = []
        for act in acts:
            match act:
                case Say(text):
                    answer.append({"content": text})
                case Wait(seconds):
                    answer.append({"pause": seconds})
                case _:
                    for one in self.calls(act):
                        yield [*answer, one]
                        answer = []
        while True:
            yield [*answer, {"content": "There is nothing left in the script."}]


class Builtin(ModelDriver):
    """Our own agent."""

    runtime = "builtin"

    def calls(self, act: Act) -> list[dict[str, Any]]:
        match act:
            case Write(path, text):
                return [call("write_file", path=path, content=text)]
            case Run(command):
                return [call("run_command", command=command)]
            case Ask(question, options):
                return [call("ask_person", question=question, options=list(options))]
            case Finish():
                return [call("final_result", **act.result)]
        raise AssertionError(f"it has no way to {act}")

    def agent(self, folder: Path, marker: str) -> int:
        return child_of(marker)


class OpenCode(ModelDriver):
    """The real program."""

    runtime = "opencode"

    def environment(self, folder: Path) -> dict[str, str]:
        if shutil.which("rg") is None:
            raise Missing("ripgrep is not installed")
        try:
            tools = install(Path(os.environ["WAGGLE_TEST_TOOLS"]))
        except NotInstalled as error:
            raise Missing(str(error)) from error
        # Cases find its server in the folder of the execution: each starts its own.
        return {"WAGGLE_RUNNER_OPENCODE": str(tools), "WAGGLE_RUNNER_WARM_SERVERS": "0"}

    def calls(self, act: Act) -> list[dict[str, Any]]:
        match act:
            case Write(path, text):
                return [call("write", filePath=path, content=text)]
            case Run(command):
                return [call("bash", command=command, description="x")]
            case Ask(question, options):
                choices = [{"label": option, "description": option} for option in options]
                return [call("question", questions=[{"question": question, "header": "x", "options": choices}])]
            case Finish():
                return [call("StructuredOutput", **act.result)]
        raise AssertionError(f"it has no way to {act}")

    def agent(self, folder: Path, marker: str) -> int:
        return server_of(folder)


class Command(ModelDriver):
    """A program of ours that does the acts, and tells the model all that it is told."""

    runtime = "command"

    def environment(self, folder: Path) -> dict[str, str]:
        self._program = folder / "agent.py"
        self._program.touch()
        return {"WAGGLE_RUNNER_COMMAND": f"python3 {self._program}"}

    def script(self, plane: FakeControlPlane, acts: Sequence[Act]) -> None:
        plane.script = lambda messages: [{"content": "Heard."}]
        todo = [(type(act).__name__, dataclasses.astuple(act)) for act in acts]
        self._program.write_text(f"ACTS = {todo!r}\n{PROGRAM}")

    def agent(self, folder: Path, marker: str) -> int:
        return process_of(folder, lambda words: words[1:2] and words[1].endswith(b"agent.py"))


PROGRAM = """
import json, os, pathlib, subprocess, sys, time, urllib.request

words = {"model": os.environ["WAGGLE_MODEL"], "messages": [{"role": "user", "content": sys.stdin.read()}]}
url = os.environ["OPENAI_BASE_URL"] + "/chat/completions"
urllib.request.urlopen(urllib.request.Request(url, json.dumps(words).encode())).read()
begun = pathlib.Path(os.environ["TMPDIR"], "begun")
while (number := len(begun.read_text()) if begun.exists() else 0) < len(ACTS):
    begun.write_text("x" * (number + 1))
    name, (first, *rest) = ACTS[number]
    if name == "Say":
        print(first, flush=True)
    elif name == "Wait":
        time.sleep(first)
    elif name == "Write":
        path = pathlib.Path(first)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(*rest)
    elif name == "Run":
        subprocess.run(first, shell=True)
    elif name == "Finish":
        pathlib.Path(os.environ["WAGGLE_ANSWER"]).write_text(json.dumps({"summary": first, "answers": rest[0]}))
        break
"""


def server_of(folder: Path) -> int:
    """The process of OpenCode's server that works in a folder; 0 when there is none."""
    return process_of(folder, lambda words: words[1:2] == [b"serve"])


def process_of(folder: Path, fits: Callable[[list[bytes]], object]) -> int:
    """A process in whose sandbox a folder is, and whose command line fits; 0 when there is none."""
    return next(processes_of(folder, fits), 0)


def processes_of(folder: Path, fits: Callable[[list[bytes]], object]) -> Iterator[int]:
    """All such."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
                mounts = (entry / "mountinfo").read_text()
            except OSError:
                continue
            if fits(words) and str(folder) in mounts:
                yield int(entry.name)


@dataclass
class Stage:
    """One runtime, one control plane, one runner."""

    driver: Driver
    plane: FakeControlPlane
    runner: Path
    """The runner's folder."""

    @property
    def can(self) -> Capabilities:
        return RUNTIMES[self.driver.runtime].CAN

    def begin(self, *acts: Act, **changes: Any) -> Assignment:
        """Gives an agent work; it does these acts."""
        self.driver.script(self.plane, acts)
        # Long enough for a machine that is busy with other things.
        values = {"time_limit": 200, "lease_seconds": 60} | changes
        assignment = self.plane.assignment(runtime=self.driver.runtime, **values)
        self.plane.assign(assignment)
        return assignment

    def folder(self, assignment: Assignment) -> Path:
        return self.runner / str(assignment.execution)

    def release(self, assignment: Assignment) -> None:
        """Lets a command go on that holds, see `holding`."""
        (self.folder(assignment) / "work" / "go").touch()

    def say(self, assignment: Assignment, *said: Steer) -> None:
        """People say this to the agent; each word is repeated until the runner tells that it is taken."""
        self.plane.orders[assignment.execution] = Order(verdict="continue", steer=said)

    def taken(self, steer: Steer) -> bool:
        return any(steer.id in beat.taken for beat in self.plane.beats)

    def asked(self, command: str) -> bool:
        """Whether the agent asked if it may run a command."""
        return any(asked.arguments.get("command") == command for asked in self.plane.asked)

    def end(self) -> Outcome:
        """Waits for the outcome."""
        until(lambda: self.plane.ended, "the agent's work ends", 200)
        (outcome,) = self.plane.outcomes
        return outcome

    def begun(self, marker: str) -> None:
        """Waits until a command with the marker runs."""
        until(lambda: processes_now_with(marker) or self.plane.outcomes, "the command runs", 200)
        assert not self.plane.outcomes, self.plane.outcomes

    def shown(self) -> str:
        """All that the transcript shows of what the agent said and what its commands printed."""
        return "\n".join(f"{part.text}\n{part.output}" for part in self.plane.parts())


def marker() -> str:
    """A word by which to find the processes of a command."""
    return uuid4().hex


def holding(mark: str) -> Run:
    """It runs a command that goes on when it is released."""
    return Run(f"sh -c 'until [ -e go ]; do sleep 0.05; done; rm go # {mark}'")


def sleeping(mark: str) -> Run:
    """It runs a command that does not end."""
    return Run(f"setsid sh -c 'while true; do sleep 60; done # {mark}'")


def steer(kind: str = "message", text: str = "", question: UUID | None = None) -> Steer:
    return Steer.model_validate({"id": uuid4(), "kind": kind, "text": text, "by": "Alice", "question": question})
