"""Which of several providers a call of a model goes to, and what is said of the others. Pure.

All that have the model are asked in the team's order until one answers. What stands in the way of one sends the call
on at once: the agent has heard nothing yet, and to wait would cost it more than to ask the next. As soon as a part of
an answer is passed on nobody else is asked.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf


@dataclass(frozen=True)
class Obstacle:
    """Why a provider does not answer a call."""

    provider: str
    """As its team calls it."""
    why: str
    wait: float = 0
    """Seconds until it may be tried again; 0: nobody knows."""
    was_asked: bool = False
    """It may have seen the call."""


Standing = Obstacle | None
"""What is known of one provider; None: nothing speaks against asking it."""


def ahead(standings: Sequence[object | None]) -> int | None:
    """Who is asked now: the first, in the team's order, that nothing speaks against (None); None: nobody."""
    return next((number for number, obstacle in enumerate(standings) if obstacle is None), None)


def told(standings: Sequence[Obstacle]) -> int:
    """Whose answer the agent gets where all failed: of the last that was asked, else of who may be tried soonest."""
    asked = [number for number, obstacle in enumerate(standings) if obstacle.was_asked]
    if asked:
        return asked[-1]
    waits = [each.wait or inf for each in standings]
    return waits.index(min(waits))


def because(standings: Sequence[Standing], besides: int) -> str:
    """In words: why those did not answer of which something is known, besides one of them."""
    others = (each for number, each in enumerate(standings) if each and number != besides)
    return "; ".join(f"{each.provider}: {each.why}" for each in others)
