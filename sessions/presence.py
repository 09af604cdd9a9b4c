"""Who looks at something now: kept in Redis alone, for as long as they say so. Nothing of it lasts, or counts."""

import asyncio
import time
from collections.abc import Iterable
from typing import NamedTuple
from uuid import UUID
from weakref import WeakKeyDictionary

from django.conf import settings
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

BEAT_SECONDS, LIFE_SECONDS = 15.0, 40.0
"""How often somebody says to be there, and after how long who says nothing is gone."""
_clients: WeakKeyDictionary[asyncio.AbstractEventLoop, Redis] = WeakKeyDictionary()


class Visitor(NamedTuple):
    """A person at one page."""

    user: UUID
    page: str
    """Tells a person's pages apart."""
    name: str


def group_of(schema: str, topic: str) -> str:
    """The group of the channel layer that hears when somebody comes or goes."""
    return f"present.{schema}.{topic.replace(':', '.')}"


async def here(schema: str, topic: str, visitor: Visitor) -> bool:
    """Somebody is there, for LIFE_SECONDS from now on. Whether that is new. Raises redis.RedisError."""
    key = _key(schema, topic)
    async with _redis().pipeline(transaction=False) as pipeline:
        pipeline.zadd(key, {_member(visitor): time.time() + LIFE_SECONDS})
        pipeline.expire(key, int(LIFE_SECONDS) + 1)
        added, _ = await pipeline.execute()
    return bool(added)


async def gone(schema: str, topic: str, visitor: Visitor) -> None:
    """Somebody left. Raises redis.RedisError."""
    await _redis().zrem(_key(schema, topic), _member(visitor))


async def present(schema: str, topic: str) -> list[Visitor]:
    """Who is there, by name, each person once. Raises redis.RedisError."""
    key = _key(schema, topic)
    async with _redis().pipeline(transaction=False) as pipeline:
        pipeline.zremrangebyscore(key, "-inf", time.time())
        pipeline.zrange(key, 0, -1)
        _, members = await pipeline.execute()
    return _people(members)


def _people(members: Iterable[bytes]) -> list[Visitor]:
    visitors = {}
    for member in members:
        user, page, name = member.decode().split("|", 2)
        visitors[user] = Visitor(UUID(user), page, name)
    return sorted(visitors.values(), key=lambda visitor: (visitor.name.casefold(), visitor.user))


def _member(visitor: Visitor) -> str:
    return f"{visitor.user}|{visitor.page}|{visitor.name}"


def _key(schema: str, topic: str) -> str:
    return f"present:{schema}:{topic}"


def _redis() -> Redis:
    loop = asyncio.get_running_loop()
    if loop not in _clients:
        _clients[loop] = Redis.from_url(
            settings.STREAM_URL, socket_timeout=2, socket_connect_timeout=2, retry=Retry(NoBackoff(), 1), protocol=2
        )
    return _clients[loop]
