"""The provider of the model behind the gateway, or the next one: one HTTP client, answers passed on as they come."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from uuid import UUID

import httpx
from django.conf import settings

from agents.course import Course, Failed, NoUse
from agents.failover import ahead
from agents.hiding import Hidden, HiddenStream
from agents.metering import BROKEN_OFF, Meter
from agents.passage import Judgement, Passage, Refused, passage
from agents.routes import Route, Way, rule
from tenants.outward import HeldTransport
from tenants.reachable import NotAllowed

Scope = Any
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]

TIMEOUTS = httpx.Timeout(connect=10, read=300, write=60, pool=10)
MOST_WHOLE, MOST_LINE, MOST_STREAM = 32 << 20, 4 << 20, 128 << 20
"""Bytes of an answer; of a line of one that is streamed, and of all of it."""
_PASSED_ON = frozenset({b"content-type", b"retry-after", b"x-request-id"})


class TooMuch(httpx.RemoteProtocolError):
    """An answer has more bytes than it may have; the text says so."""


class NoEnd(httpx.TimeoutException):
    """An answer has not ended in time; the text says so."""


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
    until = asyncio.get_running_loop().time() + settings.MODEL_SECONDS
    async with passage(call.schema, call.execution, way.route, repeat=call.repeat) as through:
        try:
            async with _ends(until):
                response = await _send(call, way)
        except httpx.TransportError as error:
            through.broke(error)
            raise _unreached(error, way.route) from error
        except NotAllowed as error:
            text = f"{way.route.provider}: {error}"
            raise Refused(502, "provider_not_allowed", text, why=str(error), asked=False) from error
        try:
            judgement = through.answered(response)
            if judgement.is_failure:
                raise await _no_use(response, way, through, judgement, until)
            is_stream = response.headers.get("content-type", "").startswith("text/event-stream")
            pass_on = _pass_stream_on if is_stream else _pass_whole_on
            status, last = await pass_on(response, way, meter, send, through, until)
        finally:
            await response.aclose()
        # The end of the answer does not wait until the gates have heard of it, nor do they wait for it.
        through.over()
        await send({"type": "http.response.body", "body": last})
        meter.is_sent = True
    return status


@asynccontextmanager
async def _ends(until: float) -> AsyncIterator[None]:
    """A part of a call, which is over by then. Raises NoEnd."""
    try:
        async with asyncio.timeout_at(until):
            yield
    except TimeoutError as error:
        raise NoEnd(f"did not end its answer within {settings.MODEL_SECONDS:g} s") from error


async def _send(call: Call, way: Way) -> httpx.Response:
    """The head of the provider's answer. Raises httpx.TransportError, NotAllowed."""
    client = _client_of_this_loop(held=way.route.id is not None)
    headers = {"content-type": "application/json", "accept-encoding": "identity"}
    if way.key:
        headers["authorization"] = f"Bearer {way.key}"
    url = f"{way.route.base_url}/{call.path}"
    return await client.send(client.build_request(call.method, url, content=call.body, headers=headers), stream=True)


async def _no_use(response: httpx.Response, way: Way, through: Passage, judgement: Judgement, until: float) -> NoUse:
    body = await _whole(response, way, through, until)
    return NoUse(Failed(response.status_code, _start(response, way.key), body), judgement.wait.total_seconds())


async def _pass_whole_on(
    response: httpx.Response, way: Way, meter: Meter, send: Send, through: Passage, until: float
) -> tuple[int, bytes]:
    body = await _whole(response, way, through, until)
    meter.feed(body)
    await send(_start(response, way.key))
    return response.status_code, body


async def _whole(response: httpx.Response, way: Way, through: Passage, until: float) -> bytes:
    try:
        async with _ends(until):
            return Hidden(way.key).whole(b"".join([piece async for piece in _pieces(response)]))
    except httpx.TransportError as error:
        through.broke(error)
        raise _unreached(error, way.route) from error


async def _pass_stream_on(
    response: httpx.Response, way: Way, meter: Meter, send: Send, through: Passage, until: float
) -> tuple[int, bytes]:
    meter.begin(streamed=True)
    await send(_start(response, way.key))
    hidden = HiddenStream(way.key)
    status, last = response.status_code, b""
    try:
        async with _ends(until):
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
    held = whole = 0
    most, most_whole = (MOST_LINE, MOST_STREAM) if streamed else (MOST_WHOLE, MOST_WHOLE)
    try:
        async for piece in response.aiter_bytes():
            newline = piece.rfind(b"\n") if streamed else -1
            held = len(piece) - newline - 1 if newline >= 0 else held + len(piece)
            whole += len(piece)
            if held > most:
                raise TooMuch(f"sent {'a line' if streamed else 'an answer'} of more than {most >> 20} MB")
            if whole > most_whole:
                raise TooMuch(f"sent an answer of more than {most_whole >> 20} MB")
            yield piece
    except httpx.DecodingError as error:
        raise httpx.RemoteProtocolError(str(error)) from error


def _unreached(error: httpx.TransportError, route: Route) -> Refused:
    where = f"{route.base_url.partition('://')[0]}://{route.host}"
    what = f"the address of {route.provider} on the page of providers" if route.provider else "WAGGLE_MODEL_BASE_URL"
    if isinstance(error, TooMuch):
        return Refused(502, "model_unreachable", f"The model at {where} {error}.", why=str(error))
    if isinstance(error, NoEnd):
        return Refused(504, "model_timed_out", f"The model at {where} {error}.", why=str(error))
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
