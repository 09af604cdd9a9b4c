"""Server-sent events as bytes."""

import json
from collections.abc import Mapping
from dataclasses import dataclass

from sessions.models import Event

HEARTBEAT = b": alive\n\n"
LAGGED = b"event: lagged\ndata: {}\n\n"


@dataclass(frozen=True, slots=True)
class Frame:
    """An event for everybody who listens to its topic, encoded once."""

    topic: str
    position: int | None
    """Place in the team's stream; None for what is shown now and never again."""
    data: bytes


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
    payload = json.dumps(event.payload, ensure_ascii=False, separators=(",", ":"))
    return _change(
        event.position or 0,
        event.subject,
        event.seq,
        event.kind,
        payload,
        event.actor,
        event.at.isoformat(),
    )


def of_entry(entry: Mapping[bytes, bytes]) -> Frame:
    """A durable event from the team's Redis Stream: the same bytes as from the database."""
    text = {name.decode(): value.decode() for name, value in entry.items()}
    return _change(
        int(text["position"]),
        text["subject"],
        int(text["seq"]),
        text["kind"],
        text["payload"],
        text["actor"],
        text["at"],
    )


def of_delta(message: bytes) -> Frame:
    """Ephemeral progress as sessions.deltas sends it: the topic, a newline, the data."""
    topic, _, data = message.partition(b"\n")
    return Frame(topic.decode(), None, b"event: delta\ndata: " + data + b"\n\n")


def _change(position: int, topic: str, seq: int, kind: str, payload: str, actor: str, at: str) -> Frame:
    # The payload is JSON already and holds no raw line break; it goes in as it is.
    head = json.dumps({"topic": topic, "seq": seq, "kind": kind}, ensure_ascii=False, separators=(",", ":"))
    tail = json.dumps({"actor": actor, "at": at, "position": position}, ensure_ascii=False, separators=(",", ":"))
    data = f'{head[:-1]},"payload":{payload},{tail[1:]}'
    return Frame(topic, position, f"event: change\nid: {position}\ndata: {data}\n\n".encode())
