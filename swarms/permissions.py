"""May this agent do that? The rules answer, or a person does, who is asked once for each call."""

from datetime import timedelta
from uuid import UUID

import structlog
from django.db import transaction

from agents.contracts import PermissionAsked, PermissionGiven
from agents.models import Execution
from sessions.events import acting
from swarms import approvals, rulebook
from swarms.digests import digest
from swarms.models import Approval, Node, Swarm
from swarms.policy.rules import Judgement, Verdict, judge
from swarms.states import ApprovalState

logger = structlog.get_logger(__name__)
WALLED = ("bubblewrap", "unshare")
"""Sandboxes of runners that lock commands in."""
LIFE = timedelta(minutes=15)
"""How long a person has to answer: so long an agent waits."""


class Faults(Exception):
    """The question cannot be answered; in words."""


class Stale(Exception):
    """Nobody wants anything from this execution any more."""


def ask(execution: Execution, asked: PermissionAsked) -> PermissionGiven:
    """The answer to an agent's question, the same for the same call until a person or a rule says otherwise.

    Raises Faults, Stale.
    """
    if not _is_wanted(execution):
        raise Stale
    swarm = Swarm.objects.select_related("project", "goal__created_by").get(pk=execution.swarm)
    exactly = _exactly(execution, asked)
    found = Approval.objects.filter(execution=execution, call=asked.call).first()
    if found is not None and _what(found) != _what(exactly):
        raise Faults("This call was asked about before, with another tool or other arguments.")
    judgement = _judge(execution, swarm, asked, found.digest if found else "")
    if judgement.verdict == Verdict.ASK and found is None:
        found = _begin(execution, swarm, exactly, judgement)
    return _given(judgement, found)


def _is_wanted(execution: Execution) -> bool:
    """Whether anything that it does still counts; nobody is asked for an agent that was told to stop."""
    return execution.is_live and execution.cancel_at is None


def _exactly(execution: Execution, asked: PermissionAsked) -> dict[str, object]:
    """What a person decides: this call of this agent, with all of its arguments."""
    return {
        "execution": str(execution.pk),
        "call": asked.call,
        "agent": execution.agent,
        "role": str(execution.assignment.get("role", "")),
        "tool": asked.tool,
        "arguments": asked.arguments,
        "sandboxed": _is_sandboxed(execution),
    }


def _is_sandboxed(execution: Execution) -> bool:
    """Whether commands are locked in where it works."""
    return "server" not in execution.placed and (execution.runner.sandbox in WALLED or execution.is_rehearsal)


def _what(known: Approval | dict[str, object]) -> str:
    subject = known.subject if isinstance(known, Approval) else known
    return digest({name: value for name, value in subject.items() if name != "rule"})


def _judge(execution: Execution, swarm: Swarm, asked: PermissionAsked, of_call: str) -> Judgement:
    call = rulebook.call_in(
        swarm,
        str(execution.assignment.get("role", "")),
        asked.tool,
        asked.arguments,
        sandboxed=_is_sandboxed(execution),
        hosted="server" in execution.placed,
        digest=of_call,
    )
    return judge(rulebook.of_swarm(swarm), call)


def _begin(execution: Execution, swarm: Swarm, exactly: dict[str, object], judgement: Judgement) -> Approval:
    """Ask a person, unless the same question came in at the same time."""
    node = _node(execution)
    rule = judgement.rule
    subject = exactly | {"rule": {"key": rule.key, "tool": rule.tool, "why": rule.why}}
    with transaction.atomic(), acting(f"agent:{execution.agent}"):
        Swarm.objects.select_for_update(no_key=True).get(pk=swarm.pk)
        if not _is_wanted(Execution.objects.get(pk=execution.pk)):
            raise Stale
        found = Approval.objects.filter(execution=execution, call=exactly["call"]).first()
        return found or approvals.ask_tool(swarm, execution, subject, node=node, life=LIFE)


def _node(execution: Execution) -> Node | None:
    noun, _, key = execution.subject.partition(":")
    return Node.objects.filter(pk=UUID(key)).first() if noun == "node" else None


def _given(judgement: Judgement, found: Approval | None) -> PermissionGiven:
    rule = judgement.rule
    match judgement.verdict:
        case Verdict.ALLOW:
            return PermissionGiven(verdict="allow")
        case Verdict.DENY:
            logger.info("tool denied", tool=rule.tool, rule=rule.key or "built in")
            return PermissionGiven(verdict="deny", why=f"Not allowed. {rule.why}".strip())
    assert found is not None
    match found.state:
        case ApprovalState.PENDING:
            return PermissionGiven(verdict="ask", why=f"A person is asked: {found.title}")
        case ApprovalState.APPROVED:
            return PermissionGiven(verdict="deny", why="The permission for this was taken back.")
        case ApprovalState.EXPIRED:
            return PermissionGiven(verdict="deny", why="Not allowed: nobody decided in time.")
        case ApprovalState.VOID:
            return PermissionGiven(verdict="deny", why="Not allowed: the question is void.")
    return PermissionGiven(verdict="deny", why=f"Not allowed. {found.decided_by} says: {found.because}")
