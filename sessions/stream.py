"""`/events`: durable events and live progress as server-sent events. Bare ASGI, ahead of Django.

While a stream is open it holds no database connection and no thread.
"""

import asyncio
import random
import signal
import threading
from collections.abc import Awaitable, Callable, Coroutine, Generator, Iterator
from types import FrameType
from typing import Any

import structlog
from channels.db import database_sync_to_async
from django.db import Error as DatabaseError
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from sessions import frames, rooms
from sessions.admission import Refused, Request, admit, identify
from sessions.hub import Hub, replayed
from sessions.rooms import Client

logger = structlog.get_logger(__name__)

Scope = Any
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]

RETRY_MS = 2000
CLOSING_SECONDS = 3.0
"""A client that takes no more bytes is cut off after so long."""
_HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),
]

_admit = database_sync_to_async(admit, thread_sensitive=False)
_identify = database_sync_to_async(identify, thread_sensitive=False)
_hub: Hub | None = None


async def events(scope: Scope, receive: Receive, send: Send) -> None:
    """The ASGI application."""
    try:
        if scope["method"] != "GET":
            raise Refused(405, "Only GET.")
        request = Request.of(scope)
        hub = _hub_of_this_loop()
        if hub.draining:
            raise Refused(503, "This process ends. Ask again.")
        client = hub.join(await _admit(request))
    except Refused as refusal:
        await _refuse(send, refusal)
        return
    except DatabaseError as error:
        logger.warning("no live stream without the database", error=str(error))
        await _refuse(send, Refused(503, "The database is away. Ask again."))
        return
    try:
        await hub.hears(client)
        await _serve(client, request, receive, send)
    finally:
        hub.leave(client)


async def _refuse(send: Send, refusal: Refused) -> None:
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"cache-control", b"no-store")]
    if refusal.status in (429, 503):
        headers.append((b"retry-after", b"2"))
    await send({"type": "http.response.start", "status": refusal.status, "headers": headers})
    await send({"type": "http.response.body", "body": refusal.text.encode()})


async def _serve(client: Client, request: Request, receive: Receive, send: Send) -> None:
    """Write until the stream ends or the client is gone, whichever comes first."""
    writing = asyncio.create_task(_write(client, request, send))
    going = asyncio.create_task(_gone(receive))
    ending = asyncio.create_task(client.ended.wait())
    tasks = (writing, going, ending)
    try:
        await asyncio.wait({writing, going, ending}, return_when=asyncio.FIRST_COMPLETED)
        if ending.done() and not going.done():
            await asyncio.wait({writing, going}, timeout=CLOSING_SECONDS, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
    if isinstance(results[0], Exception) and not isinstance(results[0], OSError):
        raise results[0]


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _write(client: Client, request: Request, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
    await _replay(client, request.after, send)
    loop = asyncio.get_running_loop()
    client.checked_at = client.told_at = loop.time()
    hand = Hand(client, send)
    while client.last_words is None:
        await hand.rest()
        now, chunk = loop.time(), client.take()
        if not chunk and client.told_at + rooms.HEARTBEAT_SECONDS <= now:
            chunk = frames.HEARTBEAT
        if chunk:
            client.told_at = now
            await _more(send, chunk)
        if client.checked_at + rooms.RECHECK_SECONDS <= now:
            client.checked_at = now
            if not await _may_stay(request):
                client.end(b"")
    await send({"type": "http.response.body", "body": client.take() + client.last_words})


class Hand:
    """Writes for one client without a task's being woken for each event: as far as the server takes it at once."""

    def __init__(self, client: Client, send: Send) -> None:
        self._client, self._send = client, send
        self._loop = asyncio.get_running_loop()
        self._cycle = _cycle_of(send)
        self._begun: Awaitable[None] | None = None

    async def rest(self) -> None:
        """Leave the client to whoever offers it something, until there is more to do than to send that."""
        client = self._client
        if not client.has_waiting:
            client.send_now, client.connection = self._now, self._cycle
        try:
            await client.wake.wait()
        finally:
            client.send_now = client.connection = None
        client.wake.clear()
        if self._begun is not None:
            begun, self._begun = self._begun, None
            await begun

    def _now(self, body: bytes, chunk: bytes) -> None:
        self._client.told_at = self._loop.time()
        cycle = self._cycle
        if cycle is not None and not cycle.disconnected and not cycle.flow.write_paused:
            # Uvicorn's connection takes it as it is: without a message and a coroutine for each client.
            cycle.transport.write(chunk)
            return
        sending = _more(self._send, body)
        try:
            waits_for = sending.send(None)
        except StopIteration:
            return
        except Exception as error:
            self._begun = _failed(error)
        else:
            # The server waits for the client's buffer: from here on the writer's task does, and what comes is queued.
            self._begun = Begun(sending, waits_for)
        self._client.send_now = self._client.connection = None
        self._client.wake.set()


class Begun:
    """A coroutine that ran outside of any task until it had to wait; awaited, it goes on. An eager task does the same,
    from Python 3.12 on."""

    def __init__(self, coroutine: Coroutine[Any, Any, None], waits_for: Any) -> None:
        self._coroutine, self._waits_for = coroutine, waits_for

    def __await__(self) -> Generator[Any, Any, None]:
        """Wait for what it waits for, and then for whatever comes next."""
        yield self._waits_for
        return (yield from self._coroutine.__await__())


def _cycle_of(send: Send) -> RequestResponseCycle | None:
    """Uvicorn's side of an answer in chunks that has begun; None: another server, or something between."""
    owner = getattr(send, "__self__", None)
    return owner if isinstance(owner, RequestResponseCycle) and owner.chunked_encoding else None


async def _failed(error: Exception) -> None:
    raise error


async def _replay(client: Client, after: int | None, send: Send) -> None:
    """Send what the client missed. It is in the hub already: what comes meanwhile waits in its queue."""
    now = client.listener.position
    if after is not None and after <= now:
        client.position = after
        missed = await replayed(client.listener.schema, after, None, client.listener.topics) if after < now else []
    else:
        missed = None if after is not None else []
    await _more(send, frames.opening(client.position, RETRY_MS))
    if missed is None:
        client.position = now
        await _more(send, frames.reset(now).data)
    if not missed and client.joined > client.position:
        # Between admission and joining the hub something came by.
        missed = await replayed(client.listener.schema, client.position, None, client.listener.topics)
    if missed:
        told = frames.for_page if client.listener.is_page else frames.of_event
        await _more(send, b"".join(client.seen(told(event)) for event in missed))


async def _more(send: Send, body: bytes) -> None:
    await send({"type": "http.response.body", "body": body, "more_body": True})


async def _may_stay(request: Request) -> bool:
    try:
        await _identify(request)
    except Refused:
        return False
    except DatabaseError as error:
        # Nobody was removed while the database is away.
        logger.warning("membership of a live stream not asked", error=str(error))
    return True


def _hub_of_this_loop() -> Hub:
    global _hub
    if _hub is None or _hub.broken or _hub.loop is not asyncio.get_running_loop():
        _hub = Hub()
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                _drain_at(number, _hub)
    return _hub


def _drain_at(number: signal.Signals, hub: Hub) -> None:
    """Close the streams when the process is told to end: the server waits, and does not tell them."""
    before = signal.getsignal(number)

    def ending(received: int, frame: FrameType | None) -> None:
        hub.loop.call_soon_threadsafe(hub.drain, _come_back())
        if callable(before):
            before(received, frame)
        elif before is not signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)

    signal.signal(number, ending)


def _come_back() -> Iterator[bytes]:
    """Last words that spread the clients' return over a few seconds."""
    while True:
        yield frames.closing(random.randint(200, 3000))
