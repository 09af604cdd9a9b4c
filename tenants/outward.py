"""HTTP to an address that a member gave: held to what was looked up, no redirects, no proxies, bounds for all.

A name is resolved once, every address that it has is looked at, and the connection is held to these: a second answer of
a name server could be a private one.
"""

import asyncio
import ssl
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import httpcore
import httpx

from tenants.reachable import Address, Rule, check

CONNECT_SECONDS, ANSWER_SECONDS = 5.0, 15.0
"""The longest that a connection, and a whole request, may take."""
MOST_READ = 65_536
"""Bytes of an answer that are read."""
EXCERPT = 1000
"""Characters of an answer that are kept."""


class NoAnswer(Exception):
    """Nobody answered, or nothing that can be used; the text says why."""


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    seconds: float
    excerpt: str = ""
    retry_after: float | None = None
    """Seconds that the receiver asks to be left alone for."""


class Way:
    """To one address, for some requests; looked up with the first of them. Threads may share it. Close it.

    No request lasts longer than `seconds`, or ANSWER_SECONDS; of an answer `most` characters are kept.
    """

    def __init__(self, url: str, rule: Rule, *, seconds: float | None = None, most: int = EXCERPT) -> None:
        self.url, self._rule, self._seconds, self._most = url, rule, seconds or ANSWER_SECONDS, most
        self._pool: httpcore.ConnectionPool | None = None
        self._lock = threading.Lock()

    def close(self) -> None:
        """Let go of the connection."""
        if self._pool is not None:
            self._pool.close()

    def post(self, content: bytes, headers: Mapping[bytes | str, bytes | str]) -> Answer:
        """Send this and say what came back, whatever its status. Raises NoAnswer, NotAllowed."""
        return self.ask("POST", content, headers)

    def get(self, headers: Mapping[bytes | str, bytes | str]) -> Answer:
        """Ask, and say what came back, whatever its status. Raises NoAnswer, NotAllowed."""
        return self.ask("GET", None, headers)

    def ask(self, method: str, content: bytes | None, headers: Mapping[bytes | str, bytes | str]) -> Answer:
        """Ask by any method, and say what came back, whatever its status. Raises NoAnswer, NotAllowed."""
        began = time.monotonic()
        pool = self._held()
        times = dict.fromkeys(("read", "write", "pool"), self._seconds) | {"connect": CONNECT_SECONDS}
        extensions: dict[str, Any] = {"timeout": times}
        try:
            _clock.until = began + self._seconds
            with pool.stream(method, self.url, headers=headers, content=content, extensions=extensions) as answer:
                body = _beginning(answer, max(MOST_READ, self._most))
                told = {name.lower(): value for name, value in answer.headers}
                said, wait = _text(body, self._most), _seconds(told.get(b"retry-after"))
                return Answer(answer.status, time.monotonic() - began, said, wait)
        except (httpcore.TimeoutException, httpcore.NetworkError, httpcore.ProtocolError, ssl.SSLError) as error:
            raise NoAnswer(_why(error, self._seconds)) from error

    def _held(self) -> httpcore.ConnectionPool:
        with self._lock:
            if self._pool is None:
                addresses = check(self.url, self._rule)
                self._pool = httpcore.ConnectionPool(ssl_context=_trusted(), network_backend=_Held(addresses))
            return self._pool


@cache
def _trusted() -> ssl.SSLContext:
    return ssl.create_default_context()


def _beginning(answer: httpcore.Response, most: int) -> bytes:
    body = bytearray()
    for piece in answer.iter_stream():
        body += piece
        if len(body) >= most:
            break
    return bytes(body)


def _text(body: bytes, most: int) -> str:
    return body.decode("utf-8", "replace").replace("\0", "\N{REPLACEMENT CHARACTER}")[:most]


def _seconds(text: bytes | None) -> float | None:
    # The other form of the header is a date; whoever sends one is left alone for as long as we would anyhow.
    return float(text) if text and text.isdigit() and len(text) < 10 else None


def _why(error: Exception, seconds: float) -> str:
    if isinstance(error, httpcore.TimeoutException):
        return f"no answer within {seconds:.0f} s"
    said = str(error) or type(error).__name__
    if isinstance(error, httpcore.ConnectError):
        return f"no connection: {said}"
    return f"the connection broke off: {said}"


_clock = threading.local()
"""Until when the request of this thread may last: a connection serves one request at a time."""


def _left(timeout: float | None) -> float:
    left = float(_clock.until - time.monotonic())
    if left <= 0:
        raise httpcore.ReadTimeout
    return left if timeout is None else min(timeout, left)


class _Bounded(httpcore.NetworkStream):
    """A connection on which no request outlasts its time, however slowly bytes come."""

    def __init__(self, stream: httpcore.NetworkStream) -> None:
        self._stream = stream

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, _left(timeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, _left(timeout))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        return _Bounded(self._stream.start_tls(ssl_context, server_hostname, _left(timeout)))

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


class HeldTransport(httpx.AsyncHTTPTransport):
    """For calls that stream: each connection goes to an address that was looked at when it was made.

    Raises NotAllowed where that leads to what members may not reach.
    """

    def __init__(self, rule: Rule, limits: httpx.Limits) -> None:
        super().__init__()
        # httpx has no other way to say how connections are made.
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=_trusted(),
            max_connections=limits.max_connections,
            max_keepalive_connections=limits.max_keepalive_connections,
            network_backend=_Checked(rule),
        )


class _Checked(httpcore.AsyncNetworkBackend):
    def __init__(self, rule: Rule) -> None:
        self._rule = rule
        self._backend = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        name = f"[{host}]" if ":" in host else host
        addresses = await asyncio.to_thread(check, f"https://{name}:{port}/", self._rule)
        for place, address in enumerate(addresses, 1):
            try:
                return await self._backend.connect_tcp(str(address), port, timeout, None, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                if place == len(addresses):
                    raise
        raise httpcore.ConnectError("it has no address")

    async def sleep(self, seconds: float) -> None:
        await self._backend.sleep(seconds)


class _Held(httpcore.NetworkBackend):
    """Connects to addresses that were looked at, whatever a name means by now."""

    def __init__(self, addresses: Iterable[Address]) -> None:
        self._addresses = [str(address) for address in addresses]
        self._backend = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        for place, address in enumerate(self._addresses, 1):
            try:
                return _Bounded(self._backend.connect_tcp(address, port, _left(timeout), None, socket_options))
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                if place == len(self._addresses):
                    raise
        raise httpcore.ConnectError("it has no address")
