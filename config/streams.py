"""Which HTTP requests never reach Django: live events, the model gateway, what agents ask, runners' links."""

import re
from collections.abc import Awaitable, Callable
from typing import Any

from django.conf import settings

App = Callable[[Any, Any, Any], Awaitable[None]]
_EVENTS = re.compile(r"^(?:/t/[^/]+)?/events$")
_MODEL = re.compile(r"^/t/[^/]+/model/v1/")
_MCP = re.compile(r"^/t/[^/]+/mcp$")
_RUNNER = re.compile(r"^/runner/$")
_PUSH = re.compile(r"^/t/[^/]+/git/[^/]+/git-receive-pack$")
_ARTIFACT = re.compile(r"^/t/[^/]+/runner/[^/]+/artifacts$")
_ARCHIVE = re.compile(r"^/archives/$")
MOST, MOST_IMPORTED, MOST_PUSHED = 24 * 1024 * 1024, 65 * 1024 * 1024, 257 * 1024 * 1024
"""Bytes of a body that reach Django, which writes all of it to the disk before it asks who sends it."""


def route_http(django: App, *, events: App, gateway: App, mcp: App, polling: App) -> App:
    """An ASGI application that sends each request where it belongs."""

    async def application(scope: Any, receive: Any, send: Any) -> None:
        if _EVENTS.match(scope["path"]):
            await events(scope, receive, send)
        elif _MODEL.match(scope["path"]):
            await gateway(scope, receive, send)
        elif _MCP.match(scope["path"]):
            await mcp(scope, receive, send)
        elif _RUNNER.match(scope["path"]):
            await polling(scope, receive, send)
        else:
            await django(scope, _bounded(receive, scope, _most(scope["path"])), send)

    return application


def _most(path: str) -> int:
    if _ARTIFACT.match(path):
        return int(settings.ARTIFACT_MB) << 20
    if _ARCHIVE.match(path):
        return MOST_IMPORTED
    return MOST_PUSHED if _PUSH.match(path) else MOST


def _bounded(receive: Any, scope: Any, limit: int) -> Callable[[], Awaitable[Any]]:
    """The body, cut off like a lost connection where it gets too long.

    An artifact that says itself that it is too long comes without its body: then whoever sends it is told in words.
    """
    if _ARTIFACT.match(scope["path"]) and _announced(scope) > limit:
        return _without_body(receive)
    size = 0

    async def more() -> Any:
        nonlocal size
        message = await receive()
        size += len(message.get("body", b""))
        return message if size <= limit else {"type": "http.disconnect"}

    return more


def _announced(scope: Any) -> int:
    length = dict(scope["headers"]).get(b"content-length", b"")
    return int(length) if length.isdigit() else 0


def _without_body(receive: Any) -> Callable[[], Awaitable[Any]]:
    """Of the body nothing is passed on: it is read and dropped."""
    is_told = False

    async def nothing() -> Any:
        nonlocal is_told
        if not is_told:
            is_told = True
            return {"type": "http.request", "body": b"", "more_body": False}
        while (message := await receive())["type"] == "http.request":
            continue
        return message

    return nothing
