"""Work that lies on a runner's disk and is on no branch, as the control plane hears of it."""

from collections.abc import Awaitable, Callable
from uuid import UUID

import structlog

from agents.contracts.assignment import Frozen
from agents.contracts.link import Rescue, Saved, Unsaved
from agents.runner.leftovers import Leftovers
from agents.runner.workspace import WorkspaceError

log = structlog.get_logger(__name__)

RESCUE_SECONDS = 30.0
"""For how long an unreachable control plane is tried again with what is left of an execution."""
Send = Callable[[Frozen], Awaitable[None]]


class Offers:
    """What is kept is offered, and pushed with the token that answers an offer."""

    def __init__(self, kept: Leftovers, send: Send) -> None:
        self._kept = kept
        self._send = send
        self._offered: set[UUID] = set()
        self._rescuing: set[UUID] = set()

    async def offer(self) -> None:
        """Tells the control plane which work lies here and is on no branch, each once a connection: the token that
        answers an offer ends the one before, with which a push may be under way."""
        for one in self._kept.all():
            if one.execution not in self._offered:
                self._offered.add(one.execution)
                await self._send(one)

    async def offer_anew(self) -> None:
        """There is a new connection: what was offered on the one before may not have been heard."""
        self._offered = set(self._rescuing)
        await self.offer()

    async def rescue(self, order: Rescue) -> None:
        """Pushes what is kept of an execution; nothing when that goes on already."""
        if order.execution in self._rescuing:
            return
        self._rescuing.add(order.execution)
        try:
            await self._push(order)
        finally:
            self._rescuing.discard(order.execution)

    async def _push(self, order: Rescue) -> None:
        kept = next((one for one in self._kept.all() if one.execution == order.execution), None)
        if kept is None:
            return
        answer: Saved | Unsaved
        try:
            commit = await self._kept.save(order.execution, order.token, RESCUE_SECONDS)
            answer = Saved(execution=order.execution, team=kept.team, commit=commit or "")
            log.info("work that was left is on its branch", execution=str(order.execution), commit=commit)
        except WorkspaceError as error:
            answer = kept.model_copy(update={"because": str(error)})
            log.warning("work that was left could not be pushed", folder=kept.folder, because=str(error))
        await self._send(answer)
