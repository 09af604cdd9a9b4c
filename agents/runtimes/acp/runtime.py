"""The ACP runtime: an agent of the operator's in our workspace, with our model gateway, MCP endpoint and contract."""

import structlog

from agents.contracts import Assignment, FailureOutcome, FailureReason, Outcome
from agents.runtimes.acp.conversation import Conversation
from agents.runtimes.acp.launch import launch
from agents.runtimes.acp.program import Program
from agents.runtimes.acp.wording import instructed
from agents.runtimes.answers import wanted
from agents.runtimes.capabilities import Capabilities
from agents.runtimes.context import Context
from agents.runtimes.delivery import Delivery, NoChanges
from agents.runtimes.opencode.faults import Failed
from agents.runtimes.opencode.server import Missing
from agents.runtimes.recording import Transcript
from agents.runtimes.restarts import Lost, lost, through_restarts

log = structlog.get_logger(__name__)

CAN = Capabilities(
    hears="when its turn is over",
    asks=False,
    seeks_permission=True,
    crash="goes on in the same session",
    streams_commands=True,
)
RESTARTS = 2
"""How often a program that died is started again on its data."""


async def run(assignment: Assignment, context: Context) -> Outcome:
    """Lets an agent of the assignment's role work until it delivers or fails."""
    if assignment.model is None:
        return FailureOutcome(reason=FailureReason.MODEL_ERROR, message="The assignment names no model.")
    try:
        launched = launch()
    except Missing as error:
        return FailureOutcome(reason=FailureReason.AGENT_ERROR, message=str(error))
    transcript = Transcript(context.reports)
    transcript.doing("preparing its workspace")
    workspace = await context.workspace(assignment)
    transcript.say("system", instructed(assignment.role, wanted(assignment)))
    transcript.say("user", assignment.briefing)
    name = f"The agent `{launched.name}`"
    delivery = Delivery(assignment, context, workspace, transcript)
    conversation = Conversation(assignment, context, transcript, delivery, name)
    program = Program(launched, assignment, context.confined(assignment, workspace), conversation.calls.heard)

    async def once() -> Outcome:
        return await conversation.go_on(program)

    try:
        return await through_restarts(once, RESTARTS, transcript, name)
    except Lost as error:
        failure = lost(name, RESTARTS, error)
    except Failed as error:
        failure = FailureOutcome(reason=error.reason, message=str(error), detail=error.detail)
    except NoChanges as error:
        failure = error.failure(conversation.last_answer)
    conversation.settle(failure.message)
    transcript.begin_answer()
    transcript.note("error", state="failed", text=failure.message)
    return failure
