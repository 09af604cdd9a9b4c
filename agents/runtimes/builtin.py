"""The built-in runtime: an agent of ours, on any OpenAI-compatible model, with tools in the workspace."""

import json
from dataclasses import dataclass
from typing import Any, Literal

import structlog
from openai import AsyncOpenAI
from pydantic import BaseModel, Field
from pydantic_ai import Agent, ModelRetry, RunContext, Tool, UsageLimits
from pydantic_ai.exceptions import (
    ModelAPIError,
    ModelConnectionError,
    ModelHTTPError,
    UnexpectedModelBehavior,
    UsageLimitExceeded,
)
from pydantic_ai.messages import ModelMessage, ModelRequest
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider
from pydantic_ai.run import AgentRun
from pydantic_ai.usage import RunUsage

from agents.contracts import (
    Assignment,
    FailureOutcome,
    FailureReason,
    Finding,
    Outcome,
    PlanOutcome,
    PlanProposal,
    ReviewOutcome,
    WorkOutcome,
)
from agents.runner.reports import Faults
from agents.runner.workspace import Workspace
from agents.runtimes.context import Context
from agents.runtimes.prompts import instructions
from agents.runtimes.recording import Transcript, listed
from agents.runtimes.tools import READING, WRITING, Desk, Function, run_command
from agents.runtimes.watch import Watch
from tenants.faults import crash_point

log = structlog.get_logger(__name__)

MODEL_CALLS = 60
ROUNDS = 3
"""How often an answer that breaks its contract goes back to the agent."""
RECONNECTS = 5
HTTP_RETRIES = 8
_AWAY = frozenset({429, 502, 503, 504, 529})
FINAL = "final_result"


class Summary(BaseModel):
    """What was done."""

    summary: str = Field(min_length=1, description="One to three sentences.")


class Review(BaseModel):
    """The judgement of a reviewer."""

    verdict: Literal["approve", "request_changes"]
    summary: str = Field(min_length=1)
    findings: list[Finding] = []


Answer = PlanProposal | Summary | Review


class NoChanges(Exception):
    """The agent says that it is done, and its work tree is as it was."""


@dataclass
class Run:
    """One agent at work on one assignment."""

    assignment: Assignment
    context: Context
    workspace: Workspace
    transcript: Transcript
    watch: Watch
    last_answer: str = ""
    faults: tuple[str, ...] = ()
    outcome: Outcome | None = None

    async def deliver(self, answer: Answer) -> None:
        """Reports the agent's answer. Raises ModelRetry with the faults that the control plane found."""
        self.last_answer = answer.model_dump_json(indent=1)
        outcome = await self._outcome(answer)
        self.transcript.settle(FINAL, why="Not run: the agent had finished.")
        try:
            await self.context.reports.outcome(outcome)
        except Faults as error:
            self.faults = tuple(error.faults)
            raise ModelRetry(f"This breaks the contract:\n{listed(error.faults)}\nMend all of it.") from error
        self.outcome = outcome

    async def _outcome(self, answer: Answer) -> Outcome:
        if isinstance(answer, PlanProposal):
            return PlanOutcome(plan=answer)
        if isinstance(answer, Review):
            return ReviewOutcome(verdict=answer.verdict, summary=answer.summary, findings=tuple(answer.findings))
        self.transcript.doing("committing and pushing its changes")
        change = await self.workspace.commit_all(f"{self.assignment.title}\n\n{answer.summary}\n")
        if change is None and not self.assignment.writes and self.assignment.repository:
            # Its part lies outside the repository: what it leaves is the commit that it started from.
            return WorkOutcome(commit=self.assignment.repository.commit, summary=answer.summary)
        if change is None:
            raise NoChanges
        crash_point("runner.unpushed")
        await self.workspace.push()
        crash_point("runner.pushed")
        self.transcript.note("patch", text=change.diff)
        return WorkOutcome(commit=change.commit, summary=answer.summary, files=change.files)


async def run(assignment: Assignment, context: Context) -> Outcome:
    """Lets an agent of the assignment's role work until it delivers or fails."""
    if assignment.model is None:
        return FailureOutcome(reason=FailureReason.MODEL_ERROR, message="The assignment names no model.")
    transcript = Transcript(context.reports)
    transcript.doing("preparing its workspace")
    workspace = await context.workspace(assignment)
    transcript.say("system", instructions(assignment.role))
    transcript.say("user", assignment.briefing)
    transcript.doing("thinking")
    work = Run(assignment, context, workspace, transcript, Watch(context.told))
    desk = Desk(workspace.work, context.confined(assignment, workspace), work.deliver)
    access = assignment.model
    client = AsyncOpenAI(base_url=access.base_url, api_key=assignment.token, max_retries=HTTP_RETRIES)
    model = OpenAIChatModel(access.name, provider=OpenAIProvider(openai_client=client))
    try:
        async with client:
            await _converse(AGENTS[assignment.kind], model, desk, work)
    except (ModelAPIError, UnexpectedModelBehavior, UsageLimitExceeded, NoChanges) as error:
        return _failure(error, work)
    assert work.outcome is not None
    return work.outcome


async def _converse(agent: Agent[Desk, Any], model: OpenAIChatModel, desk: Desk, work: Run) -> None:
    """Runs the agent to its end; a stream that breaks off is asked for again from the last request."""
    history: list[ModelMessage] = []
    usage = RunUsage()
    for attempt in range(RECONNECTS + 1):
        async with agent.iter(
            None if history else work.assignment.briefing,
            message_history=history or None,
            model=model,
            instructions=instructions(work.assignment.role),
            deps=desk,
            usage=usage,
            usage_limits=UsageLimits(request_limit=MODEL_CALLS),
        ) as agent_run:
            try:
                await _follow(agent_run, work)
                return
            except ModelConnectionError as error:
                history = agent_run.all_messages()
                while history and not isinstance(history[-1], ModelRequest):
                    history.pop()
                if attempt == RECONNECTS or not history:
                    raise
                log.warning("the model's answer broke off", error=str(error))
                why = "The connection to the model broke off; it is asked again."
                work.transcript.settle(why=why)
                work.transcript.note("error", state="failed", text=why)


async def _follow(agent_run: AgentRun[Desk, Any], work: Run) -> None:
    """Drives a run and records each event as it streams."""
    transcript = work.transcript
    async for node in agent_run:
        if Agent.is_model_request_node(node):
            for_agent, for_people = work.watch.before_call()
            if for_people:
                transcript.note("step", text=for_people)
            if for_agent:
                transcript.say("user", for_agent)
                agent_run.enqueue(for_agent)
            transcript.begin_answer()
            async with node.stream(agent_run.ctx) as answer:
                async for event in answer:
                    transcript.take(event, answer.response.model_name or "")
            transcript.end_answer(answer.response)
        elif Agent.is_call_tools_node(node):
            async with node.stream(agent_run.ctx) as events:
                async for event in events:
                    transcript.take(event, node.model_response.model_name or "")


def _agent(answer: type[Answer], *functions: Function) -> Agent[Desk, Any]:
    """An agent that ends with an answer of a type; what it is told comes with each run."""
    agent: Agent[Desk, Any] = Agent(
        output_type=answer,
        deps_type=Desk,
        name=answer.__name__,
        tools=[Tool(function, docstring_format="google") for function in functions],
        retries={"tools": 5, "output": ROUNDS},
    )

    @agent.output_validator
    async def deliver(ctx: RunContext[Desk], answer: Any) -> Any:
        async with ctx.deps.one_at_a_time:
            await ctx.deps.deliver(answer)
        return answer

    return agent


AGENTS: dict[str, Agent[Desk, Any]] = {
    "plan": _agent(PlanProposal, *READING),
    "work": _agent(Summary, *READING, *WRITING, run_command),
    "review": _agent(Review, *READING, run_command),
}
"""Built once: children are forked with them."""


def reason_of(error: ModelHTTPError) -> FailureReason:
    """What an answer of the gateway means: its own no for want of money, a provider that is away, or the provider."""
    if error.status_code == 402 and "budget_exhausted" in str(error.body):
        return FailureReason.BUDGET_EXCEEDED
    # After all retries. It says nothing about the work.
    return FailureReason.PROVIDER_UNAVAILABLE if error.status_code in _AWAY else FailureReason.MODEL_ERROR


def _failure(error: Exception, work: Run) -> FailureOutcome:
    """What an agent's failure is called, with what a person needs to understand it."""
    match error:
        case NoChanges():
            message = "The agent said that it is done, but changed nothing."
            failure = FailureOutcome(reason=FailureReason.NO_CHANGES, message=message, detail=work.last_answer)
        case ModelHTTPError():
            message = f"The model's provider answered HTTP {error.status_code}: {_provider_says(error.body)}"
            reason = reason_of(error)
            failure = FailureOutcome(reason=reason, message=message, detail=str(error.body or ""))
        case ModelAPIError():
            message = f"The model could not be reached: {error.message}"
            failure = FailureOutcome(reason=FailureReason.MODEL_ERROR, message=message)
        case UsageLimitExceeded():
            message = f"The agent used all of its {MODEL_CALLS} model calls without finishing."
            failure = FailureOutcome(reason=FailureReason.AGENT_ERROR, message=message, detail=str(error))
        case _:
            message = f"The agent's answer kept breaking its contract: {'; '.join(work.faults) or error}"
            detail = json.dumps({"answer": work.last_answer, "faults": work.faults}, indent=1)
            failure = FailureOutcome(reason=FailureReason.INVALID_OUTPUT, message=message, detail=detail)
    work.transcript.settle(why=failure.message)
    work.transcript.note("error", state="failed", text=failure.message)
    return failure


def _provider_says(body: object) -> str:
    """The readable part of an OpenAI-style error body."""
    if isinstance(body, dict):
        inner = body.get("error", body)
        text = inner.get("message") if isinstance(inner, dict) else inner
        return str(text or body)
    return str(body or "no explanation")
