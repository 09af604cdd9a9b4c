"""When a delivery that failed is tried again, and when nobody tries any more. Pure."""

from collections.abc import Sequence
from datetime import timedelta

MINUTE, HOUR = 60.0, 3600.0
DELAYS: Sequence[float] = (
    *(5, 5 * MINUTE, 30 * MINUTE),
    *(2 * HOUR, 5 * HOUR, 10 * HOUR, 14 * HOUR, 20 * HOUR, 24 * HOUR),
)
"""Seconds after each failed try of an event until the next one; after the last it is a dead letter, 3 days later."""
HOLDS: Sequence[float] = (30, MINUTE, 5 * MINUTE, 15 * MINUTE, 30 * MINUTE, HOUR)
"""Seconds for which a receiver that takes nothing is left alone, longer each time."""
FAILURES, DIFFERENT = 5, 3
"""A receiver takes nothing when so many deliveries in a row failed, and events of so many subjects wait for it."""
JITTER = 0.2
LONGEST = 24 * HOUR
"""What a receiver can ask for with Retry-After."""
GIVE_UP = timedelta(days=5)
"""A webhook of which every delivery failed for so long is switched off."""
GONE = 410
"""The status by which a receiver says that it wants nothing any more."""


def again_after(tries: int, *, random: float, asked: float | None = None) -> float | None:
    """Seconds until an event is tried again after so many tries; None: it is a dead letter.

    `random` lies between 0 and 1; `asked` is what the receiver has asked for.
    """
    if tries > len(DELAYS):
        return None
    return max(_about(DELAYS[tries - 1], random), min(asked or 0, LONGEST))


def hold_for(failures: int, different: int, *, random: float) -> float | None:
    """Seconds for which a receiver is left alone after so many failures in a row; None: one of its events fails."""
    if failures < FAILURES or different < DIFFERENT:
        return None
    return _about(HOLDS[min(failures - FAILURES, len(HOLDS) - 1)], random)


def _about(seconds: float, random: float) -> float:
    return seconds * (1 + JITTER * (2 * random - 1))
