"""What OpenCode wants to know from people: permissions and questions, as questions of the transcript."""

import asyncio
from collections.abc import Coroutine
from typing import Any

import structlog

from agents.opencode.shapes import mapping, words
from agents.runtimes.asking import NO_ANSWER, ask_people
from agents.runtimes.inbox import Inbox
from agents.runtimes.opencode.client import Client, Json, Rejected
from agents.runtimes.permission import seek
from agents.runtimes.recording import Transcript
from agents.runtimes.restarts import Lost

log = structlog.get_logger(__name__)

REPLIES = {"once": "once", "always": "always", "no": "reject"}
"""OpenCode's words by ours."""


class Requests:
    """The requests of one server that wait for people; each is put to them once."""

    def __init__(self, client: Client, transcript: Transcript, inbox: Inbox) -> None:
        self._client = client
        self._transcript = transcript
        self._inbox = inbox
        self._tasks: dict[str, asyncio.Task[None]] = {}

    async def close(self) -> None:
        """Nobody waits for answers any more."""
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    def permission(self, request: Json) -> None:
        """The agent wants to do something that it may not do by itself."""
        self._begin(words(request.get("id")), self._permit(request))

    def question(self, request: Json) -> None:
        """The agent asks."""
        self._begin(words(request.get("id")), self._answer(request))

    def _begin(self, key: str, work: Coroutine[Any, Any, None]) -> None:
        if not key or key in self._tasks:
            work.close()
            return
        self._tasks[key] = asyncio.create_task(work)

    async def _permit(self, request: Json) -> None:
        permit = await seek(self._transcript, self._inbox, words(request.get("permission")), subject(request))
        await self._tell(self._client.permit(words(request.get("id")), REPLIES[permit.verdict], permit.why))

    async def _answer(self, request: Json) -> None:
        answers = []
        for question in map(mapping, request.get("questions") or ()):
            options = [words(mapping(option).get("label")) for option in question.get("options") or ()]
            said = await self._ask(words(question.get("question")), options)
            answers.append([said or NO_ANSWER])
        await self._tell(self._client.answer(words(request.get("id")), answers))

    async def _ask(self, question: str, options: list[str]) -> str | None:
        self._transcript.begin_answer()
        answer = await ask_people(self._transcript, self._inbox, question, options)
        return answer.text if answer else None

    async def _tell(self, call: Coroutine[Any, Any, None]) -> None:
        try:
            await call
        except (Lost, Rejected) as error:
            # Its turn was stopped meanwhile, or the server died; then it asks anew.
            log.warning("an answer was not taken", because=str(error))


def subject(request: Json) -> str:
    """On what the agent wants to use a tool."""
    about = mapping(request.get("metadata"))
    patterns = [words(pattern) for pattern in request.get("patterns") or ()]
    return words(about.get("command") or about.get("filepath")) or ", ".join(patterns)
