"""What Postgres can store of text and JSON that come from elsewhere. Pure."""

import math
import re
from datetime import UTC, datetime
from typing import Any

_LOST = "\N{REPLACEMENT CHARACTER}"
# No NUL in text and jsonb; JSON has halves of surrogate pairs, UTF-8 has not. Commands' output may hold all of it.
MOST_DEEP, DEEPER = 100, "[… nested too deep …]"
"""Lists and objects in each other, and what stands for what lies deeper: readers of JSON give up at some depth."""
_UNFIT = re.compile("[\x00\ud800-\udfff]")
EARLIEST, LATEST = datetime(1, 1, 2, tzinfo=UTC), datetime(9999, 12, 30, tzinfo=UTC)
"""Between these a moment can be read again in whatever time zone it was said: Postgres keeps more than Python knows."""


def text(given: str) -> str:
    """The text, with a replacement character for each that cannot be stored."""
    return _UNFIT.sub(_LOST, given)


def moment(given: datetime | None) -> datetime | None:
    """A moment with its zone; one that could not be read again, which no clock says, becomes none."""
    return given if given is not None and EARLIEST <= given <= LATEST else None


def tree(given: Any, deep: int = MOST_DEEP) -> Any:
    """A value of JSON, cleaned in the same way, at most so deep; what JSON has no word for becomes text."""
    match given:
        case dict() | list() | tuple() if not deep:
            return DEEPER
        case str():
            return text(given)
        case dict():
            return {text(str(name)): tree(value, deep - 1) for name, value in given.items()}
        case list() | tuple():
            return [tree(value, deep - 1) for value in given]
        case float() if not math.isfinite(given):
            return str(given)
        case float():
            return given + 0.0  # jsonb has no negative zero
        case None | bool() | int():
            return given
    return text(str(given))
