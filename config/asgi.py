"""The web process: streams, the model gateway and MCP as bare ASGI, websockets through Channels, the rest is Django."""

import asyncio
import os
from importlib import import_module
from typing import Any

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
django.setup()

# What the first requests and the first model call would import by themselves, while somebody waits.
import anyio._backends._asyncio  # noqa: E402, F401
import httpcore  # noqa: E402, F401
from channels.routing import ProtocolTypeRouter, URLRouter  # noqa: E402
from django.core.asgi import get_asgi_application  # noqa: E402
from django.urls import path, re_path  # noqa: E402

from agents.consumers import RunnerConsumer, SwarmConsumer, polling  # noqa: E402
from agents.gateway import gateway  # noqa: E402
from config import urls_programs, urls_public, urls_team  # noqa: E402, F401
from config.streams import route_http  # noqa: E402
from sessions.stream import events  # noqa: E402

_loaded: list[Any] = []


async def mcp(scope: Any, receive: Any, send: Any) -> None:
    """What agents ask over MCP. Its library takes a third as long to load as all the rest: the first waits."""
    if not _loaded:
        _loaded.append(await asyncio.to_thread(import_module, "swarms.api.mcp"))
    await _loaded[0].mcp(scope, receive, send)


application = ProtocolTypeRouter(
    {
        "http": route_http(get_asgi_application(), events=events, gateway=gateway, mcp=mcp, polling=polling),
        "websocket": URLRouter(
            [
                re_path(r"^runner/$", RunnerConsumer.as_asgi()),
                path("ws/swarms/<uuid:swarm>/", SwarmConsumer.as_asgi()),
            ]
        ),
    }
)
