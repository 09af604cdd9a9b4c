"""What a child did not bring to its branch when it ended: its runner does, or keeps it."""

import asyncio

from agents.contracts.link import Unsaved
from agents.runner import leftovers
from agents.runner.execution import Execution
from agents.runner.leftovers import Leftovers
from agents.runner.offers import Send
from agents.runner.workspace import WorkspaceError

SAVE_SECONDS = 2.0
"""How long a control plane that cannot be reached is tried again."""
PUSH_SECONDS = 300.0
"""How long a push may take."""


class Saving:
    """The pushes of a runner in the place of children that are gone."""

    def __init__(self, kept: Leftovers, send: Send) -> None:
        self._kept = kept
        self._send = send
        self._pushes: set[asyncio.Future[str | None]] = set()

    def give_up(self) -> None:
        """The runner stops: what is not pushed by now is put aside."""
        for push in self._pushes:
            push.cancel()

    async def save(self, one: Execution) -> bool:
        """Brings what an execution left to its branch, or puts it aside. Whether its folder may be removed."""
        if one.delivered or not one.folder.exists():
            return True
        assignment = one.assignment
        if not (why := await self._push(one)):
            return True
        place = await asyncio.to_thread(self._kept.keep, one.folder, why, assignment.execution)
        if place == one.folder:
            told = Unsaved(execution=assignment.execution, team=assignment.team, folder=str(place), because=why)
            await self._send(told)
            return False
        return True

    async def _push(self, one: Execution) -> str:
        """Brings it to its branch; why that was not possible, if it was not."""
        push = asyncio.ensure_future(leftovers.save(one.assignment, one.folder, SAVE_SECONDS))
        self._pushes.add(push)
        try:
            done, _ = await asyncio.wait({push}, timeout=PUSH_SECONDS)
            if not done:
                push.cancel()
                await asyncio.wait({push})
            if push.cancelled():
                return "pushing it took too long"
            push.result()
        except (WorkspaceError, OSError) as error:
            return str(error) or type(error).__name__
        finally:
            self._pushes.discard(push)
        return ""
