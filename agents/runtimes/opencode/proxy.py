"""A server's way to the model gateway and the MCP endpoint, with the attempt token; out of a sandbox, its only one.

The token is added here, outside: neither the server nor what its tools start ever has it.
"""

import asyncio
import secrets
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from ipaddress import IPv4Address, IPv6Address

import h11
import httpx

from agents.runner.trust import trusted

PIECE = 65_536
TIMEOUT = httpx.Timeout(30, read=330, connect=10)
"""The gateway gives up a silent provider after 300 s, and says so."""
MOST_BODY, MOST_HELD = 32 << 20, 96 << 20
"""Bytes of a request, which is held in memory: no prompt is so long; and of all at once."""
MOST_CONNECTIONS, READ_SECONDS = 256, 60.0
"""At once; and how long a request may take to come. Agents can try more, and so can strangers who reach it."""
TOLD_BYTES = 4096
"""Of the body of an answer that says no."""
OnAnswer = Callable[[str, int, bytes], None]
"""Hears of each answer: the path as the sandbox knows it, the status, and the beginning of the body if it is an error.
"""
Begin = Callable[[StreamReader, StreamWriter], None]
HOP = frozenset({"connection", "keep-alive", "transfer-encoding", "upgrade", "te", "trailer", "host", "authorization"})
"""Headers of one connection, and those that are ours to set."""


def unheard(path: str, status: int, body: bytes) -> None:
    """For who does not care about answers."""


class Proxy:
    """Passes requests for known paths on. `routes`: by the path as the sandbox knows it, the address that it means."""

    def __init__(self, routes: Mapping[str, str], token: str, on_answer: OnAnswer = unheard) -> None:
        self._routes = dict(routes)
        self._on_answer = on_answer
        self._key = ""
        """Who does not show it is turned away; empty: who comes may come."""
        self.heard, self.held = 0, 0
        """Requests so far, and bytes of those under way."""
        self._client = httpx.AsyncClient(
            headers={"Authorization": f"Bearer {token}"},
            timeout=TIMEOUT,
            verify=trusted(),
            trust_env=False,
            follow_redirects=False,
        )

    def lead(self, routes: Mapping[str, str], token: str) -> None:
        """From now on it leads there, with this token."""
        self._routes = dict(routes)
        self._client.headers["Authorization"] = f"Bearer {token}"

    @asynccontextmanager
    async def listening(self, path: str) -> AsyncIterator[None]:
        """Serves on a Unix socket while the block lasts."""
        async with self._listening(lambda begin: asyncio.start_unix_server(begin, path)):
            yield

    @asynccontextmanager
    async def at(self, address: IPv4Address | IPv6Address, key: str) -> AsyncIterator[str]:
        """Serves who shows the key, at an address of this machine, while the block lasts; gives the URL.

        Others who reach the address reach it, too."""
        self._key = key
        async with self._listening(lambda begin: asyncio.start_server(begin, str(address), 0)) as server:
            port = server.sockets[0].getsockname()[1]
            yield f"http://{address if address.version == 4 else f'[{address}]'}:{port}"

    @asynccontextmanager
    async def _listening(self, start: "Callable[[Begin], Awaitable[asyncio.Server]]") -> AsyncIterator[asyncio.Server]:
        tasks: set[asyncio.Task[None]] = set()

        def begin(reader: StreamReader, writer: StreamWriter) -> None:
            if len(tasks) >= MOST_CONNECTIONS:
                writer.close()
                return
            task = asyncio.ensure_future(self._serve(reader, writer))
            tasks.add(task)
            task.add_done_callback(tasks.discard)

        server = await start(begin)
        try:
            yield server
        finally:
            server.close()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._client.aclose()

    async def _serve(self, reader: StreamReader, writer: StreamWriter) -> None:
        """One request of one connection; the next one needs its own."""
        peer, body = h11.Connection(h11.SERVER), bytearray()
        try:
            async with asyncio.timeout(READ_SECONDS):
                request = await self._read(peer, reader, body)
            going = asyncio.create_task(_gone(reader))
            passing = asyncio.create_task(self._pass_on(peer, request, bytes(body), writer))
            try:
                await asyncio.wait({going, passing}, return_when=asyncio.FIRST_COMPLETED)
                if passing.done():
                    passing.result()
            finally:
                # Who hangs up takes his request with him: a model must not go on talking to nobody.
                for task in (going, passing):
                    task.cancel()
                await asyncio.gather(going, passing, return_exceptions=True)
        except (h11.ProtocolError, ConnectionError, TimeoutError, httpx.TransportError):
            pass  # the connection ends, which is all that the other side needs to know
        finally:
            self.held -= len(body)
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()

    async def _read(self, peer: h11.Connection, reader: StreamReader, body: bytearray) -> h11.Request:
        """A whole request, with its body."""
        request: h11.Request | None = None
        most = PIECE
        while True:
            match peer.next_event():
                case h11.NEED_DATA:
                    peer.receive_data(await reader.read(PIECE))
                case h11.Request() as request:
                    most = MOST_BODY if self._is_known(request) else PIECE
                case h11.Data(data=data):
                    body += data
                    self.held += len(data)
                    if len(body) > most or self.held > MOST_HELD:
                        raise ConnectionError("a request of too many bytes")
                case h11.EndOfMessage() if request is not None:
                    return request
                case _:
                    raise ConnectionError("hung up")

    def _is_known(self, request: h11.Request) -> bool:
        shown = dict(request.headers).get(b"authorization", b"")
        return not self._key or secrets.compare_digest(shown, f"Bearer {self._key}".encode())

    async def _pass_on(self, peer: h11.Connection, request: h11.Request, body: bytes, writer: StreamWriter) -> None:
        path = request.target.decode("latin-1").partition("?")[0]
        if not self._is_known(request):
            await _answer(peer, writer, 401, "This is not for you.")
            return
        self.heard += 1
        address = self._routes.get(path)
        if address is None:
            await _answer(peer, writer, 404, f"{path} cannot be reached from here.")
            return
        headers = [(name.decode(), value.decode("latin-1")) for name, value in request.headers]
        headers = [(name, value) for name, value in headers if name.lower() not in HOP]
        try:
            async with self._client.stream(request.method.decode(), address, content=body, headers=headers) as response:
                kept = [(name, value) for name, value in response.headers.raw if name.lower().decode() not in HOP]
                await _send(peer, writer, h11.Response(status_code=response.status_code, headers=[*kept, CLOSE]))
                said = bytearray()
                if not response.is_error:
                    self._on_answer(path, response.status_code, b"")
                async for piece in response.aiter_raw():
                    said += piece[: TOLD_BYTES - len(said)] if response.is_error else b""
                    await _send(peer, writer, h11.Data(data=piece))
                if response.is_error:
                    self._on_answer(path, response.status_code, bytes(said))
        except httpx.ConnectError as error:
            self._on_answer(path, 503, str(error).encode())
            await _answer(peer, writer, 503, f"The control plane cannot be reached: {error}")
            return
        await _send(peer, writer, h11.EndOfMessage())


CLOSE = (b"connection", b"close")


async def _gone(reader: StreamReader) -> None:
    """Returns when the other side has hung up; what it says meanwhile is dropped."""
    while await reader.read(PIECE):
        pass


async def _send(peer: h11.Connection, writer: StreamWriter, event: h11.Event) -> None:
    if data := peer.send(event):
        writer.write(data)
        await writer.drain()


async def _answer(peer: h11.Connection, writer: StreamWriter, status: int, text: str) -> None:
    body = text.encode()
    headers = [(b"content-type", b"text/plain"), (b"content-length", str(len(body)).encode()), CLOSE]
    await _send(peer, writer, h11.Response(status_code=status, headers=headers))
    await _send(peer, writer, h11.Data(data=body))
    await _send(peer, writer, h11.EndOfMessage())
