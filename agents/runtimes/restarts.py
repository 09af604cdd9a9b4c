"""An agent's program that died is started again, on the data that it left."""

from collections.abc import Awaitable, Callable

import structlog

from agents.contracts import FailureOutcome, FailureReason, Outcome
from agents.runtimes.recording import Transcript

log = structlog.get_logger(__name__)


class Lost(Exception):
    """The agent's program does not answer, or is gone."""

    def __init__(self, what: str, *, timed_out: bool = False) -> None:
        super().__init__(what)
        self.timed_out = timed_out


async def through_restarts(
    once: Callable[[], Awaitable[Outcome]], restarts: int, transcript: Transcript, name: str, *, is_ours: bool = True
) -> Outcome:
    """The outcome, with as many programs as it takes. `once` starts one, and raises Lost when it dies; after so many
    restarts, so does this. One that is not ours is started again by others."""
    for left in reversed(range(restarts + 1)):
        try:
            return await once()
        except Lost as error:
            if not left:
                raise
            log.warning("the program of an agent died", program=name, because=str(error))
            transcript.begin_answer()
            then = "It is started again" if is_ours else "It is waited for"
            why = f"{name} died: {error}. {then}, and the session goes on."
            transcript.note("error", state="failed", text=why)
            transcript.doing(f"starting {name} again" if is_ours else f"waiting for {name}")
    raise AssertionError("unreachable")


def lost(name: str, restarts: int, error: Lost) -> FailureOutcome:
    """What an attempt ends with whose program died once more than it may."""
    times = f"{restarts + 1} times, the last time so" if restarts else "so"
    return FailureOutcome(reason=FailureReason.LOST, message=f"{name} died {times}: {error}")
