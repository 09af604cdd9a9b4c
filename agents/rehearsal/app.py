"""The rehearsal model as an ASGI application: `uvicorn agents.rehearsal.app:application`."""

import asyncio
import json
import logging
import os
from collections.abc import Awaitable, Callable
from typing import Any

from agents.rehearsal.completions import MODEL, chunks, seconds, whole
from agents.rehearsal.scenes import Scene, load
from agents.rehearsal.talk import Refused, read, turn
from tenants.logs import configure

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]

LARGEST_BODY = 8 * 1024 * 1024
"""Bytes; a whole conversation of an agent is far below."""

log = logging.getLogger(__name__)


class Rehearsal:
    """Serves the scenes; keeps no state, so that a restart in the middle of a run changes nothing.

    `pace` stretches every pause: 1 as written in the scripts, 0 for no pauses.
    """

    def __init__(self, scenes: tuple[Scene, ...], pace: float = 1.0) -> None:
        self.scenes = scenes
        self.pace = pace

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
        elif scope["type"] == "http":
            try:
                await self._answer(scope["method"], scope["path"], receive, send)
            except Refused as refused:
                log.warning("rehearsal refused a request: %s", refused)
                error = {"message": str(refused), "type": refused.code, "code": refused.code, "param": None}
                await _json(send, {"error": error}, refused.status)

    async def _answer(self, method: str, path: str, receive: Receive, send: Send) -> None:
        match method, path:
            case "GET", "/healthz":
                await _json(send, {"status": "ok", "model": MODEL, "scenes": len(self.scenes)})
            case "GET", "/v1/models":
                model = {"id": MODEL, "object": "model", "created": 0, "owned_by": "waggle-rehearsal"}
                await _json(send, {"object": "list", "data": [model]})
            case "POST", "/v1/chat/completions":
                await self._complete(await _body(receive), send)
            case _:
                known = "POST /v1/chat/completions, GET /v1/models and GET /healthz"
                raise Refused(404, "not_found", f"{method} {path}: the rehearsal model only serves {known}")

    async def _complete(self, body: bytes, send: Send) -> None:
        request = read(body)
        now = turn(request, self.scenes)
        log.info("rehearsal plays scene %s, step %s", now.scene, now.played + 1)
        if not request.stream:
            await asyncio.sleep(seconds(now) * self.pace)
            await _json(send, whole(request, now))
            return
        await _start(send, 200, b"text/event-stream; charset=utf-8")
        for delay, chunk in chunks(request, now):
            await asyncio.sleep(delay * self.pace)
            await _send(send, b"data: " + json.dumps(chunk, ensure_ascii=False).encode() + b"\n\n", more=True)
        await _send(send, b"data: [DONE]\n\n")


async def _lifespan(receive: Receive, send: Send) -> None:
    while (message := await receive())["type"] != "lifespan.shutdown":
        if message["type"] == "lifespan.startup":
            configure("rehearsal", os.environ.get("WAGGLE_LOG_FORMAT") or "json")
            await send({"type": "lifespan.startup.complete"})
    await send({"type": "lifespan.shutdown.complete"})


async def _body(receive: Receive) -> bytes:
    body, more = b"", True
    while more:
        message = await receive()
        body, more = body + message.get("body", b""), message.get("more_body", False)
        if len(body) > LARGEST_BODY:
            raise Refused(413, "request_too_large", f"the body is larger than {LARGEST_BODY} bytes")
    return body


async def _json(send: Send, content: dict[str, Any], status: int = 200) -> None:
    await _start(send, status, b"application/json")
    await _send(send, json.dumps(content, ensure_ascii=False).encode())


async def _start(send: Send, status: int, content_type: bytes) -> None:
    headers = [
        (b"content-type", content_type),
        (b"cache-control", b"no-store"),
        (b"x-waggle-rehearsal", b"1"),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})


async def _send(send: Send, body: bytes, more: bool = False) -> None:
    await send({"type": "http.response.body", "body": body, "more_body": more})


application = Rehearsal(load())
