"""A server of OpenCode for one attempt.

Each attempt has its own: a server runs the agent's tools itself, so it may see that attempt's workspace and nothing
else, and can be locked in with it. A warm one for many attempts would save its start, a few seconds of a processor,
and would have to see all their workspaces.
"""

import asyncio
import os
import secrets
import shlex
import shutil
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from socket import AF_UNIX, create_server, socket

import structlog

from agents.contracts import Assignment, Limits
from agents.runner.confinement import WORKSPACE
from agents.runner.sandbox import OVERHEAD, Clipped, Confined, SandboxMissing, Stop, started, watch
from agents.runtimes.opencode import bridge
from agents.runtimes.opencode.client import Client, Lost, Rejected
from agents.runtimes.opencode.configuration import configuration, files, routes, variables
from agents.runtimes.opencode.install import NAME
from agents.runtimes.opencode.proxy import Proxy

log = structlog.get_logger(__name__)

START_SECONDS = 90.0
FIRST_PATIENCE = 0.5
"""Seconds for the first answer: a request that comes while it starts is never answered, and later ones may be slow."""
MEMORY_MB, PROCESSES, LOG_BYTES = 4096, 256, 16_384
"""Of a server and the commands that its agent runs, together."""
WATCH_SECONDS = 0.5
FOLDER = "opencode"
IN, OUT = "in.sock", "out.sock"
"""The first leads to the server, the second from it to the control plane. They lie where no agent can change them."""
SUPPORTED = "1.18."


class Missing(Exception):
    """OpenCode is not installed here; the message says how it would be found."""


@dataclass
class Running:
    """A server that answers."""

    client: Client
    process: asyncio.subprocess.Process
    ended: "asyncio.Task[Stop]"
    """Done when the process is gone; which limit it broke, if one."""
    said: Clipped


def program() -> Path:
    """OpenCode's program. Raises Missing."""
    named = os.environ.get("WAGGLE_RUNNER_OPENCODE", "")
    path = Path(named)
    found = path / NAME if path.is_dir() else path
    if not named or not os.access(found, os.X_OK):
        where = f"there is none at {str(found)!r}" if named else "WAGGLE_RUNNER_OPENCODE is not set"
        raise Missing(
            f"This runner has no OpenCode: {where}. `make test-tools` or `make demo RUNTIME=opencode` get it."
        )
    return found.resolve()


class Server:
    """The servers of one attempt, one after the other, on the same data."""

    def __init__(self, assignment: Assignment, confined: Confined) -> None:
        """Raises Missing or SandboxMissing."""
        if confined.kind == "none" and not confined.trusted_model:
            raise SandboxMissing
        self._assignment = assignment
        self._kind = confined.kind
        self._sockets = confined.places.scratch / "sockets"
        seen = {
            program(): "/opt/opencode/opencode",
            Path(bridge.__file__).resolve(): "/opt/opencode/bridge.py",
            self._sockets / OUT: "/opt/opencode/plane.sock",
        }
        self._places = replace(confined.places, shown=tuple(seen.items()))
        self._program, self._bridge, self._plane = map(str, seen if confined.kind == "none" else seen.values())
        self._folder = confined.places.tmp / FOLDER
        self._has_home = False

    @property
    def directory(self) -> str:
        """The workspace, as the server sees it."""
        return WORKSPACE if self._kind != "none" else str(self._places.work)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Running]:
        """A server that answers; at the end of the block nothing of it is left. Raises Lost."""
        self._prepare()
        password = secrets.token_urlsafe(24)
        port, plane = _free_ports()
        home = f"/tmp/{FOLDER}" if self._kind != "none" else str(self._folder)
        told = variables(configuration(self._assignment, f"http://127.0.0.1:{plane}"), home, password)
        limits = self._limits()
        async with AsyncExitStack() as stack:
            folder = os.open(self._sockets, os.O_PATH | os.O_DIRECTORY)
            stack.callback(os.close, folder)
            sockets = f"/proc/self/fd/{folder}"  # names of sockets must be short
            proxy = Proxy(routes(self._assignment), self._assignment.token)
            await stack.enter_async_context(proxy.listening(f"{sockets}/{OUT}"))
            listener = stack.enter_context(socket(AF_UNIX))
            listener.bind(f"{sockets}/{IN}")
            listener.listen()
            command = shlex.join(self._command(listener.fileno(), port, plane))
            process = await stack.enter_async_context(
                started(command, self._kind, self._places, limits, told, files=[listener.fileno()])
            )
            listener.close()  # it is the server's now: without one, nobody answers
            client = Client(f"{sockets}/{IN}", password, self.directory)
            stack.push_async_callback(client.close)
            said = Clipped(LOG_BYTES)
            reading = asyncio.create_task(_read(process, said))
            ended = asyncio.create_task(watch(process, limits, OVERHEAD[self._kind] + 2, WATCH_SECONDS))
            for task in (reading, ended):
                stack.callback(task.cancel)
            running = Running(client, process, ended, said)
            await _until_up(running)
            yield running

    def _command(self, listener: int, port: int, plane: int) -> list[str]:
        bridge = ["python3", "-I", self._bridge, str(listener), str(port), self._plane, str(plane), self.directory]
        return [*bridge, self._program, "serve", "--hostname", "127.0.0.1", "--port", str(port), "--print-logs"]

    def _limits(self) -> Limits:
        seconds = max(int(self._assignment.time_limit), 1) + 60
        return Limits(
            seconds=seconds,
            memory_mb=max(self._assignment.limits.memory_mb, MEMORY_MB),
            processes=max(self._assignment.limits.processes, PROCESSES),
        )

    def _prepare(self) -> None:
        self._places.prepare()
        shutil.rmtree(self._sockets, ignore_errors=True)
        self._sockets.mkdir(mode=0o700)
        if self._has_home:
            return  # its agent may have put links there, which we must not follow
        self._has_home = True
        for name, text in files().items():
            path = self._folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)


async def _until_up(running: Running) -> None:
    """Waits until the server answers. Raises Lost when it does not, Rejected for one that is not ours to drive."""
    patience = FIRST_PATIENCE
    try:
        async with asyncio.timeout(START_SECONDS):
            while not running.ended.done():
                try:
                    version = await running.client.version(patience)
                except Lost as error:
                    log.debug("opencode does not answer yet", because=str(error))
                    await asyncio.sleep(0.1)
                    patience *= 2 if error.timed_out else 1
                    continue
                if not version.startswith(SUPPORTED):
                    raise Rejected(f"This is OpenCode {version}; only {SUPPORTED}x is driven.")
                log.info("opencode answers", version=version)
                return
    except TimeoutError as error:
        raise Lost(f"it did not answer within {START_SECONDS:.0f} s") from error
    raise Lost(f"it ended at its start: {running.said.text()[-1500:]}")


async def _read(process: asyncio.subprocess.Process, said: Clipped) -> None:
    assert process.stdout is not None
    while data := await process.stdout.read(65_536):
        said.add(data)


def _free_ports() -> tuple[int, int]:
    """Two ports; in a sandbox all are free, outside of one it matters."""
    with create_server(("127.0.0.1", 0)) as one, create_server(("127.0.0.1", 0)) as other:
        return one.getsockname()[1], other.getsockname()[1]
