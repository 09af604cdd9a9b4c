"""A runner's link over plain HTTP, for networks that let no websocket through. Bare ASGI.

A runner posts what it has to say, and keeps one request open that is answered as soon as there is something to do.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID

import structlog
from channels.db import database_sync_to_async
from channels.layers import get_channel_layer
from django.db import Error as DatabaseError
from pydantic import ValidationError
from redis.exceptions import RedisError

from agents import linking, runners
from agents.consumers.runner import LOOK_SECONDS
from agents.contracts.link import Heard, Said, ToRunner
from agents.greeting import Refused
from tenants import tokens

logger = structlog.get_logger(__name__)

WAIT_SECONDS = 10.0
"""How long a request that listens is kept open; proxies end those that are silent for long."""
MOST = 1 << 20
"""Bytes of a request: heartbeats of a thousand executions are a fifth of that."""
Scope = Any
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]


class _Gone(Exception):
    """The runner no longer waits for an answer."""


class _Ended(Exception):
    """Its token is good no longer."""


async def polling(scope: Scope, receive: Receive, send: Send) -> None:
    """The ASGI application."""
    try:
        status, body = await _answer(scope, receive)
    except _Gone:
        return
    except _Ended:
        status, body = 401, "This token was ended."
    except Refused as refused:
        status, body = refused.code - 4000, str(refused)
    except DatabaseError as error:
        logger.warning("no link without the database", error=str(error))
        status, body = 503, "The control plane's database is away. Ask again."
    kind = b"application/json" if status == 200 else b"text/plain; charset=utf-8"
    headers = [(b"content-type", kind), (b"cache-control", b"no-store")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body.encode()})


async def _answer(scope: Scope, receive: Receive) -> tuple[int, str]:
    if scope["method"] != "POST":
        return 405, "Only POST, or a websocket."
    secret = tokens.bearer(dict(scope["headers"]).get(b"authorization", b"").decode("latin-1"))
    runner = await _ask(runners.authenticate, secret) if secret else None
    if runner is None:
        return 401, "Send the token of a runner."
    body = await _read(receive)
    if body is None:
        return 413, f"A request may have {MOST >> 20} MB."
    try:
        said = Said.model_validate_json(body, extra="ignore")
    except ValidationError as error:
        logger.warning("a runner sent nonsense", runner=str(runner), error=str(error))
        return 400, str(error)
    heard: list[ToRunner] = []
    for message in said.messages:
        heard += await _ask(linking.hear, runner, message, "", said.boot)
    if said.wait:
        heard += await _listen(runner, secret, receive, said.boot)
    return 200, Heard(messages=tuple(heard)).model_dump_json()


async def _listen(runner: UUID, secret: str, receive: Receive, boot: UUID | None) -> list[ToRunner]:
    """What there is to do, as soon as there is something; nothing after a while. Raises _Gone, _Ended or Refused."""
    layer = get_channel_layer()
    assert layer is not None
    channel = await layer.new_channel("runner.poll")
    await _ask(runners.listen, runner, channel, boot)
    ends = asyncio.get_running_loop().time() + WAIT_SECONDS
    gone = asyncio.ensure_future(receive())
    nudge: asyncio.Future[Any] = asyncio.ensure_future(layer.receive(channel))
    try:
        event: dict[str, Any] = {}
        while not (heard := await _ask(linking.nudged, runner, event, channel)):
            left = ends - asyncio.get_running_loop().time()
            if left <= 0:
                break
            await asyncio.wait({gone, nudge}, timeout=min(left, LOOK_SECONDS), return_when=asyncio.FIRST_COMPLETED)
            if gone.done():
                await _ask(runners.disconnect, runner, channel)
                raise _Gone
            await _ask(runners.still, runner, boot)
            if await _ask(runners.authenticate, secret) != runner:
                raise _Ended
            event = {}
            if nudge.done():
                event = _event(nudge)
                nudge = asyncio.ensure_future(layer.receive(channel))
        return heard
    finally:
        gone.cancel()
        nudge.cancel()
        await asyncio.gather(gone, nudge, return_exceptions=True)


def _event(nudge: asyncio.Future[Any]) -> dict[str, Any]:
    try:
        found: dict[str, Any] = nudge.result()
    except (RedisError, OSError) as error:
        logger.warning("nudges are not heard", error=str(error))
        return {}
    return found


async def _read(receive: Receive) -> bytes | None:
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise _Gone
        body += message.get("body", b"")
        if len(body) > MOST:
            return None
        if not message.get("more_body"):
            return bytes(body)


_ask = database_sync_to_async(lambda verb, *words: verb(*words))
