"""Server-sent events as bytes."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sessions.models import Event
from sessions.renderers import Swap

HEARTBEAT = b": alive\n\n"
LAGGED = b"event: lagged\ndata: {}\n\n"


_TEXTS = (b"subject", b"kind", b"payload", b"actor", b"at", b"id", b"cause", b"trace")
_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


@dataclass(frozen=True, slots=True)
class Frame:
    """Something for everybody who listens to its topic, encoded once."""

    topic: str
    position: int | None
    """Place in the team's stream; None for what is no durable event."""
    data: bytes
    is_passing: bool = False
    """Shown now or never: who is behind does without it."""


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
    """A durable event from the database."""
    topic, data = event.subject, told(event)
    return Frame(topic, event.position, f"event: change\nid: {event.position or 0}\ndata: {data}\n\n".encode())


def told(event: Event) -> str:
    """A durable event as programs get it: JSON in one line."""
    cause = str(event.cause) if event.cause else ""
    return _told(
        event.position,
        event.seq,
        event.subject,
        event.kind,
        _json(event.payload),
        event.actor,
        event.at.isoformat(),
        str(event.pk),
        cause,
        event.trace,
    )


def of_entry(entry: Mapping[bytes, bytes]) -> Frame:
    """A durable event from the team's Redis Stream: the same bytes as from the database."""
    topic, *rest = (entry[name].decode() for name in _TEXTS)
    position = int(entry[b"position"])
    data = _told(position, int(entry[b"seq"]), topic, *rest)
    return Frame(topic, position, f"event: change\nid: {position}\ndata: {data}\n\n".encode())


def event_of(entry: Mapping[bytes, bytes]) -> Event:
    """The event itself, from the team's Redis Stream."""
    return Event(
        id=UUID(entry[b"id"].decode()),
        subject=entry[b"subject"].decode(),
        seq=int(entry[b"seq"]),
        kind=entry[b"kind"].decode(),
        payload=json.loads(entry[b"payload"]),
        actor=entry[b"actor"].decode(),
        cause=UUID(entry[b"cause"].decode()) if entry[b"cause"] else None,
        trace=entry[b"trace"].decode(),
        at=datetime.fromisoformat(entry[b"at"].decode()),
        position=int(entry[b"position"]),
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


def of_delta(message: bytes) -> Frame:
    """Ephemeral progress as sessions.deltas sends it: the topic, a newline, the data."""
    topic, _, data = message.partition(b"\n")
    return Frame(topic.decode(), None, b"event: delta\ndata: " + data + b"\n\n", is_passing=True)


def _message(event: str, told: Mapping[str, Any], position: int | None = None) -> bytes:
    # JSON holds no raw line break, so that it is one line of data.
    data = _json(told)
    place = f"id: {position}\n" if position is not None else ""
    return f"event: {event}\n{place}data: {data}\n\n".encode()


def _told(
    position: int | None,
    seq: int,
    topic: str,
    kind: str,
    payload: str,
    actor: str,
    at: str,
    key: str,
    cause: str,
    trace: str,
) -> str:
    # Only names are quoted anew: the payload is JSON already, and holds no raw line break.
    return (
        f'{{"topic":{_json(topic)},"seq":{seq},"kind":{_json(kind)},"payload":{payload},"actor":{_json(actor)},'
        f'"at":{_json(at)},"position":{_json(position)},"id":"{key}","cause":{_json(cause or None)},'
        f'"trace":{_json(trace)}}}'
    )
