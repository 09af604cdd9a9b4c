"""State that all processes share in Redis: asked quickly, or not at all.

Who asks must have an answer of its own for the time that Redis is away: `run` then gives None at once.
"""

import asyncio
import hashlib
import time
from collections.abc import Sequence
from typing import Any

import redis
import redis.asyncio
import structlog
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.retry import Retry

logger = structlog.get_logger(__name__)

PATIENCE_SECONDS = 0.25
"""One answer of Redis may take so long; then it counts as away."""
QUIET_SECONDS = 1.0
"""So long Redis is left alone after that."""


class Script:
    """A Lua script by its text and the name that Redis gives it."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.sha = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


class Shared:
    """One Redis. Its answers come in time, or it is taken for away for a second."""

    def __init__(self, url: str, patience: float = PATIENCE_SECONDS) -> None:
        # One retry replaces a connection that died idle; a timeout is final.
        self._options: dict[str, Any] = {"socket_timeout": patience, "socket_connect_timeout": patience}
        self._url = url
        self._away_until = 0.0
        self._mending: asyncio.Task[None] | None = None
        self._client: redis.asyncio.Redis | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._sync: redis.Redis | None = None

    async def run(self, script: Script, keys: Sequence[str], args: Sequence[str | int]) -> list[Any] | None:
        """The script's answer; None when Redis is away."""
        client = self._of_this_loop()
        if self._away_until:
            if time.monotonic() >= self._away_until and (self._mending is None or self._mending.done()):
                # Not in the caller's time: nobody waits for a Redis that was away a second ago.
                self._mending = asyncio.create_task(self._mend(client))
            return None
        try:
            return await self._evaluated(client, script, keys, args)
        except redis.RedisError as error:
            self._gone(error)
            return None

    async def _evaluated(
        self, client: redis.asyncio.Redis, script: Script, keys: Sequence[str], args: Sequence[str | int]
    ) -> list[Any]:
        try:
            return await client.evalsha(script.sha, len(keys), *keys, *args)
        except redis.exceptions.NoScriptError:
            return await client.eval(script.text, len(keys), *keys, *args)

    async def _mend(self, client: redis.asyncio.Redis) -> None:
        try:
            await client.ping()
        except redis.RedisError:
            self._away_until = time.monotonic() + QUIET_SECONDS
        else:
            self._back()

    def run_now(self, script: Script, keys: Sequence[str], args: Sequence[str | int]) -> list[Any] | None:
        """`run` for code without an event loop."""
        if time.monotonic() < self._away_until:
            return None
        if self._sync is None:
            retry = Retry(NoBackoff(), 1, supported_errors=(redis.ConnectionError,))
            self._sync = redis.Redis.from_url(self._url, retry=retry, **self._options)
        try:
            try:
                answer = self._sync.evalsha(script.sha, len(keys), *keys, *args)
            except redis.exceptions.NoScriptError:
                answer = self._sync.eval(script.text, len(keys), *keys, *args)
        except redis.RedisError as error:
            self._gone(error)
            return None
        if self._away_until:
            self._back()
        return answer

    def _of_this_loop(self) -> redis.asyncio.Redis:
        if self._client is None or self._loop is not asyncio.get_running_loop():
            self._loop = asyncio.get_running_loop()
            retry = AsyncRetry(NoBackoff(), 1, supported_errors=(redis.ConnectionError,))
            self._client = redis.asyncio.Redis.from_url(self._url, retry=retry, max_connections=500, **self._options)
        return self._client

    def _gone(self, error: redis.RedisError) -> None:
        if not self._away_until:
            logger.warning("Redis is away: breakers and limits count in this process alone", error=str(error))
        self._away_until = time.monotonic() + QUIET_SECONDS

    def _back(self) -> None:
        self._away_until = 0.0
        logger.info("Redis is back: breakers and limits are shared again")
