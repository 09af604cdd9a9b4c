"""What one process of CPython with asyncio needs at least to hand events on: `python -m bench.floors.bare_sender PORT`.

No HTTP framework, no task a client, no client library of Redis: its answers are parsed by hand, an event is passed on
as it is in the stream, and each socket is written to at once, which takes one call of the kernel.
"""

import asyncio
import os
import re
import sys
from collections import defaultdict
from functools import partial
from typing import Any
from urllib.parse import urlsplit

_TOPIC = re.compile(rb"[?&]topic=([^& ]+)")
_OPENING = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n: hello\n\n"
Listeners = defaultdict[bytes, set[asyncio.Transport]]
"""By topic."""


class Client(asyncio.Protocol):
    """One reader."""

    def __init__(self, listeners: Listeners) -> None:
        self._listeners = listeners
        self._topic = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It says what it wants next."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """The request, in one piece; who asks for no topic is told that this is alive."""
        if found := _TOPIC.search(data):
            self._topic = found[1]
            self._listeners[self._topic].add(self._transport)
        self._transport.write(_OPENING)
        if not self._topic:
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """It is gone."""
        self._listeners[self._topic].discard(self._transport)


async def _answer(reader: asyncio.StreamReader) -> Any:
    """One value of the Redis protocol."""
    line = await reader.readline()
    kind, rest = line[:1], line[1:-2]
    if kind == b"*":
        return [await _answer(reader) for _ in range(int(rest))]
    if kind == b"$":
        return (await reader.readexactly(int(rest) + 2))[:-2] if rest != b"-1" else None
    return rest


def _command(*words: bytes) -> bytes:
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words)


async def _tail(listeners: Listeners) -> None:
    url = urlsplit(os.environ["FLOOR_REDIS"])
    reader, writer = await asyncio.open_connection(url.hostname, url.port)
    if url.password:
        writer.write(_command(b"AUTH", (url.username or "default").encode(), url.password.encode()))
        await _answer(reader)
    cursors = dict.fromkeys(map(str.encode, os.environ["FLOOR_STREAMS"].split()), b"$")
    while True:
        writer.write(_command(b"XREAD", b"COUNT", b"500", b"BLOCK", b"1000", b"STREAMS", *cursors, *cursors.values()))
        for key, entries in await _answer(reader) or []:
            for position, fields in entries:
                cursors[key] = position
                _hand_out(listeners, position, dict(zip(fields[::2], fields[1::2], strict=True)))


def _hand_out(listeners: Listeners, position: bytes, entry: dict[bytes, bytes]) -> None:
    data = b"event: change\nid: %s\ndata: %s\n\n" % (position, entry[b"event"])
    for transport in listeners[entry[b"subject"]]:
        transport.write(data)


async def main(port: int) -> None:
    """Serve until it is stopped."""
    listeners: Listeners = defaultdict(set)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(partial(Client, listeners), "127.0.0.1", port, backlog=2048)
    async with server:
        await _tail(listeners)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
