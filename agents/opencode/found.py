"""Records as they are found, whatever the layout, in the shapes of OpenCode's API. Pure."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

Data = dict[str, Any]
DEEPEST = 200
"""Levels of JSON beyond which a record is taken for broken."""


class SourceFault(Exception):
    """Nothing can be read from here; the text names the path and says what helps."""


@dataclass(frozen=True)
class Found:
    """A session, a message (its `info`) or a part; or, in `fault`, why it cannot be read."""

    id: str
    data: Data = field(default_factory=dict)
    fault: str = ""


@dataclass(frozen=True)
class Lost:
    """A record whose parent is not there."""

    id: str
    reason: str
    session: str = ""
    """Whose it was, where the layout says so."""


class Store(Protocol):
    """One place where OpenCode keeps sessions. Its methods raise SourceFault."""

    @property
    def name(self) -> str:
        """What it is, for people."""

    def sessions(self) -> Iterator[Found]:
        """All sessions; `data["worktree"]` is the folder of the project that it belongs to."""

    def messages(self, session: str) -> Iterator[Found]:
        """The messages of a session, the oldest first."""

    def parts(self, session: str, message: str) -> Iterator[Found]:
        """The parts of a message, the oldest first."""

    def lost(self) -> Iterator[Lost]:
        """Messages and parts whose parent is not there."""

    def not_taken(self) -> dict[str, int]:
        """What else there is about sessions that no import takes, by kind."""

    def finish(self) -> None:
        """Everything was read. Raises SourceFault when it has changed in a way that makes what was read doubtful."""


def read(key: str, raw: str | bytes) -> Found:
    """A record from its JSON."""
    try:
        value = json.loads(raw)
    except (ValueError, RecursionError, TypeError) as error:
        return Found(key, fault=f"not JSON: {error}")
    if not isinstance(value, dict):
        return Found(key, fault="not an object of JSON")
    if _is_deeper(value, DEEPEST):
        return Found(key, fault=f"JSON of more than {DEEPEST} levels")
    return Found(key, value)


def _is_deeper(value: Any, levels: int) -> bool:
    below = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return levels == 0 or any(_is_deeper(each, levels - 1) for each in below if isinstance(each, dict | list))


def created(data: Data) -> float:
    """When a record was made, in milliseconds of the epoch; 0 where it does not say."""
    time = data.get("time")
    at = time.get("created") if isinstance(time, dict) else None
    return at if isinstance(at, int | float) and at == at else 0  # NaN is no time
