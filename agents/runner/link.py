"""The runner's link to the control plane: asks for work, says what goes on, is told what to stop.

A websocket; where none gets through, because a proxy on the way knows none, plain HTTP.
"""

import asyncio
import random
import time
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import Protocol
from uuid import UUID, uuid4

import structlog
from pydantic import TypeAdapter, ValidationError
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus

from agents.contracts.assignment import Frozen
from agents.contracts.link import (
    OUTDATED,
    PROTOCOL,
    TAKEN,
    Assign,
    Forget,
    Hello,
    Hurry,
    Order,
    Rescue,
    ToRunner,
    Verdicts,
    Welcome,
)
from agents.runner.leftovers import Leftovers
from agents.runner.polled import NotLetIn, polled
from agents.runner.pool import Pool
from agents.runner.proof import before, proof, started
from agents.runner.sandbox import Sandbox
from agents.runner.settings import RunnerSettings

log = structlog.get_logger(__name__)

VERSION = "1"
LONGEST_PAUSE = 5.0
MESSAGE_BYTES = 16 << 20
_messages: TypeAdapter[ToRunner] = TypeAdapter(ToRunner)


HTTP_SECONDS = 300.0
"""For how long websockets are not tried again after one was refused by somebody on the way."""


class Connection(Protocol):
    """Texts in both directions."""

    async def send(self, text: str, /) -> None:
        """Raises ConnectionClosed or OSError."""

    def __aiter__(self) -> AsyncIterator[str | bytes]:
        """Raises ConnectionClosed or OSError."""


class Link:
    """Keeps the connection for ever; work goes on while it is down."""

    def __init__(self, settings: RunnerSettings, sandbox: Sandbox) -> None:
        self._settings = settings
        self._sandbox = sandbox
        self._boot: UUID = uuid4()
        self._after = before(settings.folder)
        self._not_let_in = ""
        """Why, as far as it was said; empty: it was let in."""
        self._connection: Connection | None = None
        self._http_until = 0.0
        self.kept = Leftovers(settings.folder, settings.keep_mb << 20, settings.keep_days)
        self.pool = Pool(
            settings.url,
            settings.folder,
            settings.capacity,
            sandbox,
            settings.log_format,
            self.kept,
            self.send,
            settings.warm_servers,
            settings.ahead_mb << 20,
        )

    async def send(self, message: Frozen) -> None:
        """Sends a message if there is a connection; after the next one, Hello and heartbeats say the same."""
        if (connection := self._connection) is None:
            return
        try:
            await connection.send(message.model_dump_json())
        except (ConnectionClosed, OSError):
            log.info("message not sent: the link is down", type=getattr(message, "type", ""))

    async def run(self) -> None:
        """Connects, and connects again whenever the connection ends, for ever."""
        pause = 0.1
        while True:
            try:
                async with self._connected() as connection:
                    await self._talk(connection)
                pause = 0.1
            except InvalidStatus as error:
                status = error.response.status_code
                hint = " Check the runner's token." if status in (401, 403) else ""
                log.warning(f"The control plane answered HTTP {status}.{hint}", url=self._settings.url)
                if self._settings.link == "auto" and status not in (401, 403) and status < 500:
                    log.warning("no websocket gets through: plain HTTP is used", seconds=HTTP_SECONDS)
                    self._http_until = time.monotonic() + HTTP_SECONDS
            except (ConnectionClosed, InvalidHandshake, OSError, TimeoutError) as error:
                if (refused := _refusal(error)) is not None:
                    self._refused(refused)
                else:
                    log.warning("no link to the control plane", url=self._settings.url, because=str(error))
            await asyncio.sleep(pause * random.uniform(0.5, 1))
            pause = min(pause * 2, LONGEST_PAUSE)

    def _connected(self) -> AbstractAsyncContextManager[Connection]:
        if self._settings.link == "http" or time.monotonic() < self._http_until:
            return polled(f"{self._settings.url}/runner/", self._settings.token, self._boot)
        return connect(
            self._settings.link_url,
            additional_headers={"Authorization": f"Bearer {self._settings.token}"},
            max_size=MESSAGE_BYTES,
            open_timeout=10,
            proxy=None,
        )

    def _refused(self, refused: NotLetIn) -> None:
        """It is not let in, and comes again; what another process has taken from it stops."""
        if str(refused) != self._not_let_in:
            self._not_let_in = str(refused)
            log.error(f"The control plane refuses this runner: {refused}", url=self._settings.url)
        if refused.code == TAKEN:
            self.pool.obey(dict.fromkeys(self.pool.holding, Order(verdict="stale")))

    async def _talk(self, connection: Connection) -> None:
        hello = Hello(
            name=self._settings.name,
            boot=self._boot,
            after=self._after,
            version=VERSION,
            protocol=PROTOCOL,
            capacity=self._settings.capacity,
            sandbox=self._sandbox,
            proof=proof(self._settings.folder, self._boot),
            holding=self.pool.holding,
            leaving=self.pool.leaving,
        )
        await connection.send(hello.model_dump_json())
        beating: asyncio.Task[None] | None = None
        try:
            async for text in connection:
                try:
                    message = _messages.validate_json(text, extra="ignore")
                except ValidationError as error:
                    log.error(
                        "a message that this runner does not understand", errors=error.errors(include_input=False)
                    )
                    continue
                if isinstance(message, Welcome):
                    log.info("linked to the control plane", url=self._settings.url, runner=str(message.runner))
                    self._connection, self._not_let_in = connection, ""
                    started(self._settings.folder, self._boot)
                    beating = beating or asyncio.create_task(self._beat(message.heartbeat_seconds))
                    await self.pool.offers.offer_anew()
                elif isinstance(message, Hurry):
                    await self.pool.beat()
                else:
                    self._follow(message)
        finally:
            self._connection = None
            if beating is not None:
                beating.cancel()

    def _follow(self, message: Assign | Verdicts | Rescue | Forget) -> None:
        match message:
            case Assign():
                self.pool.take(message.assignment)
            case Verdicts():
                self.pool.obey(message.executions)
            case Rescue():
                self.pool.rescue(message)
            case Forget():
                self.pool.forget(message.execution)

    async def _beat(self, seconds: float) -> None:
        while True:
            await self.pool.beat()
            await asyncio.sleep(min(seconds, self.pool.heartbeat_seconds))


def _refusal(error: Exception) -> NotLetIn | None:
    """That the control plane does not want us, if it was that."""
    if isinstance(error, ConnectionClosed) and error.rcvd and error.rcvd.code in (TAKEN, OUTDATED):
        return NotLetIn(error.rcvd.code, error.rcvd.reason)
    return error if isinstance(error, NotLetIn) else None
