"""One reader per process for all live streams: each event is read once, encoded once, handed to who listens.

Redis wakes the reader and is fast; Postgres is the truth. Positions have no gaps, so a missing one is seen
and fetched, and while Redis is away the reader asks the database once a second.
"""

import asyncio
from collections.abc import Coroutine, Iterable
from itertools import repeat
from typing import Any
from uuid import UUID

import structlog
from channels.db import database_sync_to_async
from django.conf import settings
from django.db import Error as DatabaseError
from django.db import ProgrammingError
from redis.asyncio import Redis
from redis.asyncio.client import PubSub
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from sessions import frames
from sessions.admission import Listener, Refused, last_position, replay
from sessions.metrics import STREAM_MENDS, STREAMS
from sessions.rooms import Client, Room
from sessions.tail import Entries, tail
from sessions.topics import live_channel, schema_of
from tenants.context import PUBLIC

logger = structlog.get_logger(__name__)

STREAMS_PER_USER = 20
STREAMS_PER_TEAM = 500
CHECK_SECONDS = 15.0
"""So often the database is asked whether something passed Redis by."""
SILENCE_SECONDS = 5.0
"""So much later than asked for may Redis say that nothing is new; then its connection is taken for dead."""
PAUSE_SECONDS = 1.0
HEARS_SECONDS = 1.0
BEAT_SECONDS = 1.0
PING_SECONDS = 10
"""So often a connection on which nothing comes is asked whether it lives."""

latest = database_sync_to_async(last_position, thread_sensitive=False)
replayed = database_sync_to_async(replay, thread_sensitive=False)


class Hub:
    """All open streams of this process and event loop."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.draining = False
        self.broken = False
        self._rooms: dict[str, Room] = {}
        self._by_key: dict[bytes, Room] = {}
        """The same by the keys of their Redis Streams."""
        self._changed = asyncio.Event()
        self._moved = asyncio.Event()
        self._away = False
        self._checked = self.loop.time()
        self._redis = Redis.from_url(
            settings.STREAM_URL,
            socket_timeout=None,
            socket_connect_timeout=2,
            socket_keepalive=True,
            retry=Retry(NoBackoff(), 0),
            protocol=2,
        )
        running = (self._tail(), self._watch_deltas(), self._beat())
        self._tasks = [self.loop.create_task(one) for one in running]
        for task in self._tasks:
            task.add_done_callback(self._over)

    def _over(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("the reader of live streams broke; clients come back to a new one", exc_info=error)
            self.broken = True
            self.drain(repeat(frames.closing(PAUSE_SECONDS * 1000)))

    def join(self, listener: Listener) -> Client:
        """A new stream; from now on it misses nothing. Raises Refused when there are too many."""
        room = self._rooms.get(listener.schema)
        if room is not None:
            self._refuse_too_many(room, listener.user)
        else:
            room = self._rooms[listener.schema] = Room(listener.schema, listener.position)
            self._by_key[room.key] = room
            self._changed.set()
            self._moved.set()
        client = Client(listener)
        room.add(client)
        STREAMS.inc()
        return client

    async def hears(self, client: Client) -> None:
        """Wait until nothing that passes is missed any more; while Redis is away, not for long, and its room knows."""
        room = self._rooms[client.listener.schema]
        try:
            async with asyncio.timeout(HEARS_SECONDS):
                await room.hears.wait()
        except TimeoutError:
            if not room.hears.is_set():
                room.turn_deaf()

    def leave(self, client: Client) -> None:
        """The stream is closed."""
        STREAMS.dec()
        room = self._rooms[client.listener.schema]
        room.remove(client)
        if not room.clients:
            room.pages.close()
            del self._rooms[room.schema], self._by_key[room.key]
            self._moved.set()

    def drain(self, last_words: Iterable[bytes]) -> None:
        """This process ends: close every stream, each with its own last words, and take no more."""
        self.draining = True
        clients = [client for room in self._rooms.values() for client in room.clients]
        for client, words in zip(clients, last_words, strict=False):
            client.end(words)

    def _refuse_too_many(self, room: Room, user: UUID | None) -> None:
        if len(room.clients) >= STREAMS_PER_TEAM:
            raise Refused(429, f"The team has {STREAMS_PER_TEAM} live streams open. Close some pages.")
        own = sum(1 for client in room.clients if user is not None and client.listener.user == user)
        if own >= STREAMS_PER_USER:
            raise Refused(429, f"You have {STREAMS_PER_USER} live streams open. Close some pages.")

    async def _tail(self) -> None:
        """One task follows the streams of the teams with clients; another team needs a new one."""
        while True:
            self._changed.clear()
            await _race(self._follow(), self._changed.wait())

    async def _follow(self) -> None:
        while self._rooms:
            try:
                async with tail(self._redis, wait=CHECK_SECONDS, patience=SILENCE_SECONDS) as following:
                    while self._rooms:
                        await self._tell(await following.follow(self._cursors, self._tell_at_once))
            except (RedisError, OSError) as error:
                if not self._away:
                    logger.warning("live streams ask the database, Redis is away", error=str(error))
                self._away = True
                await self._pause_and_catch_up()
            except DatabaseError as error:
                logger.warning("live streams wait for the database", error=str(error))
                self._away = True
                await asyncio.sleep(PAUSE_SECONDS)
        await self._changed.wait()

    async def _pause_and_catch_up(self) -> None:
        await asyncio.sleep(PAUSE_SECONDS)
        try:
            await self._catch_up()
        except DatabaseError as error:
            logger.warning("live streams wait for Redis and the database", error=str(error))

    def _cursors(self) -> dict[bytes, int]:
        """Where the streams of the teams with clients are known to."""
        return {key: room.cursor for key, room in self._by_key.items()}

    def _tell_at_once(self, entries: Entries) -> bool:
        """Tell what is new; returns whether nobody has to be woken for more than that."""
        if self._must_check() or not self._rooms:
            return False
        for key, found in entries:
            room = self._by_key.get(key)
            if room is not None and room.hear(found) is not None:
                return False
        return True

    async def _tell(self, entries: Entries) -> None:
        """Tell what is new, and what the database knows that did not come."""
        if self._must_check():
            self._away, self._checked = False, self.loop.time()
            await self._catch_up()
        for key, found in entries:
            while (room := self._by_key.get(key)) and (position := room.hear(found)) is not None:
                await self._mend(room, until=position)

    def _must_check(self) -> bool:
        return self._away or self.loop.time() - self._checked > CHECK_SECONDS

    async def _beat(self) -> None:
        """Wake whoever must send a sign of life, or ask whether its reader may stay: all by one clock."""
        while True:
            await asyncio.sleep(BEAT_SECONDS)
            now = self.loop.time()
            for room in self._rooms.values():
                for client in room.clients:
                    if client.must_beat(now):
                        client.wake.set()

    async def _catch_up(self) -> None:
        for room in list(self._rooms.values()):
            await self._mend(room, until=None)

    async def _mend(self, room: Room, until: int | None) -> None:
        """Fetch from the database what did not come through Redis."""
        try:
            events = await replayed(room.schema, room.cursor, until, None)
        except ProgrammingError:
            # Its tables are gone, for the team was deleted. The other teams must not wait for it.
            logger.warning("a team is gone, its live streams end", team=room.schema)
            for client in list(room.clients):
                client.end(frames.closing(PAUSE_SECONDS * 1000))
            events = []
        if events is None:
            room.reset(await latest(room.schema))
            logger.warning("too much was missed, pages load anew", team=room.schema)
        elif events:
            STREAM_MENDS.inc()
            room.tell_all(events)
        if until is not None:
            room.cursor = max(room.cursor, until - 1)  # what is not there either is gone
        room.flush()

    async def _watch_deltas(self) -> None:
        while True:
            try:
                await self._pass_deltas_on()
            except (RedisError, OSError):
                # The reader of the streams says so; deltas are only for who looks now.
                await asyncio.sleep(PAUSE_SECONDS)

    async def _pass_deltas_on(self) -> None:
        async with self._redis.pubsub() as channels:
            await channels.connect()
            try:
                await _race(self._subscribe(channels), self._listen(channels))
            finally:
                for room in self._rooms.values():
                    room.turn_deaf()

    async def _subscribe(self, channels: PubSub) -> None:
        heard: set[str] = set()
        while True:
            self._moved.clear()
            rooms = {live_channel(schema): room for schema, room in self._rooms.items()}
            wanted = rooms.keys() | {live_channel(PUBLIC)}
            new = [name for name, room in rooms.items() if not room.hears.is_set()]
            if new := [*new, *(wanted - heard - rooms.keys())]:
                await channels.subscribe(*new)
            if old := heard - wanted:
                await channels.unsubscribe(*old)
            heard = set(wanted)
            await self._moved.wait()

    async def _listen(self, channels: PubSub) -> None:
        while True:
            message = await channels.get_message(timeout=PING_SECONDS)
            if message is None:
                await channels.ping()
            elif message["channel"]:
                schema = schema_of(message["channel"].decode())
                for room in list(self._rooms.values()) if schema == PUBLIC else self._room(schema):
                    if message["type"] == "message":
                        room.pass_on(frames.of_passing(message["data"]))
                    elif message["type"] == "subscribe" and schema != PUBLIC:
                        room.listen()

    def _room(self, schema: str) -> list[Room]:
        room = self._rooms.get(schema)
        return [room] if room else []


async def _race(*running: Coroutine[Any, Any, object]) -> None:
    """Side by side until the first has ended; raises what it raised."""
    tasks = [asyncio.create_task(one) for one in running]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
