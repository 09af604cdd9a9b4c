"""The OpenCode runtime: OpenCode's agent in our workspace, with our model gateway, MCP endpoint and contract."""

from agents.contracts import Assignment, FailureOutcome, FailureReason, Outcome
from agents.runtimes.capabilities import Capabilities
from agents.runtimes.context import Context
from agents.runtimes.delivery import Delivery, NoChanges
from agents.runtimes.opencode.client import Rejected
from agents.runtimes.opencode.configuration import REPOSITORY
from agents.runtimes.opencode.conversation import Conversation
from agents.runtimes.opencode.enrolled import Enrolled, Unfit, visiting
from agents.runtimes.opencode.faults import Failed
from agents.runtimes.opencode.server import Missing, Server
from agents.runtimes.opencode.spare import Spare, ready
from agents.runtimes.opencode.wording import instructed
from agents.runtimes.recording import Transcript
from agents.runtimes.restarts import Lost, lost, through_restarts

__all__ = ["CAN", "ready", "run"]
CAN = Capabilities(
    hears="at its next step",
    asks=True,
    seeks_permission=True,
    crash="goes on in the same session",
    streams_commands=True,
    reverts=True,
)
RESTARTS = 2
"""How often a server that died is started again on its data."""
NAME = "OpenCode's server"


async def run(assignment: Assignment, context: Context) -> Outcome:
    """Lets an agent of the assignment's role work until it delivers or fails."""
    if assignment.model is None:
        return FailureOutcome(reason=FailureReason.MODEL_ERROR, message="The assignment names no model.")
    transcript = Transcript(context.reports)
    transcript.doing("preparing its workspace")
    workspace = await context.workspace(assignment)
    transcript.say("system", instructed(assignment.role))
    transcript.say("user", assignment.briefing)
    delivery = Delivery(assignment, context, workspace, transcript)
    conversation = Conversation(assignment, context, transcript, delivery)
    if assignment.host is not None:
        transcript.doing(f"turning to the server {assignment.host.name}")
        await workspace.hide(REPOSITORY)
        async with visiting(assignment, context.folder, workspace.work) as enrolled:
            return await _talk(enrolled, conversation, transcript, f"The server {assignment.host.name}", is_ours=False)
    transcript.doing("starting OpenCode")
    try:
        waiting = context.ready if isinstance(context.ready, Spare) else None
        server = Server(assignment, context.confined(assignment, workspace), waiting)
    except Missing as error:
        return FailureOutcome(reason=FailureReason.AGENT_ERROR, message=str(error))
    return await _talk(server, conversation, transcript, NAME)


async def _talk(
    server: Server | Enrolled, conversation: Conversation, transcript: Transcript, name: str, *, is_ours: bool = True
) -> Outcome:
    """Lets the conversation go on, on this server, until it ends."""

    async def once() -> Outcome:
        async with server.running() as running:
            return await conversation.go_on(running)

    try:
        return await through_restarts(once, RESTARTS, transcript, name, is_ours=is_ours)
    except (Failed, NoChanges, Lost, Rejected, Unfit) as error:
        failure = _failure(error, conversation, name)
    conversation.settle(failure.message)
    transcript.begin_answer()
    transcript.note("error", state="failed", text=failure.message)
    return failure


def _failure(error: Exception, conversation: Conversation, name: str) -> FailureOutcome:
    match error:
        case NoChanges():
            return error.failure(conversation.last_answer)
        case Failed():
            return FailureOutcome(reason=error.reason, message=str(error), detail=error.detail)
        case Lost():
            return lost(name, RESTARTS, error)
        case Unfit():
            return FailureOutcome(reason=FailureReason.LOST, message=f"{name} cannot be used: {error}.")
    return FailureOutcome(reason=FailureReason.AGENT_ERROR, message=str(error))
