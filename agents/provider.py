"""The provider of the model behind the gateway, or the next one: one HTTP client, answers passed on as they come."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any
from uuid import UUID

import httpx

from agents.course import Course, Failed, NoUse
from agents.failover import ahead
from agents.hiding import Hidden, HiddenStream
from agents.metering import BROKEN_OFF, Meter
from agents.passage import Passage, Refused, asked_to_wait, judged, passage
from agents.routes import Route, Way, rule
from tenants.outward import HeldTransport
from tenants.reachable import NotAllowed

Scope = Any
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]

TIMEOUTS = httpx.Timeout(connect=10, read=300, write=60, pool=10)
MOST_WHOLE, MOST_LINE = 32 << 20, 4 << 20
"""Bytes of an answer, and of a line of one that is streamed."""
_PASSED_ON = frozenset({b"content-type", b"retry-after", b"x-request-id"})


@dataclass(frozen=True)
class Call:
    """What goes to the provider."""

    method: str
    path: str
    body: bytes | None
    schema: str
    """The team that it is for."""
    execution: UUID
    repeat: bool = False
    """Its client tries again."""


def openai_error(refusal: Refused) -> bytes:
    """A refusal as OpenAI's clients understand it."""
    error = {"message": str(refusal), "type": HTTPStatus(refusal.status).phrase, "code": refusal.code}
    return json.dumps({"error": error}, ensure_ascii=False).encode()


async def ask(call: Call, course: Course, meter: Meter, send: Send) -> int:
    """Pass one call on and its answer back, of the first that has one.

    Returns the provider's status. Raises Refused when there is no answer.
    """
    while (number := ahead(course.standings)) is not None:
        course.now = number
        try:
            return await _ask(call, course.ways[number], meter, send)
        except (Refused, NoUse) as hindrance:
            course.hindered(number, hindrance)
    failure = course.end()
    if isinstance(failure, Refused):
        raise failure
    meter.begin(streamed=False)
    meter.feed(failure.body)
    await send(failure.start)
    await send({"type": "http.response.body", "body": failure.body})
    meter.is_sent = True
    return failure.status


async def _ask(call: Call, way: Way, meter: Meter, send: Send) -> int:
    """Of one provider. Raises Refused or NoUse while nothing is passed on yet."""
    async with passage(call.schema, call.execution, way.route, repeat=call.repeat) as through:
        try:
            response = await _send(call, way)
        except httpx.TransportError as error:
            through.broke(error)
            raise _unreached(error, way.route) from error
        except NotAllowed as error:
            text = f"{way.route.provider}: {error}"
            raise Refused(502, "provider_not_allowed", text, why=str(error), asked=False) from error
        try:
            through.answered(response)
            if judged(response.status_code, 0).is_failure:
                raise await _no_use(response, way, through)
            if response.headers.get("content-type", "").startswith("text/event-stream"):
                status, last = await _pass_stream_on(response, way, meter, send, through)
            else:
                status, last = await _pass_whole_on(response, way, meter, send, through)
        finally:
            await response.aclose()
        # The end of the answer does not wait until the gates have heard of it, nor do they wait for it.
        through.over()
        await send({"type": "http.response.body", "body": last})
        meter.is_sent = True
    return status


async def _send(call: Call, way: Way) -> httpx.Response:
    """The head of the provider's answer. Raises httpx.TransportError, NotAllowed."""
    client = _client_of_this_loop(held=way.route.id is not None)
    headers = {"content-type": "application/json", "accept-encoding": "identity"}
    if way.key:
        headers["authorization"] = f"Bearer {way.key}"
    url = f"{way.route.base_url}/{call.path}"
    return await client.send(client.build_request(call.method, url, content=call.body, headers=headers), stream=True)


async def _no_use(response: httpx.Response, way: Way, through: Passage) -> NoUse:
    body = await _whole(response, way, through)
    wait = asked_to_wait(response.headers.get("retry-after"), datetime.now(UTC))
    failed = Failed(response.status_code, _start(response, way.key), body)
    return NoUse(failed, wait.total_seconds() if wait else 0)


async def _pass_whole_on(
    response: httpx.Response, way: Way, meter: Meter, send: Send, through: Passage
) -> tuple[int, bytes]:
    body = await _whole(response, way, through)
    meter.feed(body)
    await send(_start(response, way.key))
    return response.status_code, body


async def _whole(response: httpx.Response, way: Way, through: Passage) -> bytes:
    try:
        return Hidden(way.key).whole(b"".join([piece async for piece in _pieces(response)]))
    except httpx.TransportError as error:
        through.broke(error)
        raise _unreached(error, way.route) from error


async def _pass_stream_on(
    response: httpx.Response, way: Way, meter: Meter, send: Send, through: Passage
) -> tuple[int, bytes]:
    meter.begin(streamed=True)
    await send(_start(response, way.key))
    hidden = HiddenStream(way.key)
    status, last = response.status_code, b""
    try:
        async for chunk in _pieces(response, streamed=True):
            if shown := hidden.feed(chunk):
                meter.feed(shown)
                await send({"type": "http.response.body", "body": shown, "more_body": True})
        last = hidden.end()
        meter.feed(last)
    except httpx.TransportError as error:
        # The status is sent already: the error goes into the stream, where OpenAI's clients look for it.
        status, last = BROKEN_OFF, b"\n\ndata: " + openai_error(_unreached(error, way.route)) + b"\n\n"
        through.broke(error)
    return status, last


def _start(response: httpx.Response, key: str) -> dict[str, Any]:
    told = {name.lower(): value for name, value in response.headers.raw if name.lower() in _PASSED_ON}
    headers = [(name, Hidden(key).whole(value)) for name, value in told.items()]
    return {"type": "http.response.start", "status": response.status_code, "headers": headers}


async def _pieces(response: httpx.Response, *, streamed: bool = False) -> AsyncIterator[bytes]:
    """An answer, within bounds: what is held here until it is whole is all of it or, of a stream, a line.

    Raises httpx.TransportError.
    """
    held = 0
    try:
        async for piece in response.aiter_bytes():
            newline = piece.rfind(b"\n") if streamed else -1
            held = len(piece) - newline - 1 if newline >= 0 else held + len(piece)
            if held > (MOST_LINE if streamed else MOST_WHOLE):
                raise httpx.RemoteProtocolError("an answer that is too long")
            yield piece
    except httpx.DecodingError as error:
        raise httpx.RemoteProtocolError(str(error)) from error


def _unreached(error: httpx.TransportError, route: Route) -> Refused:
    where = f"{route.base_url.partition('://')[0]}://{route.host}"
    what = f"the address of {route.provider} on the page of providers" if route.provider else "WAGGLE_MODEL_BASE_URL"
    if isinstance(error, httpx.ReadTimeout):
        silent = f"was silent for {TIMEOUTS.read:.0f} s"
        return Refused(504, "model_timed_out", f"The model at {where} {silent}.", why=silent)
    why = f"cannot be reached ({type(error).__name__})"
    return Refused(502, "model_unreachable", f"The model at {where} {why}. Check {what}.", why=why)


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
