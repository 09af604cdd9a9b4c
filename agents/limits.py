"""Limits of the calls of a dependency: as many at once as it bears, and few repeats."""

import asyncio
import random
import time

from prometheus_client import Counter, Gauge

from agents.pacing import LEASE_MS, PACE_LUA, Pace, Purse, Slots
from agents.shared import Script, Shared

LIMIT = Gauge("waggle_limit_calls", "How many calls at once a provider gets now with one key.", ["limit"])
TURNED_AWAY = Counter("waggle_limit_refused_total", "Calls that found no slot, or no budget for a retry.", ["why"])
_PACE = Script(PACE_LUA)
_paces: dict[str, Pace] = {}
_purses: dict[str, Purse] = {}


class Busy(Exception):
    """No slot became free in time, or too many calls are repeats already."""

    def __init__(self, name: str, why: str, wait: float) -> None:
        super().__init__(f"{name}: {why}")
        self.wait = wait
        """Seconds after which it is worth another try."""


class Limit:
    """How many calls of one dependency with one credential run at once, fitted to what it bears, and how many of them
    may be repeats: at most a tenth, so that they cannot drown what is already struggling. Shared by all processes."""

    def __init__(self, name: str, shared: Shared) -> None:
        self.name = name
        self._shared = shared

    @property
    def keys(self) -> list[str]:
        """Where Redis keeps it: the limit, its slots, its purse."""
        return keys(self.name)

    @property
    def pace(self) -> Pace:
        """Its slots in this process, for while Redis is away."""
        return _paces.setdefault(self.name, Pace())

    @property
    def purse(self) -> Purse:
        """Its purse in this process, for while Redis is away."""
        return _purses.setdefault(self.name, Purse())

    async def renew(self, call: str) -> None:
        """Keeps the slot of this call, until it is cancelled."""
        while True:
            await asyncio.sleep(LEASE_MS / 3000)
            answer = await self._shared.run(_PACE, self.keys[:2], ["renew", call, "", 0, 0])
            self.noted(Slots.told(answer) if answer else self.pace.renew(int(time.time() * 1000), call))

    def noted(self, found: Slots) -> None:
        """It was asked or told."""
        LIMIT.labels(self.name).set(found.limit // 10)

    def full(self, found: Slots, waited: float) -> Busy:
        """A call found no slot for so many seconds."""
        TURNED_AWAY.labels("slots").inc()
        return Busy(self.name, f"{found.taken} calls are under way, and it bears no more now", 1 + waited)

    def spent(self) -> Busy:
        """A repeat was one too many."""
        TURNED_AWAY.labels("retries").inc()
        return Busy(self.name, "too many of its calls are repeats already", random.uniform(4, 8))


def keys(name: str) -> list[str]:
    """Where Redis keeps the limit of this name, its slots and its purse."""
    return [f"waggle:limit:{{{name}}}", f"waggle:limit:{{{name}}}:slots", f"waggle:retries:{{{name}}}"]
