"""One execution as its runner sees it: begun in a child process, listened to, stopped."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from uuid import UUID

from agents.contracts import Assignment, FailureOutcome, FailureReason
from agents.contracts.link import Order
from agents.runner import entry
from agents.runner.forked import Child, Message
from agents.runner.processes import kill_mentioning

STOP_SECONDS = 5


class Execution:
    """An assignment and the process that carries it out."""

    def __init__(
        self,
        assignment: Assignment,
        folder: Path,
        on_next: Callable[[Assignment], None],
        on_taken: Callable[[], None] = lambda: None,
    ) -> None:
        """`on_next` takes what the runner shall do after this, which the child was given with its answer; `on_taken`
        is called when the agent has taken what somebody said to it."""
        self.assignment = assignment
        self.folder = folder
        self._on_next = on_next
        self._on_taken = on_taken
        self.taken: set[UUID] = set()
        """Words that the agent has, and that the control plane does not know of yet."""
        self.progress = 0
        self.killed = False
        """It was ended without regard to its outcome."""
        self.delivered = False
        """Its outcome was accepted, so that it owes nothing."""
        self.ended = asyncio.Event()
        self._reported = False
        self._reason: FailureReason | None = None
        self._order: Order | None = None
        self._child: Child | None = None

    def begin(self, child: Child) -> None:
        """The child has the assignment: begins to listen to it, and tells it what came meanwhile."""
        self._child = child
        child.listen(self._hear, self._end)
        if self.killed:
            self.kill()
        elif self._reason is not None:
            self._say("stop", self._reason.value)
        elif self._order is not None:
            self._tell(self._order)

    def stop(self, reason: FailureReason) -> None:
        """Asks the child to stop and to report why; after a while it is killed."""
        if self._reason is None:
            self._reason = reason
            self._say("stop", reason.value)
            asyncio.get_running_loop().call_later(STOP_SECONDS, self._kill_process)

    def tell(self, order: Order) -> None:
        """Passes on what the child should know, when it is something new."""
        self.taken &= {steer.id for steer in order.steer}
        if order != self._order:
            self._order = order
            self._tell(order)

    def hand_back(self) -> None:
        """Asks the child to save what its agent has changed, and to end without an outcome; after a while it is
        killed."""
        self.killed = True
        self._say("hand back")
        asyncio.get_running_loop().call_later(STOP_SECONDS, self._kill_process)

    def kill(self) -> None:
        """Ends the child at once; nobody wants its outcome."""
        self.killed = True
        self._kill_process()

    def verdict(self) -> FailureOutcome | None:
        """What the runner must report in the place of a child that left nothing."""
        if self._reported or self.killed:
            return None
        if self._reason is not None:
            return FailureOutcome(reason=self._reason, message=entry.STOP_MESSAGES[self._reason])
        child = self._child
        return FailureOutcome(
            reason=FailureReason.AGENT_ERROR,
            message=f"The agent's process died without a word (exit code {child.exit_code if child else None}).",
            detail="\n".join(child.last_lines if child else ()),
        )

    def _tell(self, order: Order) -> None:
        self._say("told", order.pause, order.budget_left, [steer.model_dump_json() for steer in order.steer])

    def _say(self, *words: object) -> None:
        if self._child is not None:
            self._child.say(*words)

    def _kill_process(self) -> None:
        if self._child is not None:
            self._child.kill()

    def _hear(self, message: Message) -> None:
        match message:
            case ("progress", int(count)):
                self.progress = count
            case ("taken", str(steer)):
                self.taken.add(UUID(steer))
                self._on_taken()
            case ("next", str(text)):
                self._on_next(Assignment.model_validate_json(text))
            case ("ended", bool(delivered)):
                self._reported, self.delivered = True, delivered

    def _end(self) -> None:
        if not self._reported:
            # A sandbox whose child died while it was being set up is nobody's: it is known by the folders it shows.
            kill_mentioning(self.folder)
        self.ended.set()
