"""Runs one command of an agent, or one check, locked in and limited."""

import asyncio
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal, Protocol
from uuid import uuid4

from agents.contracts import Limits
from agents.runner import confinement
from agents.runner.cage import cage
from agents.runner.clipped import Clipped
from agents.runner.confinement import Places
from agents.runner.disk import MOST_MB, Disk
from agents.runner.processes import descendants, kill_marked, kill_parent, kill_tree, private_bytes, whole_bytes
from agents.runner.syscalls import filter_file

Sandbox = Literal["bubblewrap", "unshare", "unconfined", "none"]
"""What locks commands in. `unconfined`: nothing works here, and the operator lets them run all the same; `none`:
nothing works, and only the commands of the rehearsal run."""
Stop = Literal["", "time", "memory", "processes", "disk"]

WATCH_SECONDS = 0.05
LATE_SECONDS = 1.0
"""A look that comes later: all stood still. A command's time does so, too, or it is judged before it can say its end.
"""
SPARE_MB = 256
"""The kernel's limit on memory lies above ours, too. It also counts what files are held in memory for a while."""
WHOLE_BYTES = 50 << 20
"""Of an output that is kept as a whole."""
WALLED: frozenset[Sandbox] = frozenset({"bubblewrap", "unshare"})
OVERHEAD: dict[Sandbox, int] = {"bubblewrap": 1, "unshare": 1, "unconfined": 0, "none": 0}
"""Processes of the sandbox itself that do not count as the command's."""
MARK = "WAGGLE_COMMAND_"
"""Begins the name of a variable by which all that a command starts is known, where no sandbox holds it together."""
UNCONFINED = "[not sandboxed: neither bubblewrap nor unshare works here]\n"


class Taker(Protocol):
    """Takes an output as it comes: a file, or who shows it meanwhile."""

    def write(self, data: bytes, /) -> int:
        """Some more bytes."""


class SandboxMissing(Exception):
    """Neither bubblewrap nor unshare works, and the model is not the rehearsal."""

    def __init__(self) -> None:
        super().__init__(
            "No sandbox works on this machine, so commands cannot run. Install bubblewrap "
            "(apt-get install bubblewrap) where unprivileged user namespaces are allowed; or, on a machine that has "
            "nothing to lose, set WAGGLE_RUNNER_UNCONFINED=1 for the runner."
        )


@dataclass(frozen=True)
class CommandResult:
    """What a command left behind. `stopped` names the limit that ended it, if one did."""

    exit_code: int
    output: str
    truncated: bool
    seconds: float
    stopped: Stop = ""

    @property
    def timed_out(self) -> bool:
        return self.stopped == "time"


@dataclass(frozen=True)
class Confined:
    """Runs commands in the work tree of one execution."""

    kind: Sandbox
    places: Places
    limits: Limits
    trusted_model: bool = False
    """The model is the rehearsal: where no sandbox works, its commands may run without one."""

    @property
    def is_walled(self) -> bool:
        """Whether commands see a little world of their own: WORKSPACE, /tmp."""
        return self.kind in WALLED

    def allow(self) -> None:
        """Raises SandboxMissing where commands may not run."""
        if self.kind == "none" and not self.trusted_model:
            raise SandboxMissing

    async def run(self, command: str, seconds: int | None = None, whole: Taker | None = None) -> CommandResult:
        """Runs a shell command at the root of the work tree, for at most `seconds` (or the limit).

        `whole` takes all of its output, up to WHOLE_BYTES. Raises SandboxMissing where it may not run.
        """
        self.allow()
        limits = self.limits.model_copy(update={"seconds": seconds or self.limits.seconds})
        return await run(command, self.kind, self.places, limits, whole)


@cache
def detect() -> Sandbox:
    """Which sandbox works here; found by running a command in it."""
    with tempfile.TemporaryDirectory(prefix="waggle-sandbox-") as folder:
        places = Places(Path(folder, "work"), Path(folder, "scratch"))
        places.prepare()
        for kind in ("bubblewrap", "unshare"):
            with filter_file() as filters:
                argv = command_line("test -w . && test -r /proc/self/stat", kind, places, Limits(), filters)
                if _succeeds(argv, filters):
                    return kind
    return "none"


def allowed(found: Sandbox, *, unconfined: bool) -> Sandbox:
    """What a runner uses, given what works and whether its operator lets commands run without a sandbox. Pure."""
    return "unconfined" if found == "none" and unconfined else found


def command_line(command: str, kind: Sandbox, places: Places, limits: Limits, filters: Sequence[int] = ()) -> list[str]:
    """The full command line that runs a command in a sandbox of this kind; `filters` are files that it inherits."""
    if kind == "bubblewrap":
        return confinement.bubblewrap(command, places, limits, filters)
    if kind == "unshare":
        return confinement.unshare(command, places, limits, Path("/proc/self/mountinfo").read_text(), filters)
    return confinement.limited(command, limits)


async def run(
    command: str,
    kind: Sandbox,
    places: Places,
    limits: Limits,
    whole: Taker | None = None,
    variables: Mapping[str, str] | None = None,
) -> CommandResult:
    """Runs a command to its end or to the first limit that it breaks; nothing of it is left afterwards.

    `whole` takes all of its output, up to WHOLE_BYTES; `variables` are added to its environment.
    """
    began = time.monotonic()
    kept = Clipped(limits.output_bytes)
    if kind not in WALLED:
        kept.add(UNCONFINED.encode())
    reading: asyncio.Future[None] | None = None
    stopped: Stop = ""
    try:
        async with started(command, kind, places, limits, variables) as process:
            reading = asyncio.ensure_future(_read(process, kept, whole))
            stopped = await watch(process, limits, places.disk, OVERHEAD[kind])
    finally:
        if reading is not None:
            await reading
    exit_code = process.returncode if process.returncode is not None else -1
    return CommandResult(
        exit_code=exit_code if not stopped else 137,
        output=kept.text() + (STOPPED[stopped].format(limits) if stopped else ""),
        truncated=kept.truncated,
        seconds=round(time.monotonic() - began, 3),
        stopped=stopped,
    )


@asynccontextmanager
async def started(
    command: str,
    kind: Sandbox,
    places: Places,
    limits: Limits,
    variables: Mapping[str, str] | None = None,
    files: Collection[int] = (),
) -> AsyncIterator[asyncio.subprocess.Process]:
    """A command that has begun; at the end of the block nothing of it is left.

    `variables` are added to its environment, and it has the open `files`, under their numbers.
    """
    places.prepare()
    home = "/tmp" if kind in WALLED else str(places.tmp)
    mark = "" if kind in WALLED else f"{MARK}{uuid4().hex}"
    async with cage(limits.processes + confinement.SPARE_PROCESSES, limits.memory_mb + SPARE_MB) as entrance:
        with filter_file() as filters:
            beginning = asyncio.ensure_future(
                asyncio.create_subprocess_exec(
                    *entrance,
                    *command_line(command, kind, places, limits, filters),
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    cwd=places.work,
                    env=confinement.environment(home) | dict(variables or {}) | ({mark: "1"} if mark else {}),
                    start_new_session=True,  # else it would have the terminal that this was started on
                    pass_fds=[*files, *filters],
                )
            )
            try:
                # Who is cancelled amid it must still know whom to end.
                yield await asyncio.shield(beginning)
            finally:
                process = await beginning
                end(process.pid, mark)
                await process.wait()


def end(pid: int, mark: str) -> None:
    """Ends a command at once. A sandbox's first process takes all others with it; without one, its mark tells them."""
    if not mark:
        return kill_parent(pid)
    kill_tree(pid)
    with suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
    kill_marked(mark)


STOPPED: dict[Stop, str] = {
    "time": "\n[stopped: it ran longer than {0.seconds} s]",
    "memory": "\n[stopped: it used more than {0.memory_mb} MB of memory]",
    "processes": "\n[stopped: it had more than {0.processes} processes]",
    "disk": f"\n[stopped: the work tree and /tmp had more than {MOST_MB} MB, or it took the last of the disk]",
}


async def _read(process: asyncio.subprocess.Process, kept: Clipped, whole: Taker | None) -> None:
    assert process.stdout is not None
    room = WHOLE_BYTES
    while data := await process.stdout.read(65_536):
        kept.add(data)
        if whole is not None and room > 0:
            whole.write(data[:room])
            room -= len(data)


async def watch(
    process: asyncio.subprocess.Process, limits: Limits, disk: Disk, overhead: int, every: float = WATCH_SECONDS
) -> Stop:
    """Waits until the command ends or breaks a limit; tells which. Looks once in so many seconds."""
    left = float(limits.seconds)
    ending = asyncio.ensure_future(process.wait())
    pause = 0.02
    looked = time.monotonic()
    try:
        while True:
            done, _ = await asyncio.wait({ending}, timeout=pause)
            now = time.monotonic()
            left -= min(now - looked, pause + LATE_SECONDS)
            looked = now
            # wait() also waits for whoever holds the output open; the exit of the command itself is enough.
            if done or process.returncode is not None:
                return ""
            pause = every
            family = descendants(process.pid, at_most=limits.processes + overhead)
            if len(family) > limits.processes + overhead:
                return "processes"
            if private_bytes(family) > limits.memory_mb << 20:
                return "memory"
            if left < 0:
                return "time"
            if disk.is_due() and (stop := await asyncio.to_thread(_beyond, family, limits, disk)):
                return stop
    finally:
        ending.cancel()


def _beyond(family: list[int], limits: Limits, disk: Disk) -> Stop:
    """The limit that is broken, of those at which it takes longer to look."""
    if disk.is_over(family):
        return "disk"
    return "memory" if whole_bytes(family) > limits.memory_mb << 20 else ""


def _succeeds(argv: list[str], files: Sequence[int]) -> bool:
    try:
        finished = subprocess.run(
            argv,
            env=confinement.environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=20,
            start_new_session=True,
            pass_fds=files,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return finished.returncode == 0
