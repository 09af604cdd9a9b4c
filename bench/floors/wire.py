"""What the same machine needs at least to bring a message from one process to others: Redis Streams, and bare TCP."""

import asyncio
import socket
import threading
import time
from typing import Any

import redis

COUNT, BYTES, RATE = 500, 330, 50
"""Messages, bytes of each (as many as an event's), messages a second."""


def xadd_to_xread(url: str) -> list[float]:
    """Milliseconds from the end of an XADD to a reader that waits for it."""
    key = "floor:wire"
    sent: dict[int, float] = {}
    took: list[float] = []
    with redis.Redis.from_url(url, protocol=2) as writer, redis.Redis.from_url(url, protocol=2) as reader:
        writer.delete(key)
        writer.xadd(key, {b"n": b"first"}, id="1-0")
        ready = threading.Event()

        def read() -> None:
            cursor = "1-0"
            ready.set()
            while len(took) < COUNT:
                answer: Any = reader.xread({key: cursor}, block=2000)
                now = time.monotonic()
                for _, entries in answer:
                    for position, _ in entries:
                        cursor = position.decode()
                        took.append((now - sent[int(cursor.partition("-")[0])]) * 1000)

        thread = threading.Thread(target=read)
        thread.start()
        ready.wait()
        for number in range(2, COUNT + 2):
            time.sleep(1 / RATE)
            sent[number] = time.monotonic()
            writer.xadd(key, {b"d": b"x" * BYTES}, id=f"{number}-0")
        thread.join()
        writer.delete(key)
    return took


class Broadcast:
    """A server of bare TCP in a thread: who connects says a topic, and gets each line of it."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._writers: dict[str, list[asyncio.StreamWriter]] = {}
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=2048)
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._run, daemon=True).start()

    def send(self, topic: str, number: int) -> float:
        """A message to all of a topic. The moment before it."""
        line = b'{"seq":%d,"d":"' % number + b"x" * (BYTES - 20) + b'"}\n'
        began = time.monotonic()
        self._loop.call_soon_threadsafe(self._write, topic, line)
        return began

    def close(self) -> None:
        """Ends it."""
        self._loop.call_soon_threadsafe(self._loop.stop)

    def _write(self, topic: str, line: bytes) -> None:
        for writer in self._writers.get(topic, ()):
            writer.write(line)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.create_task(asyncio.start_server(self._welcome, sock=self._listener))
        self._loop.run_forever()

    async def _welcome(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        topic = (await reader.readline()).decode().strip()
        self._writers.setdefault(topic, []).append(writer)
        writer.write(b": hello\n")
