"""The provider of the model behind the gateway: one HTTP client, answers passed on as they come."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from uuid import UUID

import httpx
from django.conf import settings

from agents.metering import BROKEN_OFF, Meter
from agents.passage import Passage, Refused, passage

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
    model: str
    repeat: bool = False
    """Its client tries again."""


def openai_error(refusal: Refused) -> bytes:
    """A refusal as OpenAI's clients understand it."""
    error = {"message": str(refusal), "type": HTTPStatus(refusal.status).phrase, "code": refusal.code}
    return json.dumps({"error": error}, ensure_ascii=False).encode()


async def ask(call: Call, meter: Meter, send: Send) -> int:
    """Pass one call on and its answer back. Returns the provider's status. Raises Refused when there is no answer."""
    async with passage(call.schema, call.execution, call.model, repeat=call.repeat) as way:
        try:
            response = await _client_of_this_loop().send(_request(call), stream=True)
        except httpx.TransportError as error:
            await way.broke(error)
            raise _unreached(error) from error
        try:
            await way.answered(response)
            if response.headers.get("content-type", "").startswith("text/event-stream"):
                status, last = await _pass_stream_on(response, meter, send, way)
            else:
                status, last = await _pass_whole_on(response, meter, send, way)
        finally:
            await response.aclose()
    # Last of all: who has heard it hangs up, and that must not look as if he had left early.
    await send({"type": "http.response.body", "body": last})
    return status


def _request(call: Call) -> httpx.Request:
    headers = {"content-type": "application/json", "accept-encoding": "identity"}
    if settings.MODEL_API_KEY:
        headers["authorization"] = f"Bearer {settings.MODEL_API_KEY}"
    url = f"{settings.MODEL_BASE_URL}/{call.path}"
    return _client_of_this_loop().build_request(call.method, url, content=call.body, headers=headers)


async def _pass_whole_on(response: httpx.Response, meter: Meter, send: Send, way: Passage) -> tuple[int, bytes]:
    try:
        body = await response.aread()
    except httpx.TransportError as error:
        await way.broke(error)
        raise _unreached(error) from error
    meter.feed(body)
    await send(_start(response))
    return response.status_code, body


async def _pass_stream_on(response: httpx.Response, meter: Meter, send: Send, way: Passage) -> tuple[int, bytes]:
    meter.begin(streamed=True)
    await send(_start(response))
    status, last = response.status_code, b""
    try:
        async for chunk in response.aiter_bytes():
            meter.feed(chunk)
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
    except httpx.TransportError as error:
        # The status is sent already: the error goes into the stream, where OpenAI's clients look for it.
        status, last = BROKEN_OFF, b"\n\ndata: " + openai_error(_unreached(error)) + b"\n\n"
        await way.broke(error)
    return status, last


def _start(response: httpx.Response) -> dict[str, Any]:
    headers = [
        (name.encode(), response.headers[name].encode("latin-1")) for name in _PASSED_ON if name in response.headers
    ]
    return {"type": "http.response.start", "status": response.status_code, "headers": headers}


def _unreached(error: httpx.TransportError) -> Refused:
    url = httpx.URL(settings.MODEL_BASE_URL)
    where = f"{url.scheme}://{url.netloc.decode().rpartition('@')[2]}"
    if isinstance(error, httpx.ReadTimeout):
        return Refused(504, "model_timed_out", f"The model at {where} was silent for {TIMEOUTS.read:.0f} s.")
    return Refused(
        502,
        "model_unreachable",
        f"The model at {where} cannot be reached ({type(error).__name__}). Check WAGGLE_MODEL_BASE_URL.",
    )


_client: httpx.AsyncClient | None = None
_loop: asyncio.AbstractEventLoop | None = None


def _client_of_this_loop() -> httpx.AsyncClient:
    global _client, _loop
    if _client is None or _loop is not asyncio.get_running_loop():
        _loop = asyncio.get_running_loop()
        _client = httpx.AsyncClient(
            timeout=TIMEOUTS, limits=httpx.Limits(max_connections=None, max_keepalive_connections=20)
        )
    return _client
