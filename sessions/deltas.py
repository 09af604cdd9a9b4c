"""What passes and is no event goes straight to Redis, to who looks now: pieces of streamed text (if one is lost, the
whole part follows), and hints that something of which no event tells looks different."""

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
from sessions.topics import TEAM, live_channel

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
    if pieces and not _sent(live_channel(schema), [encoded(session, piece) for piece in coalesced(pieces)]):
        DELTAS_LOST.inc(len(pieces))


def hint(schema: str, what: str) -> None:
    """Have pages of a team (PUBLIC: of every team) that show `what`, named like a kind of event, fetch it anew.

    A page whose connection was broken meanwhile fetches it by itself. Without Redis nobody is told.
    """
    _sent(live_channel(schema), [f'{TEAM}\n{{"topic":"{TEAM}","kind":"{what}"}}'.encode()])


def _sent(channel: str, messages: Sequence[bytes]) -> bool:
    global _quiet_until
    if time.monotonic() < _quiet_until:
        return False
    try:
        with _redis().pipeline(transaction=False) as pipeline:
            for message in messages:
                pipeline.publish(channel, message)
            pipeline.execute()
    except redis.RedisError as error:
        _quiet_until = time.monotonic() + QUIET_SECONDS
        logger.warning("what passes is not shown", messages=len(messages), error=str(error))
        return False
    return True


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
