"""Who listens in this process: the clients of each team, and what each has not been sent yet."""

import asyncio
from collections import defaultdict, deque
from collections.abc import Callable, Collection, Iterable, Sequence

from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from sessions import frames, topics
from sessions.admission import Listener
from sessions.frames import Frame
from sessions.metrics import HANDED, STREAMS_LAGGED
from sessions.models import Event
from sessions.pages import Pages
from sessions.tail import Entry
from sessions.topics import stream_key

ENTRY = [b"subject", b"event"]
"""What an entry in a team's Redis Stream holds, see relay.fields."""
QUEUE = 256
"""Events that one client may be behind; then it is told `lagged`, closed, and replays."""
HEARTBEAT_SECONDS = 14.0
"""Who is sent nothing for so long is sent a sign of life, within a second more."""
RECHECK_SECONDS = 55.0
"""So often a stream asks whether its reader may still listen; with the time that asking takes, within a minute."""

Listeners = defaultdict[str, set["Client"]]
"""By topic."""
NOBODY: frozenset["Client"] = frozenset()


class Client:
    """One open stream: what it has not been sent yet."""

    def __init__(self, listener: Listener) -> None:
        self.listener = listener
        self.position = listener.position
        self.joined = listener.position
        """Where its room was when it came in: later events are offered to it."""
        self.told_at = 0.0
        """When it was last sent something, by the loop's clock."""
        self.checked_at = 0.0
        """When it was last asked whether its reader may still listen."""
        self.send_now: Callable[[bytes, bytes], None] | None = None
        """Sends bytes, which it is given as a chunk as well, without waking whoever writes; None while that one is at
        work itself."""
        self.connection: RequestResponseCycle | None = None
        """While `send_now` may be used: what takes chunks as they are, if there is such a thing."""
        self.is_due = False
        """Its room flushes it soon."""
        self.wake = asyncio.Event()
        self.ended = asyncio.Event()
        self.last_words: bytes | None = None
        self._frames: deque[Frame] = deque()

    @property
    def has_waiting(self) -> bool:
        """Whether something is queued."""
        return bool(self._frames)

    def must_beat(self, now: float) -> bool:
        """Whether something must be sent, or asked, at this moment by the loop's clock."""
        return self.told_at + HEARTBEAT_SECONDS <= now or self.checked_at + RECHECK_SECONDS <= now

    def offer(self, frame: Frame) -> None:
        """Queue a frame. For who is behind, passing ones are left out; too many of the others end it."""
        if self.last_words is not None:
            return
        if frame.is_passing and len(self._frames) >= QUEUE // 2:
            return
        if len(self._frames) >= QUEUE:
            STREAMS_LAGGED.inc()
            self.end(frames.LAGGED)
            return
        self._frames.append(frame)
        if self.send_now is None:
            self.wake.set()

    def flush(self) -> None:
        """Send what is queued, unless whoever writes is at work and does it."""
        self.is_due = False
        send = self.send_now
        if send is None or self.last_words is not None:
            return
        if len(self._frames) == 1:
            frame = self._frames.popleft()
            if self.seen(frame):
                send(frame.data, frame.chunk)
        elif data := self.take():
            send(data, frames.chunk(data))

    def end(self, last_words: bytes) -> None:
        """Send what is queued, then this, then close."""
        if self.last_words is None:
            self.last_words = last_words
            self.ended.set()
            self.wake.set()

    def take(self) -> bytes:
        """All that is queued and new to this client."""
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
    """The clients of one team in this process: programs get events as they are, pages what `Pages` makes of them.

    What clients are told is queued until the room is flushed: all that came in one go is one piece for each of them.
    """

    def __init__(self, schema: str, cursor: int) -> None:
        self.schema = schema
        self.key = stream_key(schema).encode()
        """The team's Redis Stream."""
        self.cursor = cursor
        self.clients: set[Client] = set()
        self.hears = asyncio.Event()
        """What passes comes in here."""
        self.pages = Pages(schema, self._to_pages)
        self._was_deaf = False
        self._due: list[Client] = []
        self._programs: Listeners = defaultdict(set)
        self._readers: Listeners = defaultdict(set)

    def add(self, client: Client) -> None:
        """Let a client listen to its topics."""
        self.clients.add(client)
        client.joined = self.cursor
        listeners = self._listeners_like(client)
        for topic in client.listener.topics:
            listeners[topic].add(client)
            if listeners is self._readers:
                self.pages.join(topic, is_ahead=client.position > self.cursor)

    def remove(self, client: Client) -> None:
        """Forget a client."""
        self.clients.discard(client)
        listeners = self._listeners_like(client)
        for topic in client.listener.topics:
            listeners[topic].discard(client)
            if not listeners[topic]:
                del listeners[topic]
                if listeners is self._readers:
                    self.pages.forget(topic)

    def hear(self, entries: Sequence[Entry]) -> int | None:
        """Tell and flush what is new in the team's Redis Stream, as far as nothing is missing.

        Returns the position before which something is.
        """
        is_alone = len(entries) == 1
        try:
            for name, words in entries:
                position = int(name.partition(b"-")[0])
                if position > self.cursor + 1:
                    return position
                if position > self.cursor:
                    if words[::2] != ENTRY:
                        return position + 1  # of another version: the database knows it
                    self.tell(words[1].decode(), position, words[3], is_alone=is_alone)
        finally:
            if self._due:
                self.flush()
        return None

    def tell(self, topic: str, position: int, told: bytes, *, is_alone: bool = False) -> None:
        """A durable event, as `frames.told` has it: it moves the cursor. Nothing else comes with one that is alone."""
        programs, readers = self._listening(self._programs, topic), self._listening(self._readers, topic)
        if programs:
            HANDED.encoded += 1
            frame = frames.of_told(topic, position, told)
            if is_alone:
                self._send(programs, position, frame)
            else:
                self._offer(programs, frame)
        if readers:
            self.pages.take(frames.event_of(told), is_shown=topic in self._readers)
        self.cursor = position
        HANDED.events += len(programs) + len(readers)

    def tell_all(self, events: Iterable[Event]) -> None:
        """Several durable events from the database."""
        for event in events:
            topic, position = event.subject, event.position or 0
            is_heard = any(self._listening(listeners, topic) for listeners in (self._programs, self._readers))
            self.tell(topic, position, frames.told(event).encode() if is_heard else b"")

    def pass_on(self, frame: Frame) -> None:
        """Something passing: text for programs and pages alike, hints for pages."""
        for listeners in (self._readers,) if frame.topic == topics.TEAM else (self._programs, self._readers):
            self._offer(listeners.get(frame.topic, NOBODY), frame)
        self.flush()

    def listen(self) -> None:
        """What passes comes in from now on."""
        self.hears.set()
        if self._was_deaf:
            self.pass_on(frames.ANY_HINT)

    def turn_deaf(self) -> None:
        """What passes goes by: hints may be lost."""
        self.hears.clear()
        self._was_deaf = True

    def reset(self, position: int) -> None:
        """Tell all clients that too much was missed."""
        self.cursor = position
        self.pages.drop()
        self._offer(self.clients, frames.reset(position))

    @staticmethod
    def _listening(listeners: Listeners, topic: str) -> Collection[Client]:
        """Those of the listeners who named the topic, or all of its kind."""
        named, wide = listeners.get(topic, NOBODY), topics.wider(topic)
        return named | listeners[wide] if wide and wide in listeners else named

    def _listeners_like(self, client: Client) -> Listeners:
        return self._readers if client.listener.is_page else self._programs

    def flush(self) -> None:
        """Send what was told."""
        due, self._due = self._due, []
        for client in due:
            client.flush()

    def _to_pages(self, topic: str, frame: Frame) -> None:
        if not self._due:
            asyncio.get_running_loop().call_soon(self.flush)
        self._offer(self._readers.get(topic, NOBODY), frame)

    def _send(self, clients: Iterable[Client], position: int, frame: Frame) -> None:
        """Write to those who have nothing queued and whose connection takes it, and offer it to the others.

        This is what a delivery costs: whatever is called here is called for each client.
        """
        now, chunk = asyncio.get_running_loop().time(), frame.chunk
        for client in clients:
            line = client.connection
            is_free = line is not None and not (line.disconnected or line.flow.write_paused)
            if line is None or not is_free or client.has_waiting or client.last_words is not None:
                self._offer((client,), frame)
            elif position > client.position:
                client.position, client.told_at = position, now
                line.transport.write(chunk)

    def _offer(self, clients: Iterable[Client], frame: Frame) -> None:
        for client in clients:
            client.offer(frame)
            if not client.is_due:
                client.is_due = True
                self._due.append(client)
