"""Which HTTP requests never reach Django: live events and the model gateway."""

import re
from collections.abc import Awaitable, Callable
from typing import Any

App = Callable[[Any, Any, Any], Awaitable[None]]
_EVENTS = re.compile(r"^(?:/t/[^/]+)?/events$")
_MODEL = re.compile(r"^/t/[^/]+/model/v1/")


def route_http(django: App, *, events: App, gateway: App) -> App:
    """An ASGI application that sends each request where it belongs."""

    async def application(scope: Any, receive: Any, send: Any) -> None:
        if _EVENTS.match(scope["path"]):
            await events(scope, receive, send)
        elif _MODEL.match(scope["path"]):
            await gateway(scope, receive, send)
        else:
            await django(scope, receive, send)

    return application
