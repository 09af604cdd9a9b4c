"""Who listens in this process: the clients of each team, and what each has not been sent yet."""

import asyncio
from collections import defaultdict, deque
from collections.abc import Iterable

from sessions import frames
from sessions.admission import Listener
from sessions.frames import Frame
from sessions.metrics import STREAM_EVENTS, STREAMS_LAGGED

QUEUE = 256
"""Events that one client may be behind; then it is told `lagged`, closed, and replays."""


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
