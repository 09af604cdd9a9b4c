"""One reader per process for all live streams: each event is read once, encoded once, handed to who listens.

Redis wakes the reader and is fast; Postgres is the truth. Positions have no gaps, so a missing one is seen
and fetched, and while Redis is away the reader asks the database once a second.
"""

import asyncio
from collections import defaultdict, deque
from collections.abc import Iterable
from itertools import repeat
from typing import Any
from uuid import UUID

import structlog
from channels.db import database_sync_to_async
from django.conf import settings
from django.db import Error as DatabaseError
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from sessions import frames
from sessions.admission import Listener, Refused, last_position, replay
from sessions.frames import Frame
from sessions.metrics import STREAM_EVENTS, STREAM_MENDS, STREAMS, STREAMS_LAGGED
from sessions.topics import live_channel, stream_key

logger = structlog.get_logger(__name__)

QUEUE = 256
"""Events that one client may be behind; then it is told `lagged`, closed, and replays."""
STREAMS_PER_USER = 20
STREAMS_PER_TEAM = 500
CHECK_SECONDS = 15.0
"""So often the database is asked whether something passed Redis by."""
PAUSE_SECONDS = 1.0

Entries = list[tuple[str, list[tuple[bytes, dict[bytes, bytes]]]]]
"""Per stream, ids with fields."""

latest = database_sync_to_async(last_position, thread_sensitive=False)
replayed = database_sync_to_async(replay, thread_sensitive=False)


class Client:
    """One open stream: what it has not been sent yet."""

    def __init__(self, listener: Listener) -> None:
        self.listener = listener
        self.position = listener.position
        self.wake = asyncio.Event()
        self.ended = asyncio.Event()
        self.last_words: bytes | None = None
        self._frames: deque[Frame] = deque()

    def offer(self, frame: Frame) -> None:
        """Queue a frame. For who is behind, ephemeral ones are left out; too many durable ones end it."""
        if self.last_words is not None:
            return
        if frame.position is None and len(self._frames) >= QUEUE // 2:
            return
        if len(self._frames) >= QUEUE:
            STREAMS_LAGGED.inc()
            self.end(frames.LAGGED)
            return
        self._frames.append(frame)
        self.wake.set()

    def end(self, last_words: bytes) -> None:
        """Send what is queued, then this, then close."""
        if self.last_words is None:
            self.last_words = last_words
            self.ended.set()
            self.wake.set()

    def take(self) -> bytes:
        """All that is queued and new to this client."""
        self.wake.clear()
        chunks = []
        while self._frames:
            chunks.append(self.seen(self._frames.popleft()))
        return b"".join(chunks)

    def seen(self, frame: Frame) -> bytes:
        """The frame's bytes, or none if this client has it already."""
        if frame.position is None:
            return frame.data
        if frame.position <= self.position:
            return b""
        self.position = frame.position
        return frame.data


class Room:
    """The clients of one team in this process."""

    def __init__(self, schema: str, cursor: int) -> None:
        self.schema = schema
        self.cursor = cursor
        self.clients: set[Client] = set()
        self._by_topic: defaultdict[str, set[Client]] = defaultdict(set)

    def add(self, client: Client) -> None:
        """Let a client listen to its topics."""
        self.clients.add(client)
        for topic in client.listener.topics:
            self._by_topic[topic].add(client)

    def remove(self, client: Client) -> None:
        """Forget a client."""
        self.clients.discard(client)
        for topic in client.listener.topics:
            self._by_topic[topic].discard(client)
            if not self._by_topic[topic]:
                del self._by_topic[topic]

    def hand_out(self, frame: Frame) -> None:
        """Give a frame to all who listen to its topic; a durable one moves the cursor."""
        listeners = self._by_topic.get(frame.topic, ())
        for client in listeners:
            client.offer(frame)
        if frame.position is not None:
            self.cursor = frame.position
            STREAM_EVENTS.inc(len(listeners))

    def hand_out_all(self, found: Iterable[Frame]) -> None:
        """Give several frames to all who listen to their topics."""
        for frame in found:
            self.hand_out(frame)

    def reset(self, position: int) -> None:
        """Tell all clients that too much was missed."""
        self.cursor = position
        for client in self.clients:
            client.offer(frames.reset(position))


class Hub:
    """All open streams of this process and event loop."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.draining = False
        self.broken = False
        self._rooms: dict[str, Room] = {}
        self._changed = asyncio.Event()
        self._redis = Redis.from_url(
            settings.STREAM_URL, socket_timeout=None, socket_connect_timeout=2, retry=Retry(NoBackoff(), 0), protocol=2
        )
        self._tasks = [self.loop.create_task(self._tail()), self.loop.create_task(self._watch_deltas())]
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
            self._changed.set()
        client = Client(listener)
        room.add(client)
        STREAMS.inc()
        return client

    def leave(self, client: Client) -> None:
        """The stream is closed."""
        STREAMS.dec()
        room = self._rooms[client.listener.schema]
        room.remove(client)
        if not room.clients:
            del self._rooms[room.schema]

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
        away = False
        checked = self.loop.time()
        while True:
            try:
                entries = await self._read()
                if away or self.loop.time() - checked > CHECK_SECONDS:
                    away, checked = False, self.loop.time()
                    await self._catch_up()
                for schema, found in entries:
                    await self._deliver(schema, found)
            except (RedisError, OSError) as error:
                if not away:
                    logger.warning("live streams ask the database, Redis is away", error=str(error))
                away = True
                await self._pause_and_catch_up()
            except DatabaseError as error:
                logger.warning("live streams wait for the database", error=str(error))
                away = True
                await asyncio.sleep(PAUSE_SECONDS)

    async def _pause_and_catch_up(self) -> None:
        await asyncio.sleep(PAUSE_SECONDS)
        try:
            await self._catch_up()
        except DatabaseError as error:
            logger.warning("live streams wait for Redis and the database", error=str(error))

    async def _read(self) -> Entries:
        """What is new on the streams of the teams with clients; returns early, empty, when a team joins."""
        self._changed.clear()
        cursors = {stream_key(room.schema): f"{room.cursor}-0" for room in self._rooms.values()}
        if not cursors:
            await self._changed.wait()
            return []
        reading = asyncio.create_task(self._xread(cursors))
        changing = asyncio.create_task(self._changed.wait())
        try:
            await asyncio.wait({reading, changing}, return_when=asyncio.FIRST_COMPLETED)
            answer = reading.result() if reading.done() else []
        finally:
            for task in (reading, changing):
                task.cancel()
            await asyncio.gather(reading, changing, return_exceptions=True)
        schemas = {stream_key(schema): schema for schema in self._rooms}
        return [(schemas[key], found) for key, found in answer if key in schemas]

    async def _xread(self, cursors: dict[str, str]) -> Entries:
        # redis-py types answers for every protocol at once; with RESP2 it is a list of pairs.
        answer: Any = await self._redis.xread(cursors, count=500, block=int(CHECK_SECONDS * 1000))  # type: ignore[arg-type]
        return [(key.decode(), found) for key, found in answer or []]

    async def _deliver(self, schema: str, entries: list[tuple[bytes, dict[bytes, bytes]]]) -> None:
        room = self._rooms.get(schema)
        if room is None:
            return
        for _, entry in entries:
            frame = frames.of_entry(entry)
            if frame.position is None or frame.position <= room.cursor:
                continue
            if frame.position > room.cursor + 1:
                await self._mend(room, until=frame.position)
            room.hand_out(frame)

    async def _catch_up(self) -> None:
        for room in list(self._rooms.values()):
            await self._mend(room, until=None)

    async def _mend(self, room: Room, until: int | None) -> None:
        """Fetch from the database what did not come through Redis."""
        events = await replayed(room.schema, room.cursor, until, None)
        if events is None:
            room.reset(await latest(room.schema))
            logger.warning("too much was missed, pages load anew", team=room.schema)
        elif events:
            STREAM_MENDS.inc()
            room.hand_out_all(frames.of_event(event) for event in events)

    async def _watch_deltas(self) -> None:
        while True:
            try:
                await self._pass_deltas_on()
            except (RedisError, OSError):
                # The reader of the streams says so; deltas are only for who looks now.
                await asyncio.sleep(PAUSE_SECONDS)

    async def _pass_deltas_on(self) -> None:
        async with self._redis.pubsub(ignore_subscribe_messages=True) as channels:
            heard: set[str] = set()
            while True:
                rooms = {live_channel(schema): room for schema, room in self._rooms.items()}
                if new := rooms.keys() - heard:
                    await channels.subscribe(*new)
                if old := heard - rooms.keys():
                    await channels.unsubscribe(*old)
                heard = set(rooms)
                if not heard:
                    await asyncio.sleep(0.1)
                    continue
                message = await channels.get_message(timeout=0.25)
                if message and message["channel"].decode() in rooms:
                    rooms[message["channel"].decode()].hand_out(frames.of_delta(message["data"]))
