"""One attempt's talk with an agent of OpenCode's, over as many servers as it takes."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from pydantic import ValidationError

from agents.contracts import Assignment, FailureReason, Outcome
from agents.contracts.link import Steer
from agents.opencode.shapes import mapping, words
from agents.runner.reports import Faults
from agents.runtimes.answers import Answer, wanted
from agents.runtimes.context import Context
from agents.runtimes.delivery import LAST_WORDS, ROUNDS, Delivery, NotKept
from agents.runtimes.inbox import as_heard
from agents.runtimes.opencode.asking import Requests
from agents.runtimes.opencode.client import Client, Json, is_whole
from agents.runtimes.opencode.configuration import AGENT
from agents.runtimes.opencode.faults import Failed, bear, failed
from agents.runtimes.opencode.following import AGAIN, Answering, follow
from agents.runtimes.opencode.ids import new_id
from agents.runtimes.opencode.mirror import Mirror
from agents.runtimes.opencode.turns import STOPS, Turns
from agents.runtimes.opencode.wording import BREAKS, FINISH, GO_ON, NOT_FINISHED, instructed, named
from agents.runtimes.policy import Policy
from agents.runtimes.recording import Transcript, listed
from agents.runtimes.restarts import Lost
from agents.runtimes.watch import Watch

LATE_SECONDS = 0.3
"""What belongs to a turn may be written a moment after its end."""
LATE_LOOKS = 5


class Conversation:
    """One agent, one session, one assignment."""

    def __init__(self, assignment: Assignment, context: Context, transcript: Transcript, delivery: Delivery) -> None:
        self._assignment = assignment
        self._context = context
        self._inbox = context.told.inbox
        self._transcript = transcript
        self._delivery = delivery
        self._watch = Watch(context.told)
        self._turns = Turns(delivery.workspace, transcript)
        self._answer_type = wanted(assignment)
        self._session = ""
        self._mirror: Mirror | None = None
        self._prompt: tuple[str, str, str] | None = None
        """Ids of message and part, and the text, of the prompt that the agent works on; None: it does not work."""
        self._owed = assignment.briefing
        """What it is told next, where it does not work."""
        self._calls = 0
        self._rounds = 0
        self._last_words = 0
        self._error: Json = {}
        self.last_answer = ""

    def settle(self, why: str) -> None:
        """Closes what is open in the transcript."""
        if self._mirror is not None:
            self._context.reports.record(*self._mirror.settle(why))

    async def go_on(self, running: Answering) -> Outcome:
        """From where it stands to the agent's outcome. Raises Failed, NoChanges, Rejected; Lost with the server."""
        client = running.client
        resumes = bool(self._session)
        if not resumes:
            about = {"execution": str(self._assignment.execution), "attempt": self._assignment.attempt}
            self._session = await client.create(self._assignment.title, about)
            self._mirror = Mirror(self._assignment.execution, self._session)
        async with self._following(running) as (events, requests):
            try:
                if resumes:
                    await self._resume(client)
                else:
                    await self._begin(client, self._owed)
                return await self._work(client, events, requests)
            finally:
                await client.stop(self._session)

    @asynccontextmanager
    async def _following(self, running: Answering) -> AsyncIterator[tuple["asyncio.Queue[Json | Lost]", Requests]]:
        """The events of a server, once its stream has begun, and the requests of its agent to people."""
        events: asyncio.Queue[Json | Lost] = asyncio.Queue()
        refusal = Policy(self._context.reports, self._transcript).refusal
        requests = Requests(running.client, self._transcript, self._inbox, refusal)
        following = asyncio.create_task(follow(running, events))
        try:
            first = await events.get()
            if isinstance(first, Lost):
                raise first
            yield events, requests
        finally:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)
            await requests.close()

    async def _work(self, client: Client, events: "asyncio.Queue[Json | Lost]", requests: Requests) -> Outcome:
        """Takes what comes, from the server and from people, until there is an outcome."""
        hearing = asyncio.create_task(self._inbox.waiting())
        coming: asyncio.Task[Json | Lost] = asyncio.create_task(events.get())
        try:
            while True:
                await asyncio.wait({hearing, coming}, return_when=asyncio.FIRST_COMPLETED)
                if coming.done():
                    event = coming.result()
                    coming = asyncio.create_task(events.get())
                    if isinstance(event, Lost):
                        raise event
                    if (outcome := await self._take(client, event, requests)) is not None:
                        return outcome
                if hearing.done():
                    # Only now are they taken: who delivers meanwhile hears none. Then anew: `_hear` may wait for words.
                    if said := self._inbox.take():
                        await self._hear(client, said, requests)
                    hearing = asyncio.create_task(self._inbox.waiting())
        finally:
            for task in (hearing, coming):
                task.cancel()
            await asyncio.gather(hearing, coming, return_exceptions=True)

    async def _take(self, client: Client, event: Json, requests: Requests) -> Outcome | None:
        """One event; an outcome when with it the agent has delivered."""
        assert self._mirror is not None
        about = mapping(event.get("properties"))
        match event.get("type"):
            case "permission.asked":
                requests.permission(about)
            case "question.asked":
                requests.question(about)
            case _ if event.get("type") == AGAIN:
                return await self._catch_up(client, requests)
            case "session.error" if about.get("sessionID") == self._session:
                self._error = mapping(about.get("error"))
            case "session.status" if about.get("sessionID") == self._session:
                bear(mapping(about.get("status")), self._transcript)
            case "session.idle" if about.get("sessionID") == self._session:
                return await self._turn_over(client, requests)
            case _:
                self._context.reports.record(*self._mirror.take(event))
                if self._mirror.calls > self._calls:
                    self._calls = self._mirror.calls
                    await self._step_over(client)
        return None

    async def _step_over(self, client: Client) -> None:
        """A model call is over: what the agent and others must know before the next. Raises Failed."""
        if self._calls >= (most := self._assignment.model_calls):
            message = f"The agent used all of its {most} model calls without finishing."
            raise Failed(FailureReason.AGENT_ERROR, message)
        for_agent, for_people = self._watch.before_call()
        if for_people:
            self._transcript.begin_answer()
            self._transcript.note("step", text=for_people)
        if for_agent:
            self._transcript.say("user", named(for_agent))
            await self._say(client, named(for_agent))

    # Prompts

    async def _begin(self, client: Client, text: str) -> None:
        """Says what begins a turn."""
        message = new_id("msg")
        await self._turns.begin(message, text)
        await self._say(client, text, message)

    async def _say(self, client: Client, text: str, message: str = "") -> None:
        self._prompt = (message or new_id("msg"), new_id("prt"), text)
        self._error = {}
        await self._send(client)

    async def _send(self, client: Client) -> None:
        """Sends the prompt; a second time it changes nothing."""
        assert self._prompt is not None
        assert self._assignment.model is not None
        message, part, text = self._prompt
        schema = {"type": "json_schema", "schema": self._answer_type.model_json_schema()}
        system = instructed(self._assignment.role)
        agent = AGENT if self._assignment.host else "build"
        await client.prompt(self._session, message, part, text, agent=agent, system=system, format=schema)

    async def _resume(self, client: Client) -> None:
        """A new server has the session, but nobody works on it. It goes on where the last one ended."""
        assert self._mirror is not None
        messages = await client.messages(self._session)
        self._context.reports.record(*self._mirror.catch_up(messages))
        self.settle("OpenCode's server died.")
        if self._prompt is None:
            await self._begin(client, self._owed)
        elif any(mapping(one.get("info")).get("id") == self._prompt[0] for one in messages):
            await self._say(client, GO_ON)
        else:
            await self._send(client)

    async def _catch_up(self, client: Client, requests: Requests) -> Outcome | None:
        """The stream of events was interrupted: what was missed is fetched."""
        assert self._mirror is not None
        self._context.reports.record(*self._mirror.catch_up(await client.messages(self._session)))
        for request in await client.permissions():
            requests.permission(request)
        for request in await client.questions():
            requests.question(request)
        if self._prompt is None or await client.is_busy(self._session):
            return None
        if self._assignment.host and not is_whole(await self._last(client) or {}):
            raise Lost("it was started anew")  # faster than we could see that it was gone
        return await self._turn_over(client, requests)

    async def _hear(self, client: Client, said: list[Steer], requests: Requests) -> None:
        """People said something: at once amid a turn, or after it was stopped because somebody wants that."""
        by = next((steer.by for steer in said if steer.kind in STOPS), "")
        if not by:
            await self._say(client, as_heard(said))
            return
        self._owed = as_heard(said) or GO_ON
        self._prompt = None  # the end of this turn is no end
        await client.abort(self._session)
        await requests.close()  # nobody waits for what they ask any more
        self.settle(f"Interrupted by {by}.")
        while await client.is_busy(self._session):
            await asyncio.sleep(0.05)
        self._owed = await self._turns.next(client, self._session, said, self._inbox)
        self._transcript.doing("thinking")
        await self._begin(client, self._owed)

    # The end of a turn

    async def _turn_over(self, client: Client, requests: Requests) -> Outcome | None:
        """The agent stopped: with an answer, which may be sent back to it, or without. Raises Failed or NoChanges."""
        assert self._mirror is not None
        if self._prompt is None or await client.is_busy(self._session):
            return None  # it was stopped on purpose, or goes on already
        info = await self._last(client)
        if info is None:
            return None  # what ended was the turn before
        error = mapping(info.get("error")) or self._error
        if error and error.get("name") not in ("StructuredOutputError", "MessageAbortedError"):
            raise failed(error)
        if (given := info.get("structured")) is None:
            await self._again(client, NOT_FINISHED, [f"`{FINISH}` was not called"])
            return None
        self.last_answer = words(given)
        try:
            answer: Answer = self._answer_type.model_validate(given)
        except ValidationError as wrong:
            found = [f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in wrong.errors()]
            await self._again(client, BREAKS.format(listed(found)), found)
            return None
        return await self._deliver(client, answer, requests)

    async def _last(self, client: Client) -> Json | None:
        """The last message of the agent, when that answers the prompt and is whole."""
        assert self._mirror is not None
        assert self._prompt is not None
        for _ in range(LATE_LOOKS):
            messages = await client.messages(self._session)
            self._context.reports.record(*self._mirror.catch_up(messages))
            infos = [mapping(one.get("info")) for one in messages]
            last = next((info for info in reversed(infos) if info.get("role") == "assistant"), {})
            if is_whole(last) and last.get("parentID", self._prompt[0]) == self._prompt[0]:
                return last
            if self._error:
                return {"error": self._error}
            await asyncio.sleep(LATE_SECONDS)
        return None if await client.is_busy(self._session) else last

    async def _deliver(self, client: Client, answer: Answer, requests: Requests) -> Outcome | None:
        if self._inbox.has(STOPS[1:]):
            await self._hear(client, self._inbox.take(), requests)
            return None
        if self._last_words < LAST_WORDS and (heard := as_heard(self._inbox.take())):
            self._last_words += 1
            await self._begin(client, f"Before you finish: {heard}")
            return None
        self._transcript.begin_answer()
        try:
            outcome = await self._delivery.outcome(answer)
            await self._context.reports.outcome(outcome)
        except NotKept as error:
            await self._again(client, str(error), [str(error)])
            return None
        except Faults as error:
            await self._again(client, BREAKS.format(listed(error.faults)), error.faults)
            return None
        return outcome

    async def _again(self, client: Client, text: str, faults: Sequence[str]) -> None:
        """Sends an answer back to the agent. Raises Failed when that was done often enough."""
        self._rounds += 1
        if self._rounds > ROUNDS:
            message = f"The agent's answer kept breaking its contract: {'; '.join(faults)}"
            raise Failed(FailureReason.INVALID_OUTPUT, message, self.last_answer)
        self._transcript.say("user", text)
        await self._begin(client, text)
