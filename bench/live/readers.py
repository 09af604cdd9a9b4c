"""Clients of a stream, many in one process: `python -m bench.live.readers`, told what to read on standard input.

The first line is JSON: a list of connections, each with `port`, `request` (what is sent first) and `topic`. When all
have heard something, it prints "ready". A connection that ends is opened anew when the server said it may be, from the
last position on. At "stop" it prints when each event came to each of them, as JSON: by topic, by number of the event,
seconds of the monotonic clock, which all processes of a machine share; and how many are not connected then.
"""

import asyncio
import json
import re
import sys
import time
from collections import defaultdict
from functools import partial
from typing import Any

NUMBER = re.compile(rb'"seq":(\d+)')
POSITION, RETRY = re.compile(rb"^id: (\d+)$", re.MULTILINE), re.compile(rb"^retry: (\d+)$", re.MULTILINE)
RETRY_SECONDS = 2.0
"""Until it comes again where the server did not say so, or is not there."""
AT_ONCE = 50
"""Connections that are opened at the same time."""
Arrivals = dict[str, dict[int, list[float]]]


class Reader(asyncio.Protocol):
    """One client: it looks for numbers in what comes, and does nothing else."""

    def __init__(self, connection: dict[str, Any], arrivals: dict[int, list[float]]) -> None:
        self._connection = connection
        self._arrivals = arrivals
        self._rest = b""
        self._position = b""
        self._retry = RETRY_SECONDS
        self._coming: asyncio.Task[None] | None = None
        self.heard = asyncio.get_running_loop().create_future()
        self.is_there = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask."""
        assert isinstance(transport, asyncio.Transport)
        head = self._connection["request"].encode().removesuffix(b"\r\n")
        after = b"Last-Event-ID: %b\r\n" % self._position if self._position else b""
        transport.write(head + after + b"\r\n")
        self._rest = b""

    def data_received(self, data: bytes) -> None:
        """Note when an event came."""
        now = time.monotonic()
        self.is_there = True
        if not self.heard.done():
            self.heard.set_result(None)
        text = self._rest + data
        last = 0
        for found in NUMBER.finditer(text):
            # A number at the very end may go on in the next piece.
            if found.end() == len(text):
                break
            self._arrivals.setdefault(int(found[1]), []).append(now)
            last = found.end()
        if retries := RETRY.findall(text):
            self._retry = int(retries[-1]) / 1000
        if positions := POSITION.findall(text):
            self._position = positions[-1]
        self._rest = text[last:][-64:]

    def connection_lost(self, exc: Exception | None) -> None:
        """Come again, but not when it was turned away at first."""
        self.is_there = False
        if self.heard.done():
            self._coming = asyncio.get_running_loop().create_task(self._again())
        else:
            self.heard.set_exception(ConnectionError("a reader was turned away"))

    async def _again(self) -> None:
        await asyncio.sleep(self._retry)
        try:
            await connect(self, self._connection["port"])
        except OSError:
            self._retry = RETRY_SECONDS
            self._coming = asyncio.get_running_loop().create_task(self._again())


async def connect(reader: Reader, port: int) -> None:
    """Open its connection. Raises OSError."""
    await asyncio.get_running_loop().create_connection(partial(_itself, reader), "127.0.0.1", port)


def _itself(reader: Reader) -> Reader:
    return reader


async def main() -> None:
    """Open all connections, wait for the word to stop, and tell."""
    loop = asyncio.get_running_loop()
    lines = asyncio.StreamReader(limit=2**26)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    connections = json.loads(await lines.readline())
    arrivals: Arrivals = defaultdict(dict)
    readers = []
    for start in range(0, len(connections), AT_ONCE):
        some = [Reader(one, arrivals[one["topic"]]) for one in connections[start : start + AT_ONCE]]
        for reader, one in zip(some, connections[start : start + AT_ONCE], strict=True):
            await connect(reader, one["port"])
        await asyncio.gather(*(reader.heard for reader in some))
        readers += some
    print("ready", flush=True)
    await lines.readline()
    lost = sum(not reader.is_there for reader in readers)
    print(json.dumps({"lost": lost, "arrivals": arrivals}), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
