"""Children that wait with a program started, so that an attempt's first seconds are not spent on that.

Memory is what they cost, so there are none until an attempt has wanted such a program, and none again when for a while
nobody did. The next one is started a moment after an attempt has begun, one at a time, and never in its way.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

import structlog

from agents.contracts import Assignment
from agents.runner.disk import remove
from agents.runner.forked import Child, Message

log = structlog.get_logger(__name__)

RUNTIME = "opencode"
"""Whose program takes seconds to start."""
PREFIX = "spare-"
"""Of the names of their folders, which become those of their executions."""
KEEP_SECONDS = 1800.0
"""How long they are kept after the last attempt that wanted one."""
SETTLE_SECONDS = 10.0
"""The start of an attempt has the processors for itself."""
AGAIN_SECONDS = 60.0
"""After one was found to be broken, or was killed, when there is too little memory perhaps."""
START_SECONDS = 150.0
END_SECONDS = 5.0


@dataclass(eq=False)
class Spare:
    """One of them."""

    child: Child
    is_ready: bool = False
    is_ended: bool = False
    """By us."""
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    """It is ready, or gone."""


class Spares:
    """As many as are kept. `fork` starts one in a folder."""

    def __init__(self, most: int, folder: Path, fork: Callable[[str, Path], Awaitable[Child]]) -> None:
        self._most = most
        self._folder = folder
        self._fork = fork
        self._spares: list[Spare] = []
        self._wanted_until = 0.0
        self._not_before = 0.0
        self._news = asyncio.Event()
        self._closed = False
        self._removing: set[asyncio.Task[None]] = set()

    @property
    def ready(self) -> int:
        """How many can be had now."""
        return len(self._to_be_had())

    def take(self, assignment: Assignment) -> Child | None:
        """One for this assignment, which is the caller's from now on; None when it wants none, or none is ready."""
        if (
            self._closed
            or not self._most
            or assignment.runtime != RUNTIME
            or assignment.kind == "check"
            or assignment.host is not None
        ):
            return None
        now = time.monotonic()
        self._wanted_until, self._not_before = now + KEEP_SECONDS, now + SETTLE_SECONDS
        self._news.set()
        found = next(iter(self._to_be_had()), None)
        if found is None:
            return None
        self._spares.remove(found)
        found.child.wait()
        return found.child

    def _to_be_had(self) -> list[Spare]:
        return [spare for spare in self._spares if spare.is_ready and not (spare.is_ended or spare.child.has_ended)]

    async def keep(self) -> None:
        """Starts and ends them as they are wanted, for ever."""
        while not self._closed:
            self._news.clear()
            now = time.monotonic()
            if now >= self._wanted_until:
                await self._end(self._spares)
            pause = self._wanted_until - now if now < self._wanted_until else None
            if pause is not None and len(self._spares) < self._most:
                pause = self._not_before - now
                if pause <= 0:
                    await self._start()
                    continue
            with suppress(TimeoutError):
                await asyncio.wait_for(self._news.wait(), pause)

    async def close(self) -> None:
        """Ends all; there are none any more."""
        self._closed = True
        self._news.set()
        await self._end(self._spares)

    async def _start(self) -> None:
        folder = self._folder / f"{PREFIX}{uuid4().hex}"
        try:
            spare = Spare(await self._fork(RUNTIME, folder))
        except (OSError, EOFError) as error:
            log.warning("no spare can be started", because=str(error))
            self._wanted_until = 0.0
            return
        if self._closed:
            spare.child.kill()
        self._spares.append(spare)
        spare.child.listen(lambda message: self._hear(spare, message), lambda: self._gone(spare))
        with suppress(TimeoutError):
            await asyncio.wait_for(spare.changed.wait(), START_SECONDS)
        if spare.is_ready:  # and perhaps given away by now
            log.info("a spare is ready", runtime=RUNTIME)
        else:
            spare.child.kill()
            # Not again until somebody wants one again: what is broken here is seldom mended by itself.
            self._wanted_until = 0.0

    def _hear(self, spare: Spare, message: Message) -> None:
        if message == ("ready",):
            spare.is_ready = True
            spare.changed.set()

    def _gone(self, spare: Spare) -> None:
        """It ended before somebody had it."""
        self._spares.remove(spare)
        if not spare.is_ended:
            log.warning("a spare is gone", runtime=RUNTIME, exit_code=spare.child.exit_code)
            self._not_before = time.monotonic() + AGAIN_SECONDS
        spare.changed.set()
        self._news.set()
        task = asyncio.ensure_future(asyncio.to_thread(remove, spare.child.folder))
        self._removing.add(task)
        task.add_done_callback(self._removing.discard)

    async def _end(self, spares: list[Spare]) -> None:
        ending = list(spares)
        for spare in ending:
            spare.is_ended = True
            spare.child.kill()
        with suppress(TimeoutError):
            async with asyncio.timeout(END_SECONDS):
                while any(spare in self._spares for spare in ending):
                    await asyncio.sleep(0.02)
                await asyncio.gather(*self._removing)
