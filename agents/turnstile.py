"""A model call at its gates (see `agents.gates`): they are asked once, told when it is answered, told when it is over.

All processes share them, in Redis; while Redis is away, a process has gates of its own.
"""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, TypeVar

from agents.breakers import Breaker
from agents.circuit import Told
from agents.gates import ASK_LUA, TELL_LUA, Found, Here, Word, found
from agents.limits import Limit
from agents.pacing import Went
from agents.shared import Script, Shared

PATIENCE_SECONDS = 2.0
"""So long a call waits for a slot."""
HEAD_SECONDS = 0.05
"""So long the gates may not hear of the head of an answer: what is over before is told in one go."""
JITTER = (800, 1200)
"""Thousandths of the pause of a breaker that opens."""
_ASK, _TELL = Script(ASK_LUA), Script(TELL_LUA)
_going_on: set[asyncio.Task[Any]] = set()
T = TypeVar("T")


class Turnstile:
    """The gates of one key at one endpoint. Its limit is the key's."""

    def __init__(self, key: Breaker, endpoint: Breaker, shared: Shared, patience: float = PATIENCE_SECONDS) -> None:
        self.key, self.endpoint = key, endpoint
        self.limit = Limit(key.name, shared)
        self._shared = shared
        self._patience = patience

    @asynccontextmanager
    async def call(self, name: str, *, repeat: bool = False) -> AsyncIterator["Trial"]:
        """One call, `name` being nobody else's; a slot is kept for it while the block lasts. Raises Refusing, Busy."""
        trial = Trial(self, name, await self._admitted(name, repeat))
        renewing = asyncio.create_task(self.limit.renew(name))
        try:
            yield trial
        finally:
            renewing.cancel()
            await trial.end()

    async def _admitted(self, name: str, repeat: bool) -> Found:
        deadline = time.monotonic() + self._patience
        while (asked := await self._ask(name, repeat)).no == "slot" and time.monotonic() < deadline:
            await asyncio.sleep(random.uniform(0.03, 0.12))
        if asked.no == "key" and asked.key:
            raise self.key.refusing(asked.key)
        if asked.no == "slot" and asked.slot:
            raise self.limit.full(asked.slot, self._patience)
        if asked.no == "repeats":
            raise self.limit.spent()
        if asked.no == "endpoint" and asked.endpoint:
            raise self.endpoint.refusing(asked.endpoint)
        return asked

    async def _ask(self, name: str, repeat: bool) -> Found:
        """Ask once. Who is cancelled meanwhile gives back what he may have got."""
        asking = _apart(self._asked(name, repeat))
        try:
            return await asyncio.shield(asking)
        except asyncio.CancelledError:
            _apart(self._give_back(name, asking))
            raise

    async def _asked(self, name: str, repeat: bool) -> Found:
        keys = [self.key.key, *self.limit.keys, self.endpoint.key]
        answer = await self._shared.run(_ASK, keys, [name, int(repeat), 0])
        return await self._noted(found(answer) if answer else self._here().ask(_now(), name, repeat=repeat))

    async def _give_back(self, name: str, asking: asyncio.Task[Found]) -> None:
        if not (asked := await asking).no:
            await Trial(self, name, asked).end()

    async def tell(self, name: str, word: Word) -> None:
        """How this call goes."""
        word = replace(word, key_jitter=random.randint(*JITTER), endpoint_jitter=random.randint(*JITTER))
        limit, slots, _ = self.limit.keys
        keys = [self.key.key, limit, slots, self.endpoint.key]
        answer = await self._shared.run(_TELL, keys, [name, 0, *word.arguments])
        await self._noted(found(answer) if answer else self._here().tell(_now(), name, word))

    def _here(self) -> Here:
        return Here(self.key.twin, self.limit.pace, self.limit.purse, self.endpoint.twin)

    async def _noted(self, now: Found) -> Found:
        if now.slot:
            self.limit.noted(now.slot)
        for breaker, state in ((self.key, now.key), (self.endpoint, now.endpoint)):
            if state:
                await breaker.noted(state)
        return now


class Trial:
    """A call that its gates let through; whoever makes it says how it goes."""

    def __init__(self, gates: Turnstile, name: str, asked: Found) -> None:
        self._gates, self._name = gates, name
        self._last = Word(went=Went.NEITHER, began=asked.slot.now if asked.slot else 0)
        self._probes = asked.probes
        self._head = Word()
        self._timer: asyncio.TimerHandle | None = None
        self._begun: asyncio.Task[None] | None = None
        self._ending: asyncio.Task[None] | None = None

    def answered(self, word: Word, went: Went) -> None:
        """The head of an answer is here: `word` judges key and endpoint. The answer does not wait for the gates."""
        self._last, self._probes, self._head = replace(self._last, went=went), Word(), word
        self._timer = asyncio.get_running_loop().call_later(HEAD_SECONDS, self._tell_head)

    def _tell_head(self) -> None:
        head, self._head = self._head, Word()
        self._begun = _apart(self._gates.tell(self._name, head))

    def broke(self, why: str, *, too_much: bool) -> None:
        """There is no answer, or no end of it; `too_much`: it did not come in time."""
        went = Went.OVER if too_much else self._last.went
        self._last = replace(self._last, went=went, endpoint=Told.FAILED, endpoint_why=why)

    def over(self) -> None:
        """The call is over: begins to tell the gates."""
        if self._ending is None:
            self._ending = _apart(self._end())

    async def end(self) -> None:
        """Waits until the gates know that the call is over. They are told also when its caller is cancelled now."""
        self.over()
        if self._ending:
            await asyncio.shield(self._ending)

    async def _end(self) -> None:
        if self._timer:
            self._timer.cancel()
        if self._head.endpoint and self._last.endpoint:  # it began well and broke: two words about the endpoint
            self._tell_head()
        if self._begun:
            await self._begun
        # A probe of which nothing was ever said gives its place back.
        told = self._last if self._last.endpoint else self._head
        word = replace(
            self._head,
            key=self._head.key or self._probes.key,
            endpoint=told.endpoint or self._probes.endpoint,
            endpoint_why=told.endpoint_why,
            went=self._last.went,
            began=self._last.began,
        )
        await self._gates.tell(self._name, word)


def _apart(work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
    """Goes on whatever becomes of who waits for it."""
    task = asyncio.create_task(work)
    _going_on.add(task)
    task.add_done_callback(_going_on.discard)
    return task


def _now() -> int:
    return int(time.time() * 1000)
