"""A server of OpenCode for one attempt.

Each attempt has its own: a server runs the agent's tools itself, so it may see that attempt's workspace and nothing
else, and can be locked in with it. It may have been started before its attempt, over folders that were empty then (see
agents.runtimes.opencode.spare).
"""

import asyncio
import os
import secrets
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from socket import AF_UNIX, socket
from typing import Any, Protocol

import structlog

from agents.contracts import Assignment
from agents.runner.sandbox import Confined
from agents.runtimes.companion import Beside, Companion, free_ports
from agents.runtimes.opencode.client import Client, Rejected
from agents.runtimes.opencode.configuration import FOLDER, PROGRAM, configuration, files, variables
from agents.runtimes.opencode.install import NAME
from agents.runtimes.restarts import Lost

log = structlog.get_logger(__name__)

START_SECONDS = 90.0
FIRST_PATIENCE = 0.5
"""Seconds for the first answer: a request that comes while it starts is never answered, and later ones may be slow."""
IN = "in.sock"
"""It leads to the server."""
SUPPORTED = "1.18."


class Missing(Exception):
    """OpenCode is not installed here; the message says how it would be found."""


@dataclass
class Running:
    """A server that answers."""

    client: Client
    beside: Beside

    async def gone(self, seconds: float) -> str:
        """How it ended, in words; empty when it is there after so many seconds."""
        await asyncio.wait({self.beside.ended}, timeout=seconds)
        return self.beside.end() if self.beside.ended.done() else ""


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

    def __init__(self, assignment: Assignment, confined: Confined, waiting: "Waiting | None" = None) -> None:
        """`waiting`: a server that was started before, over the same folders. Raises Missing or SandboxMissing."""
        found = program()
        self._assignment = assignment
        self._companion = Companion(assignment, confined, {found: PROGRAM})
        self._program = self._companion.seen(found)
        self._waiting = waiting
        self._has_home = False

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Running]:
        """A server that answers; at the end of the block nothing of it is left. Raises Lost."""
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            async with aclosing(waiting):
                if (running := await waiting.give(self._assignment)) is not None:
                    self._has_home = True
                    yield running
                    return
        if not self._has_home:  # later its agent may have put links there, which we must not follow
            self._has_home = True
            furnish(self._companion.places.tmp)

        def told(plane: str) -> Mapping[str, Any]:
            return configuration(self._assignment, plane)

        async with started(self._companion, self._program, told) as running:
            yield running


class Waiting(Protocol):
    """A server that waits for its attempt."""

    async def give(self, assignment: Assignment) -> Running | None:
        """It is this attempt's from now on; None when it is of no use to it."""

    async def aclose(self) -> None:
        """Ends it; nothing of it is left."""


@asynccontextmanager
async def started(
    companion: Companion, program: str, told: Callable[[str], Mapping[str, Any] | str]
) -> AsyncIterator[Running]:
    """A server that answers; at the end of the block nothing of it is left. Raises Lost.

    `program` is its path as the sandbox shows it. `told` gives its configuration, or the file that will have it, when
    told where the control plane is found from inside the sandbox.
    """
    password = secrets.token_urlsafe(24)
    port, plane = free_ports()
    environment = variables(told(f"http://127.0.0.1:{plane}"), f"{companion.home}/{FOLDER}")
    environment["OPENCODE_SERVER_PASSWORD"] = password
    command = [program, "serve", "--hostname", "127.0.0.1", "--port", str(port), "--print-logs"]
    async with AsyncExitStack() as stack:
        sockets = await stack.enter_async_context(companion.reachable())
        listener = stack.enter_context(socket(AF_UNIX))
        listener.bind(f"{sockets}/{IN}")
        listener.listen()
        serving = companion.running(command, environment, plane, (listener.fileno(), port))
        beside = await stack.enter_async_context(serving)
        listener.close()  # it is the server's now: without one, nobody answers
        client = Client(f"{sockets}/{IN}", password, companion.directory)
        stack.push_async_callback(client.close)
        running = Running(client, beside)
        await _until_up(running)
        yield running


def furnish(tmp: Path) -> None:
    """Puts what OpenCode needs into its home, below the folder that the sandbox shows as /tmp."""
    for name, text in files().items():
        path = tmp / FOLDER / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


async def _until_up(running: Running) -> None:
    """Waits until the server answers. Raises Lost when it does not, Rejected for one that is not ours to drive."""
    patience = FIRST_PATIENCE
    try:
        async with asyncio.timeout(START_SECONDS):
            while not running.beside.ended.done():
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
    raise Lost(f"it ended at its start: {running.beside.said.text()[-1500:]}")
