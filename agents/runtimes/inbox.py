"""What people say to one agent while it works, until it takes it."""

import asyncio
from collections.abc import Callable, Collection, Sequence
from uuid import UUID

from agents.contracts.link import Steer


class Inbox:
    """Words may be put in as often as they come; each is given once. Belongs to one event loop."""

    def __init__(self, on_taken: Callable[[UUID], None] = lambda steer: None) -> None:
        """`on_taken` is told which words the agent has."""
        self._on_taken = on_taken
        self._seen: set[UUID] = set()
        self._words: list[Steer] = []
        self._answers: dict[UUID, Steer] = {}
        self._news = asyncio.Event()
        self._interruption = asyncio.Event()

    def put(self, steer: Steer) -> None:
        """Somebody said something."""
        if steer.id in self._seen:
            return
        self._seen.add(steer.id)
        if steer.kind == "answer" and steer.question is not None:
            self._answers[steer.question] = steer
        else:
            self._words.append(steer)
        if steer.kind == "interrupt":
            self._interruption.set()
        self._news.set()

    def take(self) -> list[Steer]:
        """All that is new, in order, but answers: these are for who asked."""
        words, self._words = self._words, []
        self._interruption.clear()
        for steer in words:
            self._on_taken(steer.id)
        return words

    async def interrupted(self) -> None:
        """Returns when somebody wants the agent to stop what it does."""
        await self._interruption.wait()

    def has(self, kinds: Collection[str]) -> bool:
        """Whether a word of these kinds waits to be taken."""
        return any(steer.kind in kinds for steer in self._words)

    async def waiting(self) -> None:
        """Returns when there is something to take."""
        while not self._words:
            await self._next()

    async def news(self, seconds: float) -> list[Steer]:
        """`take`, but waits for something, so many seconds at most."""
        try:
            async with asyncio.timeout(seconds):
                await self.waiting()
        except TimeoutError:
            return []
        return self.take()

    async def answer(self, question: UUID) -> Steer:
        """Waits for the answer to a question, for ever."""
        while question not in self._answers:
            await self._next()
        steer = self._answers.pop(question)
        self._on_taken(steer.id)
        return steer

    async def _next(self) -> None:
        self._news.clear()
        await self._news.wait()


def as_heard(words: Sequence[Steer]) -> str:
    """What people said, as the agent is told."""
    return "\n\n".join(
        f"{steer.by}, of the people whom you work for, says: {steer.text}" for steer in words if steer.text
    )
