"""The provider of the model behind the gateway: one HTTP client, answers passed on as they come."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any
from uuid import UUID

import httpx

from agents.hiding import Hidden, HiddenStream
from agents.metering import BROKEN_OFF, Meter
from agents.passage import Passage, Refused, passage
from agents.routes import Route, rule
from tenants.outward import HeldTransport
from tenants.reachable import NotAllowed

Scope = Any
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]

TIMEOUTS = httpx.Timeout(connect=10, read=300, write=60, pool=10)
_PASSED_ON = ("content-type", "retry-after", "x-request-id")


@dataclass(frozen=True)
class Call:
    """What goes to the provider."""

    method: str
    path: str
    body: bytes | None
    schema: str
    """The team that it is for."""
    execution: UUID
    route: Route
    key: str = field(default="", repr=False)
    repeat: bool = False
    """Its client tries again."""


def openai_error(refusal: Refused) -> bytes:
    """A refusal as OpenAI's clients understand it."""
    error = {"message": str(refusal), "type": HTTPStatus(refusal.status).phrase, "code": refusal.code}
    return json.dumps({"error": error}, ensure_ascii=False).encode()


async def ask(call: Call, meter: Meter, send: Send) -> int:
    """Pass one call on and its answer back. Returns the provider's status. Raises Refused when there is no answer."""
    async with passage(call.schema, call.execution, call.route, repeat=call.repeat) as way:
        try:
            response = await _send(call)
        except httpx.TransportError as error:
            way.broke(error)
            raise _unreached(error, call.route) from error
        except NotAllowed as error:
            raise Refused(502, "provider_not_allowed", f"{call.route.provider}: {error}", asked=False) from error
        try:
            way.answered(response)
            if response.headers.get("content-type", "").startswith("text/event-stream"):
                status, last = await _pass_stream_on(response, call, meter, send, way)
            else:
                status, last = await _pass_whole_on(response, call, meter, send, way)
        finally:
            await response.aclose()
        # The end of the answer does not wait until the gates have heard of it, nor do they wait for it.
        way.over()
        await send({"type": "http.response.body", "body": last})
        meter.is_sent = True
    return status


async def _send(call: Call) -> httpx.Response:
    """The head of the provider's answer. Raises httpx.TransportError, NotAllowed."""
    client = _client_of_this_loop(held=call.route.id is not None)
    headers = {"content-type": "application/json", "accept-encoding": "identity"}
    if call.key:
        headers["authorization"] = f"Bearer {call.key}"
    url = f"{call.route.base_url}/{call.path}"
    return await client.send(client.build_request(call.method, url, content=call.body, headers=headers), stream=True)


async def _pass_whole_on(
    response: httpx.Response, call: Call, meter: Meter, send: Send, way: Passage
) -> tuple[int, bytes]:
    try:
        body = await response.aread()
    except httpx.TransportError as error:
        way.broke(error)
        raise _unreached(error, call.route) from error
    body = Hidden(call.key).whole(body)
    meter.feed(body)
    await send(_start(response, call.key))
    return response.status_code, body


async def _pass_stream_on(
    response: httpx.Response, call: Call, meter: Meter, send: Send, way: Passage
) -> tuple[int, bytes]:
    meter.begin(streamed=True)
    await send(_start(response, call.key))
    hidden = HiddenStream(call.key)
    status, last = response.status_code, b""
    try:
        async for chunk in response.aiter_bytes():
            if shown := hidden.feed(chunk):
                meter.feed(shown)
                await send({"type": "http.response.body", "body": shown, "more_body": True})
        last = hidden.end()
        meter.feed(last)
    except httpx.TransportError as error:
        # The status is sent already: the error goes into the stream, where OpenAI's clients look for it.
        status, last = BROKEN_OFF, b"\n\ndata: " + openai_error(_unreached(error, call.route)) + b"\n\n"
        way.broke(error)
    return status, last


def _start(response: httpx.Response, key: str) -> dict[str, Any]:
    told = {name: response.headers[name].encode("latin-1") for name in _PASSED_ON if name in response.headers}
    headers = [(name.encode(), Hidden(key).whole(value)) for name, value in told.items()]
    return {"type": "http.response.start", "status": response.status_code, "headers": headers}


def _unreached(error: httpx.TransportError, route: Route) -> Refused:
    where = f"{route.base_url.partition('://')[0]}://{route.host}"
    what = f"the address of {route.provider} on the page of providers" if route.provider else "WAGGLE_MODEL_BASE_URL"
    if isinstance(error, httpx.ReadTimeout):
        return Refused(504, "model_timed_out", f"The model at {where} was silent for {TIMEOUTS.read:.0f} s.")
    return Refused(
        502,
        "model_unreachable",
        f"The model at {where} cannot be reached ({type(error).__name__}). Check {what}.",
    )


_clients: dict[bool, httpx.AsyncClient] = {}
_loop: asyncio.AbstractEventLoop | None = None


def _client_of_this_loop(*, held: bool) -> httpx.AsyncClient:
    """The client for the platform's provider, or the one `held` to where a team may send this server."""
    global _loop
    if _loop is not asyncio.get_running_loop():
        _loop = asyncio.get_running_loop()
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=20)
        _clients[False] = httpx.AsyncClient(timeout=TIMEOUTS, limits=limits)
        _clients[True] = httpx.AsyncClient(timeout=TIMEOUTS, transport=HeldTransport(rule(), limits), trust_env=False)
    return _clients[held]
