"""A network that can be cut: a TCP proxy that passes everything on until it is told to be slow, silent or rude."""

import asyncio
import random
import socket
import struct
import threading
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar

Result = TypeVar("Result")
CHUNK = 1 << 16
_LINGER = struct.pack("ii", 1, 0)
"""Closing sends a reset, not an ordinary end."""


class Network:
    """The loop that all proxies run in, in a thread of its own."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, name="network", daemon=True).start()

    def proxy(self, *targets: int) -> "Proxy":
        """A proxy to these ports of this machine: each connection goes to any one that takes it."""
        made = Proxy(self, targets)
        self.run(made.open())
        return made

    def run(self, work: Coroutine[Any, Any, Result]) -> Result:
        """Do this in the loop, and wait for it."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(30)


@dataclass(eq=False)
class _Link:
    """One connection: the client's side and, once it is made, the server's."""

    client: asyncio.StreamWriter
    server: asyncio.StreamWriter | None = None
    pipes: list["asyncio.Task[None]"] = field(default_factory=list)
    half_open: bool = False


class Proxy:
    """Between clients and a server. The verbs may be called from any thread."""

    def __init__(self, network: Network, targets: tuple[int, ...]) -> None:
        self.port = 0
        self.delay = 0.0
        """Seconds by which every piece is late, in both directions."""
        self.lasts: tuple[int, int] | None = None
        """At least and at most so many bytes come back over a connection before it is reset."""
        self.cuts = 0
        """Connections that were reset because of that."""
        self._network, self._targets = network, targets
        self._links: set[_Link] = set()
        self._flows = asyncio.Event()

    def reset(self) -> int:
        """Reset all connections. Returns how many."""
        return self._network.run(self._reset())

    def silence(self) -> int:
        """Nothing passes, and nobody is told; what comes meanwhile passes after `heal`. Returns how many."""
        return self._network.run(self._silence())

    def half_open(self) -> int:
        """The server's side of all connections is gone, and their clients do not learn of it. Returns how many."""
        return self._network.run(self._half_open())

    def heal(self) -> None:
        """All is well again; clients of connections that are gone learn of it."""
        self.delay = 0.0
        self._network.run(self._heal())

    async def open(self) -> None:
        """Listen on a free port."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        self._flows.set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        link = _Link(writer)
        self._links.add(link)
        try:
            await self._flows.wait()
            there, link.server = await self._connect()
            link.pipes = [
                asyncio.ensure_future(self._pipe(reader, link.server)),
                asyncio.ensure_future(self._pipe(there, writer, random.randint(*self.lasts) if self.lasts else None)),
            ]
            await asyncio.gather(*link.pipes)
            writer.close()
            link.server.close()
        except OSError:
            _cut(link.client, link.server)
        except asyncio.CancelledError:
            return  # half open: its client's side stays as it is
        if not link.half_open:
            self._links.discard(link)

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        for port in random.sample(self._targets, len(self._targets)):
            with suppress(OSError):
                return await asyncio.open_connection("127.0.0.1", port)
        raise ConnectionRefusedError("nobody is there")

    async def _pipe(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, lasts: int | None = None) -> None:
        while data := await reader.read(CHUNK if lasts is None else min(CHUNK, lasts)):
            if self.delay:
                await asyncio.sleep(self.delay)
            await self._flows.wait()
            writer.write(data)
            await writer.drain()
            if lasts is not None and (lasts := lasts - len(data)) <= 0:
                self.cuts += 1
                raise ConnectionResetError("it has brought enough")
        await self._flows.wait()
        writer.write_eof()

    async def _reset(self) -> int:
        for link in self._links:
            _cut(link.client, link.server)
        return len(self._links)

    async def _silence(self) -> int:
        self._flows.clear()
        return len(self._links)

    async def _half_open(self) -> int:
        for link in self._links:
            link.half_open = True
            for pipe in link.pipes:
                pipe.cancel()
            _cut(link.server)
        return len(self._links)

    async def _heal(self) -> None:
        self._flows.set()
        for link in [link for link in self._links if link.half_open]:
            _cut(link.client)
            self._links.discard(link)


def _cut(*writers: asyncio.StreamWriter | None) -> None:
    for writer in writers:
        if writer is not None and not writer.transport.is_closing():
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER)
            writer.transport.abort()
