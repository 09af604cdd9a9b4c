"""The ends of many Redis Streams, by one question that waits: whoever follows them hears at once what is added.

What an event costs is what has to be touched once it has woken the process. The client library's way to one answer
(its pool, a task, time limits) is dearer than handing the event on to ten readers. So the library connects, hiredis
reads the answers, and the next question is written where an answer came in.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import hiredis
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError
from redis.exceptions import TimeoutError as RedisTimeout

MOST = b"500"
"""Entries of one stream in an answer."""

Entry = tuple[bytes, list[bytes]]
"""Its id in the stream, then names and values by turns, as Redis sends them."""
Entries = list[tuple[bytes, list[Entry]]]
"""By the key of each stream, what was added to it, in order."""
Cursors = Callable[[], Mapping[bytes, int]]
"""The streams to ask for, at least one, and the number of the last entry that is known of each."""
Take = Callable[[Entries], bool]
"""Is handed an answer; says whether it was all that there is to do about it."""


class Tail(asyncio.Protocol):
    """A connection to Redis that asks for what is new, again and again."""

    def __init__(self, transport: asyncio.WriteTransport, wait: float, patience: float) -> None:
        self._transport = transport
        self._block = b"%d" % int(wait * 1000)
        self._patience = wait + patience
        self._loop = asyncio.get_running_loop()
        self._answers = hiredis.Reader(replyError=ResponseError)
        self._left: asyncio.Future[Entries] = self._loop.create_future()

    async def follow(self, cursors: Cursors, take: Take) -> Entries:
        """Ask, hand the answer to `take`, and ask anew, without waking a task; until it leaves one, which is returned.

        While nothing is added, an answer is empty. Raises redis.RedisError, and what `take` raises.
        """
        self._cursors, self._take = cursors, take
        self._left = self._loop.create_future()
        self._ask()
        while not self._left.done():
            await asyncio.wait({self._left}, timeout=self._patience)
            if not self._left.done() and self._loop.time() - self._asked_at > self._patience:
                raise RedisTimeout(f"no answer for {self._patience:.0f} s")
        return self._left.result()

    def close(self) -> None:
        """Ask no more."""
        self._left.cancel()
        self._transport.close()

    def data_received(self, data: bytes) -> None:
        """Some of an answer."""
        try:
            self._answers.feed(data)
            while (answer := self._answers.gets()) is not False:
                self._hear(answer)
        except Exception as error:
            self._break_off(error)

    def connection_lost(self, exc: Exception | None) -> None:
        """Redis is gone."""
        self._break_off(RedisConnectionError(f"Redis hung up: {exc}"))

    def _ask(self) -> None:
        if self._transport.is_closing():
            raise RedisConnectionError("Redis hung up")
        cursors = self._cursors()
        numbers = [b"%d-0" % number for number in cursors.values()]
        words = (b"XREAD", b"COUNT", MOST, b"BLOCK", self._block, b"STREAMS", *cursors, *numbers)
        self._transport.write(hiredis.pack_command(words))  # type: ignore[arg-type]  # it is typed for one word
        self._asked_at = self._loop.time()

    def _hear(self, answer: Any) -> None:
        if isinstance(answer, ResponseError):
            raise answer
        entries: Entries = answer or []
        if self._take(entries):
            self._ask()
        else:
            self._left.set_result(entries)

    def _break_off(self, error: Exception) -> None:
        if not self._left.done():
            self._left.set_exception(error)


@asynccontextmanager
async def tail(client: Redis, *, wait: float, patience: float) -> AsyncIterator[Tail]:
    """A connection made as `client` makes its own. Redis answers after `wait` seconds at the latest; when nothing came
    `patience` later, the connection is taken for dead. Raises redis.RedisError, OSError."""
    connection = client.connection_pool.make_connection()
    try:
        async with asyncio.timeout(wait + patience):
            await connection.connect()
        transport = connection._writer.transport  # the library has no public name for it
        found = Tail(transport, wait, patience)
        transport.set_protocol(found)
        try:
            yield found
        finally:
            found.close()
    finally:
        await connection.disconnect(nowait=True)
