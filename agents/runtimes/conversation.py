"""A built-in agent's talk with its model: driven step by step, asked again when it breaks off, open to people."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import structlog
from pydantic_ai import Agent, UsageLimits
from pydantic_ai.exceptions import ModelConnectionError, ModelHTTPError, RunCancelled
from pydantic_ai.messages import (
    AgentStreamEvent,
    ModelMessage,
    ModelRequest,
    PartEndEvent,
    TextPart,
    ThinkingPart,
    ToolCallPart,
    ToolReturnPart,
    UserPromptPart,
)
from pydantic_ai.models import Model
from pydantic_ai.run import AgentRun
from pydantic_ai.usage import RunUsage

from agents.runtimes.asking import after_interrupt
from agents.runtimes.compaction import Compaction, is_too_long, size
from agents.runtimes.inbox import Inbox, as_heard
from agents.runtimes.recording import Transcript
from agents.runtimes.tools import Desk
from agents.runtimes.watch import Watch
from sessions import storable

log = structlog.get_logger(__name__)

RECONNECTS = 5
SHORTENED = "The model's window is nearly full ({} of {} tokens): all but the last steps is summed up."

CUT_DOWN = "The model's window is nearly full ({} of {} tokens): long results of the only step are cut down."


class _Full(Exception):
    """The next request would leave too little room in the model's window."""

    def __init__(self, messages: list[ModelMessage]) -> None:
        super().__init__()
        self.messages = messages


@dataclass
class Conversation:
    """One agent, one model, one assignment."""

    agent: Agent[Desk, Any]
    model: Model
    desk: Desk
    instructions: str
    briefing: str
    transcript: Transcript
    watch: Watch
    inbox: Inbox
    compaction: Compaction
    model_calls: int
    """The most that it may make."""

    _is_fresh: bool = False
    """It was made short, and no request has gone through since."""
    _ids: set[str] = field(default_factory=set)
    """Of all calls of tools so far. Some providers count anew in each answer, or call all of an answer's the same."""
    _answered: dict[int, str] = field(default_factory=dict)
    """Ids of the calls in the last answer, by their place in it."""

    async def run(self) -> None:
        """Until the agent has delivered. A stream that breaks off is asked for again from the last request."""
        history: list[ModelMessage] = []
        prompt: str | None = self.briefing
        usage = RunUsage()
        breaks = 0
        is_full = False
        while True:
            try:
                if is_full:
                    history = await self._shortened(history, usage)
                    self._is_fresh = True
                async with self._begin(prompt, history, usage) as agent_run:
                    try:
                        await self._follow(agent_run, check=not is_full)
                        return
                    except ModelHTTPError as error:
                        history = _to_last_request(agent_run.all_messages())
                        if self._is_fresh or not is_too_long(error):
                            raise
                        self.compaction.learn(history)
                        if not self.compaction.helps(history):
                            raise
                        raise _Full(history) from error
                    except ModelConnectionError as error:
                        history = _to_last_request(agent_run.all_messages())
                        breaks += 1
                        if breaks > RECONNECTS or not history:
                            raise
                        self._broke_off(error)
                        prompt = None
                is_full = False
            except _Full as full:
                history, prompt, is_full = full.messages, None, True
            except RunCancelled as stopped:
                history, is_full = stopped.all_messages(), False
                heard = await after_interrupt(self.transcript, self.inbox)
                prompt = heard if history else f"{self.briefing}\n\n{heard}"

    @asynccontextmanager
    async def _begin(
        self, prompt: str | None, history: list[ModelMessage], usage: RunUsage
    ) -> AsyncIterator[AgentRun[Desk, Any]]:
        """A run, which is cancelled when somebody interrupts."""
        async with self.agent.iter(
            prompt,
            message_history=history or None,
            model=self.model,
            instructions=self.instructions,
            deps=self.desk,
            usage=usage,
            usage_limits=UsageLimits(request_limit=self.model_calls),
        ) as agent_run:
            stopping = asyncio.create_task(self._cancel(agent_run))
            try:
                yield agent_run
            finally:
                stopping.cancel()
                with suppress(asyncio.CancelledError):
                    await stopping

    async def _cancel(self, agent_run: AgentRun[Desk, Any]) -> None:
        await self.inbox.interrupted()
        agent_run.cancel()

    async def _follow(self, agent_run: AgentRun[Desk, Any], *, check: bool) -> None:
        """Drives a run and records each event as it streams. Raises _Full; of the first request only with `check`."""
        transcript = self.transcript
        async for node in agent_run:
            if Agent.is_model_request_node(node):
                messages = [*agent_run.all_messages(), node.request]
                if check and self.compaction.is_due(messages):
                    raise _Full(messages)
                check = True
                self._tell_news(agent_run)
                _make_sendable(node.request)
                transcript.begin_answer()
                self._answered.clear()
                async with node.stream(agent_run.ctx) as answer:
                    async for event in answer:
                        self._tell_apart(event)
                        transcript.take(event, answer.response.model_name or "")
                self._is_fresh = False
                transcript.end_answer(answer.response)
            elif Agent.is_call_tools_node(node):
                _make_sendable(node.model_response)
                for index, own in self._answered.items():
                    if isinstance(part := node.model_response.parts[index], ToolCallPart):
                        part.tool_call_id = own
                async with node.stream(agent_run.ctx) as events:
                    async for event in events:
                        transcript.take(event, node.model_response.model_name or "")

    def _tell_apart(self, event: AgentStreamEvent) -> None:
        """Gives a call an id of its own where another one has had it: results are matched by it."""
        if isinstance(event, PartEndEvent) and isinstance(event.part, ToolCallPart):
            if event.part.tool_call_id in self._ids:
                event.part.tool_call_id = f"call_{uuid4().hex[:24]}"
            self._ids.add(event.part.tool_call_id)
            self._answered[event.index] = event.part.tool_call_id

    def _tell_news(self, agent_run: AgentRun[Desk, Any]) -> None:
        """What the agent must know before it goes on. What people say is in its transcript already."""
        for_agent, for_people = self.watch.before_call()
        if for_people:
            self.transcript.note("step", text=for_people)
        if for_agent:
            self.transcript.say("user", for_agent)
            agent_run.enqueue(for_agent)
        if heard := as_heard(self.inbox.take()):
            agent_run.enqueue(heard)

    async def _shortened(self, messages: list[ModelMessage], usage: RunUsage) -> list[ModelMessage]:
        """The talk with a summary, by the model, in the place of all but its last steps."""
        transcript = self.transcript
        transcript.begin_answer()
        rest = self.compaction.rest(messages)
        if len(rest) < 2:
            transcript.note("step", text=CUT_DOWN.format(size(messages), self.compaction.window))
            return self.compaction.shortened(messages, self.briefing, "")
        transcript.note("step", text=SHORTENED.format(size(messages), self.compaction.window))
        transcript.doing("summing up what it did so far")
        breaks = 0
        while True:
            try:
                answer = await self.compaction.summary(self.model, rest)
                break
            except ModelConnectionError as error:
                breaks += 1
                if breaks > RECONNECTS:
                    raise
                self._broke_off(error)
        usage.requests += 1
        usage.incr(answer.usage)
        _make_sendable(answer)
        summary = answer.text or "(The model gave no summary.)"
        transcript.note("text", text=summary)
        transcript.end_answer(answer)
        return self.compaction.shortened(messages, self.briefing, summary, self.desk.plan.shown())

    def _broke_off(self, error: ModelConnectionError) -> None:
        log.warning("the model's answer broke off", error=str(error))
        why = "The connection to the model broke off; it is asked again."
        self.transcript.settle(why=why)
        self.transcript.note("error", state="failed", text=why)


def _make_sendable(message: ModelMessage) -> None:
    """Takes out what UTF-8 cannot say: it would make each later request of the talk impossible."""
    for part in message.parts:
        if isinstance(part, ToolCallPart):
            part.args = storable.text(part.args) if isinstance(part.args, str) else part.args
        elif isinstance(part, TextPart | ThinkingPart | ToolReturnPart | UserPromptPart):
            part.content = storable.text(part.content) if isinstance(part.content, str) else part.content


def _to_last_request(messages: list[ModelMessage]) -> list[ModelMessage]:
    history = list(messages)
    while history and not isinstance(history[-1], ModelRequest):
        history.pop()
    return history
