"""Clients of a stream, many in one process: `python -m bench.live.readers`, told what to read on standard input.

The first line is JSON: a list of connections, each with `port`, `request` (what is sent first) and `topic`. When all
have heard something, it prints "ready". At "stop" it prints when each event came to each of them, as JSON: by topic,
by number of the event, seconds of the monotonic clock, which all processes of a machine share.
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
AT_ONCE = 50
"""Connections that are opened at the same time."""
Arrivals = dict[str, dict[int, list[float]]]


class Reader(asyncio.Protocol):
    """One client: it looks for numbers in what comes, and does nothing else."""

    def __init__(self, connection: dict[str, Any], arrivals: dict[int, list[float]]) -> None:
        self._request = connection["request"].encode()
        self._arrivals = arrivals
        self._rest = b""
        self.heard = asyncio.get_running_loop().create_future()
        self.is_lost = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask."""
        assert isinstance(transport, asyncio.Transport)
        transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        """Note when an event came."""
        now = time.monotonic()
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
        self._rest = text[last:][-64:]

    def connection_lost(self, exc: Exception | None) -> None:
        """It must not happen while it is measured."""
        self.is_lost = True
        if not self.heard.done():
            self.heard.set_exception(ConnectionError("a reader was turned away"))


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
            await loop.create_connection(partial(_itself, reader), "127.0.0.1", one["port"])
        await asyncio.gather(*(reader.heard for reader in some))
        readers += some
    print("ready", flush=True)
    await lines.readline()
    lost = sum(reader.is_lost for reader in readers)
    print(json.dumps({"lost": lost, "arrivals": arrivals}), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
