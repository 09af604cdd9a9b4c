"""Which HTTP requests never reach Django: live events and the model gateway."""

import re
from collections.abc import Awaitable, Callable
from typing import Any

App = Callable[[Any, Any, Any], Awaitable[None]]
_EVENTS = re.compile(r"^(?:/t/[^/]+)?/events$")
_MODEL = re.compile(r"^/t/[^/]+/model/v1/")
_PUSH = re.compile(r"^/t/[^/]+/git/[^/]+/git-receive-pack$")
MOST, MOST_PUSHED = 24 * 1024 * 1024, 257 * 1024 * 1024
"""Bytes of a body that reach Django, which writes all of it to the disk before it asks who sends it."""


def route_http(django: App, *, events: App, gateway: App) -> App:
    """An ASGI application that sends each request where it belongs."""

    async def application(scope: Any, receive: Any, send: Any) -> None:
        if _EVENTS.match(scope["path"]):
            await events(scope, receive, send)
        elif _MODEL.match(scope["path"]):
            await gateway(scope, receive, send)
        else:
            await django(scope, _bounded(scope, receive), send)

    return application


def _bounded(scope: Any, receive: Any) -> Callable[[], Awaitable[Any]]:
    """The body, cut off like a lost connection where it gets too long."""
    limit = MOST_PUSHED if _PUSH.match(scope["path"]) else MOST
    size = 0

    async def more() -> Any:
        nonlocal size
        message = await receive()
        size += len(message.get("body", b""))
        return message if size <= limit else {"type": "http.disconnect"}

    return more
