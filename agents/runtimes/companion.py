"""A program of one attempt beside its runner: it runs the agent's tools itself, so it is locked in with the attempt's
workspace, and its one way out leads to the control plane."""

import asyncio
import os
import shlex
import shutil
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from socket import create_server

from agents.contracts import Assignment, Limits
from agents.runner.clipped import Clipped
from agents.runner.confinement import WORKSPACE
from agents.runner.processes import descendants, limit_processor
from agents.runner.sandbox import OVERHEAD, WALLED, Confined, Stop, started, watch
from agents.runtimes.opencode import bridge
from agents.runtimes.opencode.configuration import routes
from agents.runtimes.opencode.proxy import OnAnswer, Proxy, unheard

MEMORY_MB, PROCESSES, LOG_BYTES = 4096, 256, 16_384
"""Of the program and all that it starts, together."""
LONGEST_SECONDS = 86_400
"""Of a program that was started before its attempt, which may need less."""
WATCH_SECONDS = 0.5
OUT = "out.sock"
"""It leads to the control plane. It lies where no agent can change it."""
NO_LISTENER = (-1, 0)


@dataclass
class Beside:
    """A program that has begun."""

    process: asyncio.subprocess.Process
    ended: "asyncio.Task[Stop]"
    """Done when the process is gone; which limit it broke, if one."""
    said: Clipped
    """What it logged."""

    def end(self) -> str:
        """How it ended, in words."""
        limit = self.ended.result()
        return f"it used too much {limit}" if limit else f"exit code {self.process.returncode}"


class Companion:
    """The places and the way out of a program that is started once or more in one attempt."""

    def __init__(
        self,
        assignment: Assignment | None,
        confined: Confined,
        shown: Mapping[Path, str],
        on_answer: OnAnswer = unheard,
    ) -> None:
        """`assignment`: None while there is none (see `turn_to`). `shown`: files and folders of this machine that it
        may read, each with the path under which it sees them. `on_answer` hears what the control plane answers to it.
        Raises SandboxMissing."""
        confined.allow()
        self._assignment = assignment
        self._on_answer = on_answer
        self._proxy: Proxy | None = None
        self.kind = confined.kind
        self._sockets = confined.places.scratch / "sockets"
        bridging = Path(bridge.__file__).resolve()
        self._seen = {
            **shown,
            bridging: "/opt/waggle/bridge.py",
            self._sockets / OUT: "/opt/waggle/plane.sock",
        }
        self._bridge, self._plane = self.seen(bridging), self.seen(self._sockets / OUT)
        self.places = replace(confined.places, shown=tuple(self._seen.items()))

    @property
    def directory(self) -> str:
        """The workspace, as the program sees it."""
        return WORKSPACE if self.kind in WALLED else str(self.places.work)

    @property
    def home(self) -> str:
        """A folder of its own that lasts as long as the attempt, as the program sees it."""
        return "/tmp" if self.kind in WALLED else str(self.places.tmp)

    def seen(self, path: Path) -> str:
        """The path under which the program sees something that is shown to it."""
        return self._seen[path] if self.kind in WALLED else str(path)

    @asynccontextmanager
    async def reachable(self) -> AsyncIterator[str]:
        """The way out, while the block lasts; gives the folder of its sockets under a short name, as they need."""
        self.places.prepare()
        shutil.rmtree(self._sockets, ignore_errors=True)
        self._sockets.mkdir(mode=0o700)
        folder = os.open(self._sockets, os.O_PATH | os.O_DIRECTORY)
        try:
            sockets = f"/proc/self/fd/{folder}"
            found, token = (routes(self._assignment), self._assignment.token) if self._assignment else ({}, "")
            self._proxy = Proxy(found, token, self._on_answer)
            async with self._proxy.listening(f"{sockets}/{OUT}"):
                yield sockets
        finally:
            os.close(folder)

    def line(self, command: Sequence[str], plane: int, listener: tuple[int, int] = NO_LISTENER) -> str:
        """The shell command that starts the program in its sandbox; see `running`."""
        bridging = ["python3", "-I", self._bridge, *map(str, listener), self._plane, str(plane), self.directory]
        return shlex.join([*bridging, *command])

    @asynccontextmanager
    async def running(
        self,
        command: Sequence[str],
        variables: Mapping[str, str],
        plane: int,
        listener: tuple[int, int] = NO_LISTENER,
        pipes: tuple[int, int] | None = None,
    ) -> AsyncIterator[Beside]:
        """The program, which finds the control plane at port `plane`; at the end of the block nothing of it is left.

        `listener`: an open socket, and the port at which the program serves who connects to it. `pipes`: what it
        reads as its standard input, and where its standard output goes.
        """
        line = self.line(command, plane, listener)
        files = [listener[0]] if listener[0] >= 0 else []
        if pipes is not None:
            # Not by their numbers: shells take single digits only.
            line += f" </proc/self/fd/{pipes[0]} 2>&1 >/proc/self/fd/{pipes[1]}"
            files += pipes
        limits = self.limits()
        async with AsyncExitStack() as stack:
            process = await stack.enter_async_context(
                started(line, self.kind, self.places, limits, variables, files=files)
            )
            said = Clipped(LOG_BYTES)
            reading = asyncio.create_task(_read(process, said))
            stack.callback(reading.cancel)
            beside = Beside(process, self._watch(process, limits), said)
            stack.callback(lambda: beside.ended.cancel())
            yield beside

    def turn_to(self, assignment: Assignment, beside: Beside) -> bool:
        """A program that was started for nobody works for this assignment from now on, with its way out and within its
        limits; False when it needs more than the program was given at its start."""
        limits = limits_of(assignment)
        if self._proxy is None or not within(limits, self.limits()):
            return False
        self._assignment = assignment
        self._proxy.lead(routes(assignment), assignment.token)
        limit_processor(descendants(beside.process.pid), limits.seconds * (os.cpu_count() or 1))
        beside.ended.cancel()
        self.places = replace(self.places)  # what the workspace has brought is not the program's doing
        beside.ended = self._watch(beside.process, limits)
        return True

    def _watch(self, process: asyncio.subprocess.Process, limits: Limits) -> "asyncio.Task[Stop]":
        return asyncio.create_task(watch(process, limits, self.places.disk, OVERHEAD[self.kind] + 2, WATCH_SECONDS))

    def limits(self) -> Limits:
        """Of the program and all that it starts, together."""
        return limits_of(self._assignment)


def limits_of(assignment: Assignment | None) -> Limits:
    """Of an attempt's program and all that it starts, together; of one that is started before its attempt is known."""
    if assignment is None:
        return Limits(seconds=LONGEST_SECONDS, memory_mb=MEMORY_MB, processes=PROCESSES)
    asked = assignment.limits
    return Limits(
        seconds=max(int(assignment.time_limit), 1) + 60,  # the runner's limit is the one that counts
        memory_mb=max(asked.memory_mb, MEMORY_MB),
        processes=max(asked.processes, PROCESSES),
    )


def within(limits: Limits, given: Limits) -> bool:
    """Whether a program that was started within `given` can be held to these."""
    return (
        limits.seconds <= given.seconds and limits.memory_mb <= given.memory_mb and limits.processes <= given.processes
    )


def free_ports() -> tuple[int, int]:
    """Two ports; in a sandbox all are free, outside of one it matters."""
    with create_server(("127.0.0.1", 0)) as one, create_server(("127.0.0.1", 0)) as other:
        return one.getsockname()[1], other.getsockname()[1]


async def _read(process: asyncio.subprocess.Process, said: Clipped) -> None:
    assert process.stdout is not None
    while data := await process.stdout.read(65_536):
        said.add(data)
