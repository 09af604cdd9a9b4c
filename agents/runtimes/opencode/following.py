"""The events of a server as they come, through breaks of their stream, to the server's end."""

import asyncio
from contextlib import suppress

import structlog

from agents.runtimes.opencode.client import Json
from agents.runtimes.opencode.server import Running
from agents.runtimes.restarts import Lost

log = structlog.get_logger(__name__)

RECONNECT_SECONDS = 0.2
AGAIN = "_again"
"""An event of our own: the stream of events has begun anew."""


async def follow(running: Running, events: "asyncio.Queue[Json | Lost]") -> None:
    """Puts events into a queue; AGAIN whenever their stream has begun, Lost when the server is gone for good."""
    while True:
        try:
            async for event in running.client.events():
                await events.put({"type": AGAIN} if event.get("type") == "server.connected" else event)
        except Lost as error:
            with suppress(TimeoutError):
                await asyncio.wait_for(asyncio.shield(running.beside.ended), RECONNECT_SECONDS)
            if running.beside.ended.done():
                await events.put(Lost(running.beside.end()))
                return
            log.warning("events of opencode broke off", because=str(error))
