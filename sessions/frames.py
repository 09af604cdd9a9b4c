"""Server-sent events as bytes."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from sessions.models import Event
from sessions.renderers import Swap

HEARTBEAT = b": alive\n\n"
LAGGED = b"event: lagged\ndata: {}\n\n"

_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


@dataclass(slots=True)
class Frame:
    """Something for everybody who listens to its topic, encoded once."""

    topic: str
    position: int | None
    """Place in the team's stream; None for what is no durable event."""
    data: bytes
    is_passing: bool = False
    """Shown now or never: who is behind does without it."""
    chunk: bytes = field(init=False)
    """The data as a chunk of an answer over HTTP/1.1."""

    def __post_init__(self) -> None:
        """Made once, for it is the same for all."""
        self.chunk = chunk(self.data)


def chunk(data: bytes) -> bytes:
    """Some bytes, not none, as a chunk of an answer over HTTP/1.1."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def opening(position: int, retry_ms: int) -> bytes:
    """The first bytes of a stream: from here on nothing is missed."""
    return f"retry: {retry_ms}\nid: {position}\n\n".encode()


def reset(position: int) -> Frame:
    """Too much was missed to be told: load the page anew; the stream goes on from `position`."""
    return Frame("", position, f"event: reset\nid: {position}\ndata: {{}}\n\n".encode())


def closing(retry_ms: float) -> bytes:
    """The last bytes before this process goes: come back after so long."""
    return f"retry: {int(retry_ms)}\n\n".encode()


def of_event(event: Event) -> Frame:
    """A durable event for programs."""
    return of_told(event.subject, event.position or 0, told(event).encode())


def of_told(topic: str, position: int, told: bytes) -> Frame:
    """A durable event for programs, encoded already by `told`."""
    return Frame(topic, position, b"event: change\nid: %d\ndata: %b\n\n" % (position, told))


def told(event: Event) -> str:
    """A durable event as programs get it, and as it is on the team's Redis Stream: JSON in one line."""
    return _json(
        {
            "topic": event.subject,
            "seq": event.seq,
            "kind": event.kind,
            "payload": event.payload,
            "actor": event.actor,
            "at": event.at.isoformat(),
            "position": event.position,
            "id": str(event.pk),
            "cause": str(event.cause) if event.cause else None,
            "trace": event.trace,
        }
    )


def event_of(told: bytes) -> Event:
    """The event that `told` encoded."""
    fields = json.loads(told)
    return Event(
        id=UUID(fields["id"]),
        subject=fields["topic"],
        seq=fields["seq"],
        kind=fields["kind"],
        payload=fields["payload"],
        actor=fields["actor"],
        cause=UUID(fields["cause"]) if fields["cause"] else None,
        trace=fields["trace"],
        at=datetime.fromisoformat(fields["at"]),
        position=fields["position"],
    )


def for_page(event: Event, swaps: Iterable[Swap] | None = None, *, owed: bool = False) -> Frame:
    """An event for pages: with the HTML that it adds, or (None) for pages to fetch what it changes.

    `owed`: the rest of its topic follows in `swaps`.
    """
    told: dict[str, Any] = {"topic": event.subject, "seq": event.seq, "kind": event.kind}
    if part := event.payload.get("part"):
        told["part"] = part
    if swaps is not None:
        told["swaps"] = [[swap.place, swap.html] for swap in swaps]
    if owed:
        told["owed"] = True
    return Frame(event.subject, event.position, _message("change", told, event.position))


def swaps(topic: str, found: Iterable[Swap] | None) -> Frame:
    """The rest of a topic for its pages; None: they fetch it."""
    told: dict[str, Any] = {"topic": topic}
    if found is not None:
        told["swaps"] = [[swap.place, swap.html] for swap in found]
    return Frame(topic, None, _message("swaps", told))


def of_passing(message: bytes) -> Frame:
    """What sessions.deltas sends: the topic, a newline, the data. About the team it is a hint."""
    topic, _, data = message.partition(b"\n")
    is_hint = topic == b"team"
    event = b"hint" if is_hint else b"delta"
    # The whole part follows a piece that is left out; nothing follows a hint.
    return Frame(topic.decode(), None, b"event: %b\ndata: %b\n\n" % (event, data), is_passing=not is_hint)


ANY_HINT = of_passing(b'team\n{"topic":"team","kind":""}')
"""Hints may have been lost: whatever they tell of may look different."""


def _message(event: str, told: Mapping[str, Any], position: int | None = None) -> bytes:
    # JSON holds no raw line break, so that it is one line of data.
    data = _json(told)
    place = f"id: {position}\n" if position is not None else ""
    return f"event: {event}\n{place}data: {data}\n\n".encode()
