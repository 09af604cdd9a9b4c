"""The built-in runtime: an agent of ours, on any OpenAI-compatible model, with tools in the workspace."""

import json
from dataclasses import dataclass, field
from typing import Any

from openai import AsyncOpenAI, DefaultAsyncHttpxClient
from pydantic_ai import Agent, ModelRetry, RunContext, Tool
from pydantic_ai.exceptions import ModelAPIError, ModelHTTPError, UnexpectedModelBehavior, UsageLimitExceeded
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider

from agents.contracts import Assignment, FailureOutcome, FailureReason, Outcome
from agents.runner.reports import Faults
from agents.runner.trust import trusted
from agents.runner.workspace import Workspace
from agents.runtimes.answers import ANSWERS, Answer, wanted
from agents.runtimes.asking import NO_ANSWER, ask_people
from agents.runtimes.capabilities import Capabilities
from agents.runtimes.colleagues import COLLEAGUES, Endpoint, offered
from agents.runtimes.compaction import WINDOW, Compaction
from agents.runtimes.context import Context
from agents.runtimes.conversation import Conversation
from agents.runtimes.delivery import LAST_WORDS, ROUNDS, Delivery, NoChanges, NotKept
from agents.runtimes.gateway import reason_of_status
from agents.runtimes.inbox import as_heard
from agents.runtimes.policy import Policy
from agents.runtimes.prompts import instructions
from agents.runtimes.recording import Transcript, listed
from agents.runtimes.tools import READING, WRITING, Desk, Function, ask_person, run_command, update_plan
from agents.runtimes.watch import Watch

CAN = Capabilities(
    hears="at its next step",
    asks=True,
    seeks_permission=True,
    crash="ends with a reason",
    streams_commands=True,
)
HTTP_RETRIES = 8
FINAL = "final_result"


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
        try:
            outcome = await Delivery(self.assignment, self.context, self.workspace, self.transcript).outcome(answer)
        except NotKept as error:
            raise ModelRetry(str(error)) from error
        self.transcript.settle(FINAL, why="Not run: the agent had finished.")
        try:
            await self.context.reports.outcome(outcome)
        except Faults as error:
            self.faults = tuple(error.faults)
            raise ModelRetry(f"This breaks the contract:\n{listed(error.faults)}\nMend all of it.") from error
        self.outcome = outcome

    async def ask(self, question: str, options: list[str]) -> str:
        """Asks the people of the team; what they answer, or that nobody did."""
        answer = await ask_people(self.transcript, self.context.told.inbox, question, options)
        return f"{answer.by} answers: {answer.text}" if answer else NO_ANSWER


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
    confined = context.confined(assignment, workspace)
    refusal = Policy(context.reports, transcript).refusal
    desk = work.desk = Desk(workspace.work, confined, work.deliver, work.ask, refusal, transcript.show)
    desk.platform = Endpoint(assignment).call if assignment.mcp else None
    access = assignment.model
    client = AsyncOpenAI(
        base_url=access.base_url,
        api_key=assignment.token,
        max_retries=HTTP_RETRIES,
        http_client=DefaultAsyncHttpxClient(verify=trusted(as_told=True)),
    )
    model = OpenAIChatModel(access.name, provider=OpenAIProvider(openai_client=client))
    try:
        async with client:
            await Conversation(
                agent=_agent_for(assignment),
                model=model,
                desk=desk,
                instructions=instructions(assignment.role),
                briefing=assignment.briefing,
                transcript=transcript,
                watch=Watch(context.told),
                inbox=context.told.inbox,
                compaction=Compaction(access.window or WINDOW),
                model_calls=assignment.model_calls,
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
        tools=[
            *(Tool(function, docstring_format="google") for function in functions),
            *(Tool(function, docstring_format="google", prepare=offered) for function in COLLEAGUES),
        ],
        retries={"tools": 5, "output": ROUNDS},
    )

    @agent.output_validator
    async def deliver(ctx: RunContext[Desk], answer: Any) -> Any:
        async with ctx.deps.one_at_a_time:
            await ctx.deps.deliver(answer)
        return answer

    return agent


TOOLS: dict[str, tuple[Function, ...]] = {
    "plan": (*READING, ask_person),
    "work": (*READING, *WRITING, run_command, update_plan, ask_person),
    "review": (*READING, run_command, update_plan, ask_person),
}
AGENTS: dict[str, Agent[Desk, Any]] = {kind: _agent(ANSWERS[kind], *tools) for kind, tools in TOOLS.items()}
"""Built once: children are forked with them."""


def _agent_for(assignment: Assignment) -> Agent[Desk, Any]:
    """The agent of its kind; where its answer has another form, one of its own."""
    if not assignment.answers:
        return AGENTS[assignment.kind]
    return _agent(wanted(assignment), *TOOLS[assignment.kind])


def reason_of(error: ModelHTTPError) -> FailureReason:
    """What an answer of the gateway means."""
    return reason_of_status(error.status_code, str(error.body))


def _failure(error: Exception, work: Run) -> FailureOutcome:
    """What an agent's failure is called, with what a person needs to understand it."""
    match error:
        case NoChanges():
            failure = error.failure(work.last_answer)
        case ModelHTTPError():
            message = f"The model's provider answered HTTP {error.status_code}: {_provider_says(error.body)}"
            reason = reason_of(error)
            failure = FailureOutcome(reason=reason, message=message, detail=str(error.body or ""))
        case ModelAPIError():
            message = f"The model could not be reached: {error.message}"
            failure = FailureOutcome(reason=FailureReason.MODEL_ERROR, message=message)
        case UsageLimitExceeded():
            message = f"The agent used all of its {work.assignment.model_calls} model calls without finishing."
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
