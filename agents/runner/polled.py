"""The link over plain HTTP, where no websocket gets through: what is said is posted, and one request listens."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID

import httpx
from pydantic import ValidationError

from agents.contracts.link import OUTDATED, TAKEN, Heard, Said
from agents.runner.trust import trusted

LISTEN_SECONDS = 30.0
"""Longer than the control plane keeps a request open."""


class Broken(OSError):
    """The control plane cannot be reached this way; the message says why."""


class NotLetIn(Broken):
    """The control plane does not want this process; the message says why."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code
        """As a websocket is closed with."""


class Polled:
    """Sends and hears texts like a websocket."""

    def __init__(self, client: httpx.AsyncClient, url: str, boot: UUID) -> None:
        self._client, self._url, self._boot = client, url, boot
        self._heard: asyncio.Queue[str | Broken] = asyncio.Queue()
        self._greeted = asyncio.Event()

    async def send(self, text: str) -> None:
        """Says one message; what is answered is heard. Raises Broken."""
        await self._post(Said.model_validate({"messages": [json.loads(text)], "boot": self._boot}))
        self._greeted.set()

    async def __aiter__(self) -> AsyncIterator[str]:
        """What is heard. Raises Broken."""
        while not isinstance(heard := await self._heard.get(), Broken):
            yield heard
        raise heard

    async def listen(self) -> None:
        """Keeps one request open, for ever, once the runner has said who it is."""
        await self._greeted.wait()
        while True:
            try:
                await self._post(Said(boot=self._boot, wait=True))
            except Broken as error:
                self._heard.put_nowait(error)
                return

    async def _post(self, said: Said) -> None:
        try:
            answer = await self._client.post(self._url, content=said.model_dump_json())
        except httpx.RequestError as error:
            raise Broken(f"{type(error).__name__}: {error}") from error
        if (code := 4000 + answer.status_code) in (TAKEN, OUTDATED):
            raise NotLetIn(code, answer.text[:500])
        if answer.status_code != httpx.codes.OK:
            hint = " Check the runner's token." if answer.status_code in (401, 403) else ""
            raise Broken(f"The control plane answered HTTP {answer.status_code}.{hint}")
        try:
            heard = Heard.model_validate_json(answer.content, extra="ignore")
        except ValidationError as error:
            raise Broken("Somebody on the way answered in the control plane's place.") from error
        for message in heard.messages:
            self._heard.put_nowait(message.model_dump_json())


@asynccontextmanager
async def polled(url: str, token: str, boot: UUID) -> AsyncIterator[Polled]:
    """A link over HTTP to this address with a runner's token, of this start of it."""
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    timeouts = httpx.Timeout(LISTEN_SECONDS, connect=10)
    async with httpx.AsyncClient(headers=headers, timeout=timeouts, verify=trusted(), trust_env=False) as client:
        link = Polled(client, url, boot)
        listening = asyncio.create_task(link.listen())
        try:
            yield link
        finally:
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)
