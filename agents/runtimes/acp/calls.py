"""The model calls of an agent, as they pass the proxy: nothing in its protocol tells of them."""

import asyncio
from collections.abc import Callable

from agents.contracts import FailureReason
from agents.runtimes.acp.wording import named
from agents.runtimes.context import Told
from agents.runtimes.gateway import reason_of_status
from agents.runtimes.opencode.configuration import MODEL_PATH
from agents.runtimes.opencode.faults import Failed
from agents.runtimes.watch import Watch


class ModelCalls:
    """Counts them, watches the money, and remembers how the last one was refused."""

    def __init__(self, told: Told, most: int, tell: Callable[[str], object]) -> None:
        """There may be so many; `tell` takes what those must know who look on."""
        self._most = most
        self._tell = tell
        self._watch = Watch(told)
        self._count = 0
        self._warning = ""
        self._is_warned = asyncio.Event()
        self._refused: tuple[int, str] | None = None

    def heard(self, path: str, status: int, body: bytes) -> None:
        """The control plane answered something to the agent."""
        if not path.startswith(MODEL_PATH):
            return
        if status >= 400:
            self._refused = (status, body.decode("utf-8", "replace"))
            return
        self._refused = None
        self._count += 1
        for_agent, for_people = self._watch.before_call()
        if for_people:
            self._tell(for_people)
        if for_agent:
            self._warning = named(for_agent)
            self._is_warned.set()
        elif self._count == self._most:
            self._is_warned.set()

    async def warning(self) -> str:
        """Waits until the agent must be told something about its calls, and gives that. Raises Failed when it has
        used all of them."""
        await self._is_warned.wait()
        self._is_warned.clear()
        if self._count >= self._most:
            message = f"The agent used all of its {self._most} model calls without finishing."
            raise Failed(FailureReason.AGENT_ERROR, message)
        return self._warning

    def refusal(self) -> Failed | None:
        """Why the last call brought nothing, when it did not."""
        if self._refused is None:
            return None
        status, body = self._refused
        message = f"The model's provider answered HTTP {status}: {body[:500] or 'no explanation'}"
        return Failed(reason_of_status(status, body), message, body)
