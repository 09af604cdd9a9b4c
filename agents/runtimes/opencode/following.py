"""The events of a server as they come, through breaks of their stream, to the server's end."""

import asyncio
from typing import Protocol

import structlog

from agents.runtimes.opencode.client import Client, Json
from agents.runtimes.restarts import Lost

log = structlog.get_logger(__name__)

RECONNECT_SECONDS = 0.2
AGAIN = "_again"
"""An event of our own: the stream of events has begun anew."""


class Answering(Protocol):
    """A server that answers."""

    client: Client

    async def gone(self, seconds: float) -> str:
        """How it ended, in words; empty when it is there after so many seconds."""


async def follow(running: Answering, events: "asyncio.Queue[Json | Lost]") -> None:
    """Puts events into a queue; AGAIN whenever their stream has begun, Lost when the server is gone for good."""
    while True:
        try:
            async for event in running.client.events():
                await events.put({"type": AGAIN} if event.get("type") == "server.connected" else event)
        except Lost as error:
            if end := await running.gone(RECONNECT_SECONDS):
                await events.put(Lost(end))
                return
            log.warning("events of opencode broke off", because=str(error))
