"""The websocket of a runner."""

import asyncio
from collections.abc import Callable, Iterable
from typing import Any
from uuid import UUID

import structlog
from channels.db import database_sync_to_async
from channels.generic.websocket import AsyncWebsocketConsumer
from pydantic import TypeAdapter, ValidationError

from agents import linking, runners
from agents.contracts.link import FromRunner, Hello, ToRunner
from agents.greeting import Refused
from tenants import tokens

logger = structlog.get_logger(__name__)
MESSAGES: TypeAdapter[FromRunner] = TypeAdapter(FromRunner)
LOOK_SECONDS = 2.0
"""How often a websocket looks for placements by itself, should a nudge get lost."""
BAD_MESSAGE, NOT_ALLOWED = 4400, 4401


class RunnerConsumer(AsyncWebsocketConsumer):
    """Hands out assignments and answers heartbeats. All state is in Postgres: any web process will do."""

    runner: UUID | None = None
    secret = ""
    boot: UUID | None = None
    looking: asyncio.Task[None] | None = None

    async def __call__(self, *asgi: Any) -> None:
        """One connection; an error that ends it also ends what it does beside."""
        try:
            await super().__call__(*asgi)
        finally:
            if self.looking:
                self.looking.cancel()

    async def connect(self) -> None:
        """Only holders of a runner token get in."""
        headers = dict(self.scope["headers"])
        self.secret = tokens.bearer(headers.get(b"authorization", b"").decode("latin-1"))
        self.runner = await self._ask(runners.authenticate, self.secret) if self.secret else None
        if self.runner is None:
            await self.close(NOT_ALLOWED)
            return
        await self.accept()

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        """One message of the runner; nonsense closes the connection with the reason in the log."""
        try:
            message = MESSAGES.validate_json(text_data or bytes_data or b"", extra="ignore")
        except ValidationError as error:
            logger.warning("a runner sent nonsense", runner=str(self.runner), error=str(error))
            await self.close(BAD_MESSAGE)
            return
        try:
            answers = await self._ask(linking.hear, self.runner, message, self.channel_name, self.boot)
        except Refused as refused:
            await self.close(refused.code, str(refused))
            return
        await self._say(answers)
        if isinstance(message, Hello):
            self.boot = message.boot
            self.looking = self.looking or asyncio.create_task(self._look())

    async def _look(self) -> None:
        while True:
            try:
                if await self._ask(runners.authenticate, self.secret) != self.runner:
                    await self.close(NOT_ALLOWED)
                    return
                await self.placed({})
            except Exception:
                logger.exception("looking for placements failed", runner=str(self.runner))
            await asyncio.sleep(LOOK_SECONDS)

    async def placed(self, event: dict[str, Any]) -> None:
        """A nudge, or a look by oneself."""
        await self._say(await self._ask(linking.nudged, self.runner, event, self.channel_name))

    async def disconnect(self, code: int) -> None:
        if self.runner is not None:
            await self._ask(runners.disconnect, self.runner, self.channel_name)

    async def _say(self, messages: Iterable[ToRunner]) -> None:
        for message in messages:
            await self.send(text_data=message.model_dump_json())

    async def _ask(self, verb: Callable[..., Any], *args: Any) -> Any:
        """Scope and query sit inside one synchronous call (see tenants.context)."""
        return await database_sync_to_async(verb)(*args)
