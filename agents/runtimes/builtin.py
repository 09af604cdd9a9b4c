"""The built-in runtime: an agent of ours, on any OpenAI-compatible model, with tools in the workspace."""

import asyncio
import json
import mimetypes
from dataclasses import dataclass, field
from typing import Any, Literal
from uuid import UUID

from openai import AsyncOpenAI
from pydantic import BaseModel, Field
from pydantic_ai import Agent, ModelRetry, RunContext, Tool
from pydantic_ai.exceptions import (
    ModelAPIError,
    ModelHTTPError,
    ToolFailed,
    UnexpectedModelBehavior,
    UsageLimitExceeded,
)
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider

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
from agents.runtimes.conversation import MODEL_CALLS, Conversation
from agents.runtimes.inbox import as_heard
from agents.runtimes.prompts import instructions
from agents.runtimes.recording import Transcript, listed
from agents.runtimes.tools import READING, WRITING, Desk, Function, ask_person, run_command
from agents.runtimes.watch import Watch
from tenants.faults import crash_point

ROUNDS = 3
"""How often an answer that breaks its contract goes back to the agent."""
LAST_WORDS = 2
"""How often an agent that has finished goes on because somebody said something meanwhile."""
HTTP_RETRIES = 8
ASK_SECONDS = 900.0
"""How long an agent waits for the answer to its question."""
ALIVE_SECONDS = 60.0
"""Who waits for a person is no stall: so often it says so."""
NO_ANSWER = "Nobody answered. Decide by yourself, take the way that is easiest to take back, and say so in the end."
_AWAY = frozenset({429, 502, 503, 504, 529})
FINAL = "final_result"


class Summary(BaseModel):
    """What was done."""

    summary: str = Field(min_length=1, description="One to three sentences.")
    artifacts: list[str] = Field(
        default=[],
        max_length=50,
        description="Paths of files to keep for people beside your commit, such as reports, pictures or logs."
        " New files among them are not committed.",
    )


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
    desk: Desk = field(init=False)
    last_answer: str = ""
    last_words: int = 0
    faults: tuple[str, ...] = ()
    outcome: Outcome | None = None

    async def deliver(self, answer: Answer) -> None:
        """Reports the agent's answer. Raises ModelRetry with the faults that the control plane found, or with what
        somebody said meanwhile."""
        if self.last_words < LAST_WORDS and (heard := as_heard(self.context.told.inbox.take())):
            self.last_words += 1
            raise ModelRetry(f"Before you finish: {heard}")
        self.last_answer = answer.model_dump_json(indent=1)
        outcome = await self._outcome(answer)
        self.transcript.settle(FINAL, why="Not run: the agent had finished.")
        try:
            await self.context.reports.outcome(outcome)
        except Faults as error:
            self.faults = tuple(error.faults)
            raise ModelRetry(f"This breaks the contract:\n{listed(error.faults)}\nMend all of it.") from error
        self.outcome = outcome

    async def ask(self, question: str, options: list[str]) -> str:
        """Asks the people of the team; what they answer, or that nobody did."""
        part = self.transcript.note("question", state="open", text=question, input={"options": options})
        alive = asyncio.create_task(self._wait_aloud(question))
        try:
            async with asyncio.timeout(ASK_SECONDS):
                answer = await self.context.told.inbox.answer(part.id)
        except TimeoutError:
            self.transcript.put(part, state="failed", output=NO_ANSWER)
            return NO_ANSWER
        except asyncio.CancelledError:
            self.transcript.put(part, state="failed", output="It was interrupted.")
            raise
        finally:
            alive.cancel()
        return f"{answer.by} answers: {answer.text}"

    async def _wait_aloud(self, question: str) -> None:
        while True:
            self.transcript.doing(f"waits for an answer: {question}")
            await asyncio.sleep(ALIVE_SECONDS)

    async def _outcome(self, answer: Answer) -> Outcome:
        if isinstance(answer, PlanProposal):
            return PlanOutcome(plan=answer)
        if isinstance(answer, Review):
            return ReviewOutcome(verdict=answer.verdict, summary=answer.summary, findings=tuple(answer.findings))
        artifacts = await self._keep(answer.artifacts)
        self.transcript.doing("committing and pushing its changes")
        change = await self.workspace.commit_all(f"{self.assignment.title}\n\n{answer.summary}\n", list(artifacts))
        if change is None and not self.assignment.writes and self.assignment.repository:
            # Its part lies outside the repository: what it leaves is the commit that it started from.
            commit = self.assignment.repository.commit
            return WorkOutcome(commit=commit, summary=answer.summary, artifacts=tuple(artifacts.values()))
        if change is None:
            raise NoChanges
        crash_point("runner.unpushed")
        await self.workspace.push()
        crash_point("runner.pushed")
        self.transcript.note("patch", text=change.diff)
        kept = tuple(artifacts.values())
        return WorkOutcome(commit=change.commit, summary=answer.summary, files=change.files, artifacts=kept)

    async def _keep(self, paths: list[str]) -> dict[str, UUID]:
        """Sends the files that the agent names; the id of each, by its path. Raises ModelRetry with what is refused."""
        kept: dict[str, UUID] = {}
        faults: list[str] = []
        for path in paths:
            try:
                name, file = self.desk.bytes_of(path)
            except ToolFailed as error:
                faults.append(str(error))
                continue
            with file:
                self.transcript.doing(f"keeping {name}")
                media_type = mimetypes.guess_type(name)[0] or "application/octet-stream"
                try:
                    kept[name] = (await self.context.reports.artifact(file, name=name, media_type=media_type)).artifact
                except Faults as error:
                    faults += error.faults
        if faults:
            raise ModelRetry(f"Not everything that you name as an artifact can be kept:\n{listed(faults)}")
        return kept


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
    work = Run(assignment, context, workspace, transcript)
    desk = work.desk = Desk(workspace.work, context.confined(assignment, workspace), work.deliver, work.ask)
    access = assignment.model
    client = AsyncOpenAI(base_url=access.base_url, api_key=assignment.token, max_retries=HTTP_RETRIES)
    model = OpenAIChatModel(access.name, provider=OpenAIProvider(openai_client=client))
    try:
        async with client:
            await Conversation(
                agent=AGENTS[assignment.kind],
                model=model,
                desk=desk,
                instructions=instructions(assignment.role),
                briefing=assignment.briefing,
                transcript=transcript,
                watch=Watch(context.told),
                inbox=context.told.inbox,
            ).run()
    except (ModelAPIError, UnexpectedModelBehavior, UsageLimitExceeded, NoChanges) as error:
        return _failure(error, work)
    assert work.outcome is not None
    return work.outcome


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
    "plan": _agent(PlanProposal, *READING, ask_person),
    "work": _agent(Summary, *READING, *WRITING, run_command, ask_person),
    "review": _agent(Review, *READING, run_command, ask_person),
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
