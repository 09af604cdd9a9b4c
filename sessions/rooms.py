"""Who listens in this process: the clients of each team, and what each has not been sent yet."""

import asyncio
from collections import defaultdict, deque
from collections.abc import Callable, Iterable
from functools import partial

from sessions import frames
from sessions.admission import Listener
from sessions.frames import Frame
from sessions.metrics import STREAM_ENCODED, STREAM_EVENTS, STREAMS_LAGGED
from sessions.models import Event
from sessions.pages import Pages
from sessions.tail import Entry
from sessions.topics import stream_key

QUEUE = 256
"""Events that one client may be behind; then it is told `lagged`, closed, and replays."""


Listeners = defaultdict[str, set["Client"]]
"""By topic."""


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
        self.send_now: Callable[[bytes], None] | None = None
        """Sends without waking whoever writes; None while that one is at work itself."""
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
        if self.send_now is not None and self.last_words is None and (data := self.take()):
            self.send_now(data)

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

    def hear(self, entries: Iterable[Entry]) -> int | None:
        """Tell and flush what is new in the team's Redis Stream, as far as nothing is missing.

        Returns the position before which something is.
        """
        try:
            for entry in entries:
                position = int(entry[b"position"])
                if position > self.cursor + 1:
                    return position
                if position > self.cursor:
                    told, event = partial(frames.of_entry, entry), partial(frames.event_of, entry)
                    self.tell(entry[b"subject"].decode(), position, told, event)
        finally:
            self.flush()
        return None

    def tell(self, topic: str, position: int, told: Callable[[], Frame], event: Callable[[], Event]) -> None:
        """A durable event: it moves the cursor; what it is made of is made only when somebody listens."""
        if topic in self._programs:
            frame = told()
            STREAM_ENCODED.inc()
            self._offer(self._programs[topic], frame)
        if topic in self._readers:
            self.pages.take(event())
        self.cursor = position
        STREAM_EVENTS.inc(len(self._programs.get(topic, ())) + len(self._readers.get(topic, ())))

    def tell_all(self, events: Iterable[Event]) -> None:
        """Several durable events from the database."""
        for event in events:
            told, itself = partial(frames.of_event, event), partial(_same, event)
            self.tell(event.subject, event.position or 0, told, itself)

    def pass_on(self, frame: Frame) -> None:
        """Something passing, for programs and pages alike."""
        for listeners in (self._programs, self._readers):
            self._offer(listeners.get(frame.topic, ()), frame)

    def reset(self, position: int) -> None:
        """Tell all clients that too much was missed."""
        self.cursor = position
        self.pages.drop()
        self._offer(self.clients, frames.reset(position))

    def _listeners_like(self, client: Client) -> Listeners:
        return self._readers if client.listener.is_page else self._programs

    def flush(self) -> None:
        """Send what was told."""
        due, self._due = self._due, []
        for client in due:
            client.flush()

    def _to_pages(self, frame: Frame) -> None:
        if not self._due:
            asyncio.get_running_loop().call_soon(self.flush)
        self._offer(self._readers.get(frame.topic, ()), frame)

    def _offer(self, clients: Iterable[Client], frame: Frame) -> None:
        for client in clients:
            client.offer(frame)
            if not client.is_due:
                client.is_due = True
                self._due.append(client)


def _same(event: Event) -> Event:
    return event
