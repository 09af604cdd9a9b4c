"""Ephemeral progress: pieces of streamed text go straight to Redis; if lost, the whole part follows."""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from uuid import UUID

import redis
import structlog
from django.conf import settings
from redis.backoff import NoBackoff
from redis.retry import Retry

from sessions.metrics import DELTAS_LOST
from sessions.topics import live_channel

logger = structlog.get_logger(__name__)

QUIET_SECONDS = 1.0
"""After a failure Redis is left alone for so long: recording must not wait for it again and again."""


@dataclass(frozen=True)
class Piece:
    """More text of a part, from `offset` characters on."""

    part: UUID
    offset: int
    text: str


def coalesced(pieces: Sequence[Piece]) -> list[Piece]:
    """Fewer, longer pieces: those of a part that follow each other become one."""
    merged: list[Piece] = []
    last: dict[UUID, int] = {}
    for piece in pieces:
        place = last.get(piece.part)
        if place is not None and merged[place].offset + len(merged[place].text) == piece.offset:
            merged[place] = replace(merged[place], text=merged[place].text + piece.text)
        else:
            last[piece.part] = len(merged)
            merged.append(piece)
    return merged


def push(schema: str, session: UUID, pieces: Sequence[Piece]) -> None:
    """Show the pieces to whoever watches the session now. Without Redis they are dropped, and counted."""
    global _quiet_until
    if not pieces:
        return
    if time.monotonic() < _quiet_until:
        DELTAS_LOST.inc(len(pieces))
        return
    channel = live_channel(schema)
    try:
        with _redis().pipeline(transaction=False) as pipeline:
            for piece in coalesced(pieces):
                pipeline.publish(channel, encoded(session, piece))
            pipeline.execute()
    except redis.RedisError as error:
        DELTAS_LOST.inc(len(pieces))
        _quiet_until = time.monotonic() + QUIET_SECONDS
        logger.warning("live text not shown", pieces=len(pieces), error=str(error))


def encoded(session: UUID, piece: Piece) -> bytes:
    """What travels: the topic, a newline, and the data of the stream's `delta` event."""
    data = {"session": str(session), "part": str(piece.part), "offset": piece.offset, "text": piece.text}
    return f"session:{session}\n{json.dumps(data, ensure_ascii=False, separators=(',', ':'))}".encode()


_client: redis.Redis | None = None
_quiet_until = 0.0


def _redis() -> redis.Redis:
    global _client
    if _client is None:
        # One retry replaces a connection that died idle; more would hold up whoever records.
        _client = redis.Redis.from_url(
            settings.STREAM_URL, socket_timeout=1, socket_connect_timeout=1, retry=Retry(NoBackoff(), 1)
        )
    return _client
