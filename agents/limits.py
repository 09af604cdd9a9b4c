"""Limits of the calls of a dependency: as many at once as it bears, and few repeats."""

import asyncio
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from prometheus_client import Counter, Gauge

from agents.pacing import LEASE_MS, PACE_LUA, PURSE_LUA, Pace, Purse, Slots, Went
from agents.shared import Script, Shared

LIMIT = Gauge("waggle_limit_calls", "How many calls at once a provider gets now with one key.", ["limit"])
TURNED_AWAY = Counter("waggle_limit_refused_total", "Calls that found no slot, or no budget for a retry.", ["why"])
PATIENCE_SECONDS = 2.0
"""So long a call waits for a slot."""
_PACE, _PURSE = Script(PACE_LUA), Script(PURSE_LUA)
_paces: dict[str, Pace] = {}
_purses: dict[str, Purse] = {}


class Busy(Exception):
    """No slot became free in time, or too many calls are repeats already."""

    def __init__(self, name: str, why: str, wait: float) -> None:
        super().__init__(f"{name}: {why}")
        self.wait = wait
        """Seconds after which it is worth another try."""


class Limit:
    """How many calls of one dependency with one credential run at once: shared, and fitted to what it bears."""

    def __init__(self, name: str, shared: Shared, patience: float = PATIENCE_SECONDS) -> None:
        self.name = name
        self._shared = shared
        self._patience = patience

    @asynccontextmanager
    async def slot(self, call: str) -> AsyncIterator["Held"]:
        """A slot for this call (execution and call id), kept while the block lasts. Raises Busy."""
        taken = await self._wait_for(call)
        held = Held(began=taken.now)
        renewing = asyncio.create_task(self._renew(call))
        try:
            yield held
        finally:
            renewing.cancel()
            await self._step("give", call, held.went, held.began)

    async def _wait_for(self, call: str) -> Slots:
        deadline = time.monotonic() + self._patience
        while not (found := await self._step("take", call)).granted:
            if time.monotonic() >= deadline:
                TURNED_AWAY.labels("slots").inc()
                raise Busy(
                    self.name, f"{found.taken} calls are under way, and it bears no more now", 1 + self._patience
                )
            await asyncio.sleep(random.uniform(0.03, 0.12))
        return found

    async def _renew(self, call: str) -> None:
        while True:
            await asyncio.sleep(LEASE_MS / 3000)
            await self._step("renew", call)

    async def _step(self, action: str, call: str, went: Went = Went.NEITHER, began: int = 0) -> Slots:
        answer = await self._shared.run(_PACE, keys(self.name), [action, call, went, began, 0])
        if answer:
            granted, taken, limit, now = answer
            found = Slots(bool(granted), taken, limit, now)
        else:
            found = here(_paces.setdefault(self.name, Pace()), action, call, went, began, _now())
        LIMIT.labels(self.name).set(found.limit // 10)
        return found


@dataclass
class Held:
    """A slot; whoever has it says how the call went."""

    began: int
    went: Went = Went.NEITHER


class RetryBudget:
    """Repeats are at most a tenth of a dependency's calls, so that they cannot drown what is already struggling."""

    def __init__(self, name: str, shared: Shared) -> None:
        self.name = name
        self._shared = shared

    async def pay(self, *, repeat: bool) -> None:
        """Every call passes here. Raises Busy for a repeat too many."""
        answer = await self._shared.run(_PURSE, [f"waggle:retries:{{{self.name}}}"], [int(repeat), 0])
        may = bool(answer[0]) if answer else _purses.setdefault(self.name, Purse()).pay(_now(), repeat=repeat)
        if not may:
            TURNED_AWAY.labels("retries").inc()
            raise Busy(self.name, "too many of its calls are repeats already", random.uniform(4, 8))


def keys(name: str) -> list[str]:
    """Where Redis keeps a limit and its slots."""
    return [f"waggle:limit:{{{name}}}", f"waggle:limit:{{{name}}}:slots"]


def here(pace: Pace, action: str, call: str, went: Went, began: int, now: int) -> Slots:
    """What PACE_LUA does, on a limit of this process."""
    if action == "take":
        return pace.take(now, call)
    return pace.renew(now, call) if action == "renew" else pace.give_back(now, call, went, began)


def _now() -> int:
    return int(time.time() * 1000)
