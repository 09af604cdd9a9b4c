"""What OpenCode wants to know: permissions, of the team's rules, and questions, of people."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import structlog

from agents.opencode.shapes import mapping, words
from agents.runtimes.asking import NO_ANSWER, ask_people
from agents.runtimes.inbox import Inbox
from agents.runtimes.opencode.client import Client, Json, Rejected
from agents.runtimes.policy import in_workspace
from agents.runtimes.recording import Transcript
from agents.runtimes.restarts import Lost

log = structlog.get_logger(__name__)

TOOLS = {
    "read": "read",
    "list": "list",
    "glob": "list",
    "grep": "search",
    "edit": "edit",
    "bash": "shell",
    "task": "delegate",
    "webfetch": "web",
    "websearch": "web",
    "codesearch": "web",
    "todoread": "todo",
    "todowrite": "todo",
    "question": "ask",
    "doom_loop": "stuck",
}
"""The tools as rules know them, by OpenCode's names of permissions; others keep their own."""
Refusal = Callable[..., Awaitable[str]]
"""Why a tool may not be used with these arguments; empty: it may. See agents.runtimes.policy."""


class Requests:
    """The requests of one server; each is put to the rules, or to people, once."""

    def __init__(self, client: Client, transcript: Transcript, inbox: Inbox, refusal: Refusal) -> None:
        self._client = client
        self._refusal = refusal
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
        key = words(request.get("id"))
        why = await self._refusal(*asked_of(request, self._client.directory), call=key)
        # Never its "always": the next call is asked about anew, since rules may be revoked.
        await self._tell(self._client.permit(key, "reject" if why else "once", why))

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


def _place(path: str, directory: str) -> str:
    """A path as rules see it. Outside a repository OpenCode names paths from the root, without a slash."""
    whole = path if path.startswith("/") else f"/{path}"
    found = in_workspace(whole, directory)
    return path if found == whole else found


def asked_of(request: Json, directory: str) -> tuple[str, dict[str, Any]]:
    """The tool and the arguments of a request, as rules know them; `directory` is the workspace."""
    tool = TOOLS.get(words(request.get("permission")), words(request.get("permission")))
    about = mapping(request.get("metadata"))
    patterns = [words(pattern) for pattern in request.get("patterns") or ()]
    if tool == "shell":
        return tool, {"command": words(about.get("command")) or patterns}
    if tool in ("read", "list", "search", "edit"):
        named = [words(about["filepath"])] if about.get("filepath") else []
        paths = list(dict.fromkeys(_place(path, directory) for path in (*named, *patterns)))
        diff = {"diff": words(about["diff"])} if about.get("diff") else {}
        return tool, {"path": paths[0] if len(paths) == 1 else paths} | diff
    return tool, about | ({"patterns": patterns} if patterns else {})
