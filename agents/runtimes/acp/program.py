"""The program of an agent, and the connection to it."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import cast

import structlog
from acp.client.connection import ClientSideConnection
from acp.interfaces import Client

from agents.contracts import Assignment
from agents.runner.sandbox import Confined
from agents.runtimes.acp.desk import Desk
from agents.runtimes.acp.launch import Launch
from agents.runtimes.acp.wire import Wire
from agents.runtimes.companion import Beside, Companion, free_ports
from agents.runtimes.opencode.proxy import OnAnswer

log = structlog.get_logger(__name__)

GRACE_SECONDS = 1.0
"""So soon after its output ends, a program that dies is gone."""


@dataclass
class Speaking:
    """A program that has begun."""

    agent: ClientSideConnection
    desk: Desk
    wire: Wire
    beside: Beside
    plane: str
    """Where it finds the control plane."""

    async def is_gone(self) -> bool:
        """Whether the program is gone, or about to be."""
        await asyncio.wait({self.beside.ended}, timeout=GRACE_SECONDS)
        return self.beside.ended.done()


class Program:
    """The programs of one attempt, one after the other, on the same data."""

    def __init__(self, launch: Launch, assignment: Assignment, confined: Confined, on_answer: OnAnswer) -> None:
        """Raises SandboxMissing."""
        self._launch = launch
        self._assignment = assignment
        self.companion = Companion(assignment, confined, launch.seen(), on_answer)
        self._is_furnished = False

    @asynccontextmanager
    async def speaking(self, desk: Callable[[str], Desk]) -> AsyncIterator[Speaking]:
        """A program; at the end of the block nothing of it is left. `desk` gives our end, when told how the agent
        knows the work tree."""
        _, plane = free_ports()
        companion = self.companion
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(companion.reachable())
            if not self._is_furnished:  # later the agent may have put links there, which we must not follow
                self._is_furnished = True
                self._launch.furnish(companion)
            their_input, ours = os.pipe()
            our_input, theirs = os.pipe()
            wire = await Wire.between(our_input, ours)
            stack.push_async_callback(wire.close)
            try:
                command = self._launch.command(companion)
                variables = self._launch.variables(self._assignment, companion, plane)
                beside = await stack.enter_async_context(
                    companion.running(command, variables, plane, pipes=(their_input, theirs))
                )
            finally:
                os.close(their_input)
                os.close(theirs)  # they are the agent's now: without one, its output ends
            ours_desk = desk(companion.directory)
            agent = ClientSideConnection(cast(Client, ours_desk), wire)
            stack.push_async_callback(agent.close)
            yield Speaking(agent, ours_desk, wire, beside, f"http://127.0.0.1:{plane}")
