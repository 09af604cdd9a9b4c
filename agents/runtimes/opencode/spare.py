"""A server that is started before its attempt: in a sandbox of its own, over folders in which nothing is yet.

It serves one attempt and is thrown away, so that no attempt meets what another has left. What an attempt brings (its
workspace, model, rules, token) comes when the server is given away: OpenCode reads the configuration of a directory
with the first request for it, and the file lies where no agent can change it.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import structlog

from agents.contracts import Assignment, Limits
from agents.runner.confinement import Places
from agents.runner.sandbox import Confined, Sandbox, SandboxMissing
from agents.runtimes.answers import ANSWERS
from agents.runtimes.companion import Companion
from agents.runtimes.opencode.client import Rejected
from agents.runtimes.opencode.configuration import PROGRAM, configuration, waiting
from agents.runtimes.opencode.server import Running, furnish, program, started
from agents.runtimes.restarts import Lost

log = structlog.get_logger(__name__)

TOLD, FILE = "/opt/waggle/told", "opencode.json"
"""The folder with its configuration, as the sandbox shows it."""
LOOK_SECONDS, ANSWER_SECONDS = 10.0, 20.0
"""How often a server that waits is asked whether it is well, and how long it may take to answer."""
PRACTICE_SECONDS = 60.0
GIVE_SECONDS = 3.0
"""How long it may take when it is wanted; a new one is there in a few seconds."""


class Spare:
    """Such a server."""

    def __init__(self, companion: Companion, running: Running, told: Path, plane: str, stack: AsyncExitStack) -> None:
        """`told` is the file with its configuration, `plane` where it finds the control plane, `stack` all it needs
        to end."""
        self._companion = companion
        self._running = running
        self._told = told
        self._plane = plane
        self._stack = stack

    async def broken(self) -> str:
        """Returns why, as soon as it does not answer any more."""
        while not (end := await self._running.gone(LOOK_SECONDS)):
            if why := await self._ails(ANSWER_SECONDS):
                return why
        return end

    async def give(self, assignment: Assignment) -> Running | None:
        """It is this attempt's from now on, and its workspace is there; None when it is of no use to it."""
        if why := await self._ails(GIVE_SECONDS):
            log.warning("a spare is of no use", because=why)
            return None
        self._told.write_text(json.dumps(configuration(assignment, self._plane)))
        return self._running if self._companion.turn_to(assignment, self._running.beside) else None

    async def aclose(self) -> None:
        """Ends it; nothing of it is left."""
        await self._stack.aclose()

    async def _ails(self, seconds: float) -> str:
        if self._running.beside.ended.done():
            return self._running.beside.end()
        try:
            await self._running.client.version(seconds)
        except (Lost, Rejected) as error:
            return str(error)
        return ""

    async def practise(self) -> None:
        """Has it load all that a first prompt needs: one to which no model answers, and of which nothing is left."""
        client = self._running.client
        session = await client.create("Practice", {})
        schema = {"type": "json_schema", "schema": ANSWERS["work"].model_json_schema()}
        await client.turn(session, "Practise.", agent="build", format=schema)
        await client.forget(session)
        await client.begin_anew()


@asynccontextmanager
async def ready(folder: Path, sandbox: Sandbox) -> AsyncIterator[Spare]:
    """A spare over this folder; at the end of the block nothing of it is left. Raises Missing, SandboxMissing, Lost or
    Rejected."""
    confined = Confined(sandbox, Places(folder / "work", folder / "scratch"), Limits())
    if not confined.is_walled:
        raise SandboxMissing
    told = confined.places.scratch / "told"
    told.mkdir(parents=True)
    found = program()
    companion = Companion(None, confined, {found: PROGRAM, told: TOLD})
    companion.places.prepare()
    furnish(companion.places.tmp)
    plane = ""

    def tell(address: str) -> str:
        nonlocal plane
        plane = address
        (told / FILE).write_text(json.dumps(waiting(address)))
        return f"{TOLD}/{FILE}"

    async with AsyncExitStack() as stack:
        running = await stack.enter_async_context(started(companion, companion.seen(found), tell))
        spare = Spare(companion, running, told / FILE, plane, stack)
        async with asyncio.timeout(PRACTICE_SECONDS):
            await spare.practise()
        yield spare
