"""An execution's life: open, deliver, accept, settle, reap. Every write carries the fence."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from uuid import UUID

import structlog
from django.conf import settings
from django.db import transaction
from django.db.models import Q
from django.db.models.functions import Now
from django.utils import timezone

from agents import budgets, hosting, placing, prices, routes
from agents.contracts import Assignment, FailureOutcome, FailureReason, Outcome
from agents.leases import DUES, extend, lease, limit, token_subject
from agents.leases import heartbeat as heartbeat
from agents.models import Execution
from agents.nudges import nudge
from agents.placement import Chosen
from agents.ports import settlement
from agents.states import LIVE, ExecutionState
from sessions import transcript
from sessions.events import acting, publish
from sessions.models import Session
from sessions.transitions import move
from tenants import tokens, turns
from tenants.faults import crash_point
from tenants.models import Domain, Due, Placement, Runner, Team
from tenants.trace import begin_trace, current_trace

logger = structlog.get_logger(__name__)

LOST, CANCELLED = ExecutionState.LOST, ExecutionState.CANCELLED
_OWN_STATE = (FailureReason.TIMED_OUT, FailureReason.CANCELLED, FailureReason.LOST)
_FAILED_AS = {reason: ExecutionState(reason) for reason in _OWN_STATE}


class Stale(Exception):
    """The fence is not the live one: somebody else has the work, or nobody wants it any more."""


def open_execution(
    *,
    kind: str,
    subject: str,
    swarm: UUID,
    runner: Runner,
    agent: str,
    title: str,
    assignment: dict[str, Any],
    stall_seconds: int = 0,
    draws_on: Iterable[str] = (),
    chosen: Chosen | None = None,
) -> Execution:
    """Place an assignment on a runner: a live lease, in the caller's transaction.

    `chosen` is what placement decided about the agent; without it, Waggle itself works.

    `assignment` holds what agents.contracts.Assignment asks for beside what is known here. So many seconds without
    progress are a stall; 0: it may be silent for as long as it takes. `draws_on` are the subjects of its budgets.
    """
    session = Session.objects.create(subject=f"swarm:{swarm}", title=title, agent=agent)
    execution = Execution.objects.create(
        kind=kind,
        subject=subject,
        swarm=swarm,
        runner=runner,
        agent=agent,
        session=session,
        assignment=assignment | {"title": title, "runtime": settings.RUNTIME} | (chosen.driven if chosen else {}),
        placed=(chosen.facts if chosen else {}) | routes.terms(chosen.model if chosen else ""),
        lease_until=timezone.now() + lease(),
        stall_seconds=stall_seconds,
        budgets=sorted(draws_on),
        trace=current_trace(),
    )
    Placement.objects.create(execution=execution.id, team_id=turns.current_team_id(), runner=runner, kind=kind)
    turns.due("lease", execution.id, after=lease())
    told: dict[str, Any] = {"kind": kind, "subject": subject, "agent": agent, "runner": runner.name}
    told |= {"execution": str(execution.id), "session": str(session.id), "title": session.title}
    publish(execution.event_subject, "execution.placed", **told)
    return execution


def assignment_of(execution: Execution, *, team: Team, token: str) -> Assignment:
    """The whole assignment of an execution, with its secrets."""
    slug = Domain.objects.get(tenant=team, is_primary=True).slug
    root = f"{settings.INTERNAL_URL}/t/{slug}"
    stored = hosting.opened(execution)
    if repository := stored.get("repository"):
        stored["repository"] = repository | {"url": f"{root}/git/{repository['url']}.git"}
    model = None
    if execution.kind != "check" or execution.is_rehearsal:  # checks of a rehearsal may run without a sandbox
        model = {
            "base_url": f"{root}/model/v1",
            "name": execution.model,
            "window": prices.window_of(execution.model, base_url=routes.base_url(execution)),
            "rehearsal": execution.is_rehearsal,
        }
    return Assignment.model_validate(
        stored
        | {
            "execution": execution.id,
            "fence": execution.fence,
            "team": slug,
            "kind": execution.kind,
            "subject": execution.subject,
            "model": model,
            "session": execution.session_id,
            "token": token,
            "url": f"{root}/runner/{execution.id}",
            "mcp": f"{root}/mcp",
            "lease_seconds": settings.LEASE_SECONDS,
            "heartbeat_seconds": settings.HEARTBEAT_SECONDS,
            "trace": execution.trace,
        }
    )


def deliver(execution_id: UUID, team: Team) -> Assignment | None:
    """Hand an execution to its runner: a fresh attempt token and a full lease. None when it is no longer wanted."""
    with transaction.atomic():
        execution = Execution.objects.select_for_update(no_key=True).get(pk=execution_id)
        # Two who look at once must not both give it: a second token would end the first.
        mine = Placement.objects.filter(execution=execution_id, delivered_at=None).update(delivered_at=Now())
        if not mine or execution.state != ExecutionState.LEASED:
            return None
        name = token_subject(execution.id)
        tokens.revoke(name)
        _, secret = tokens.issue("attempt", team=team, subject=name, life=tokens.ATTEMPT_LIFE)
        extend(execution)
    return assignment_of(execution, team=team, token=secret)


def _live(execution_id: UUID, fence: UUID) -> Execution:
    execution = Execution.objects.select_related("session").filter(pk=execution_id).first()
    if execution is None or execution.fence != fence or not execution.is_live:
        raise Stale(str(execution_id))
    return execution


def accept(execution_id: UUID, fence: UUID) -> str:
    """The runner began. Answers what to do: continue, cancel or stale."""
    try:
        execution = _live(execution_id, fence)
    except Stale:
        return "stale"
    begin_trace(execution.trace)
    with transaction.atomic():
        settlement().lock(execution.swarm)
        try:
            execution = _live(execution_id, fence)  # the reaper may have been faster
        except Stale:
            return "stale"
        if execution.state == ExecutionState.LEASED and move(
            execution,
            ExecutionState.RUNNING,
            because=f"{execution.runner.name} began",
            guard=Q(fence=fence),
            started_at=timezone.now(),
        ):
            limit(execution)
            settlement().started(execution)
        extend(execution)
    crash_point("attempt.begun")
    return "cancel" if execution.cancel_at else "continue"


@dataclass(frozen=True)
class Receipt:
    """The answer to an outcome: its faults, or what the same runner does next."""

    faults: list[str] = field(default_factory=list)
    next: Assignment | None = None


def settle(execution_id: UUID, fence: UUID, outcome: Outcome) -> list[str]:
    """Accept an outcome from who takes nothing next: see `receive`. Returns its faults."""
    return receive(execution_id, fence, outcome).faults


def receive(execution_id: UUID, fence: UUID, outcome: Outcome, *, takes_next: bool = False) -> Receipt:
    """Accept an outcome once, and with `takes_next` claim in the same transaction what its runner does next.

    An outcome with faults ends nothing: the agent tries again. The same report a second time changes nothing, and
    brings nothing: its runner was given, or will be, what waits for it. Raises Stale.
    """
    report = outcome.model_dump(mode="json")
    if _has(execution_id, fence, report):
        return Receipt()
    execution = _live(execution_id, fence)
    faults, facts = settlement().examine(execution, outcome)
    with transaction.atomic(), acting(f"agent:{execution.agent}"):
        settlement().lock(execution.swarm)
        if _has(execution_id, fence, report):
            return Receipt()
        execution = _live(execution_id, fence)
        if faults:
            settlement().refused(execution, outcome, faults)
            return Receipt(faults)
        if not _end(execution, *_verdict(outcome), outcome=report):
            raise Stale(str(execution_id))
        settlement().settled(execution, outcome, facts)
        follows = settlement().next(execution) if takes_next else None
        crash_point("outcome.settling")
        return Receipt(next=follows)


def _has(execution_id: UUID, fence: UUID, report: dict[str, Any]) -> bool:
    """Whether this very report was accepted before."""
    return Execution.objects.filter(pk=execution_id, fence=fence, outcome=report).exists()


def _verdict(outcome: Outcome) -> tuple[ExecutionState, str, str]:
    if isinstance(outcome, FailureOutcome):
        return _FAILED_AS.get(outcome.reason, ExecutionState.FAILED), outcome.reason, outcome.message
    return ExecutionState.DONE, "", "an outcome was accepted"


def _end(execution: Execution, to: str, reason: str, because: str, **fields: Any) -> bool:
    """Move to a terminal state and let go of everything that the execution held, in one transaction."""
    money = budgets.aside(execution)
    moved = move(
        execution,
        to,
        because=because,
        guard=Q(fence=execution.fence),
        reason=reason,
        ended_at=timezone.now(),
        reserved_microusd=0,
        held_microusd=0,
        **fields,
    )
    if moved:
        budgets.settle(money)
        placing.left(execution)
        let_go(execution.id, seconds=(timezone.now() - execution.created_at).total_seconds())
    return moved


def let_go(execution_id: UUID, *, seconds: float = 0) -> None:
    """An execution is over, after so many seconds on its runner: free its slot, its due times, token and session."""
    turns.leave(execution_id, seconds=seconds)
    Due.objects.filter(kind__in=DUES, subject=execution_id).delete()
    tokens.revoke(token_subject(execution_id))
    for session in Session.objects.filter(execution=execution_id, ended_at=None):
        transcript.close(session)


def end(execution_id: UUID, to: str, *, reason: str, because: str, guard: Q | None = None) -> bool:
    """End a live execution without an outcome, if `guard` still holds."""
    with transaction.atomic():
        row = Execution.objects.select_related("session").filter(guard or Q(), pk=execution_id, state__in=LIVE).first()
        if row is None:
            return False
        begin_trace(row.trace)
        settlement().lock(row.swarm)
        execution = (
            Execution.objects.select_related("session")
            .select_for_update(no_key=True, of=("self",))
            .get(pk=execution_id)
        )
        if not execution.is_live or not Execution.objects.filter(guard or Q(), pk=execution_id).exists():
            return False
        if not _end(execution, to, reason, because):
            return False
        crash_point("lease.ending")
        settlement().ended(execution)
    logger.info("execution ended", execution=str(execution_id), state=to, because=because)
    return True


def reap(execution_id: UUID) -> bool:
    """The lease may have run out: if so, the execution is lost and its work goes to somebody else."""
    expired = Q(lease_until__lt=Now())
    asked = Execution.objects.filter(pk=execution_id, cancel_at__isnull=False).exists()
    if asked:
        return end(
            execution_id, CANCELLED, reason="cancelled", because="asked to stop, and silent since", guard=expired
        )
    return end(execution_id, LOST, reason="lost", because="its runner was silent for a whole lease", guard=expired)


def request_cancel(wanted: Iterable[Execution]) -> None:
    """Ask live executions to stop. Their runners hear it at once, or with the next heartbeat if that hint gets lost."""
    found = [execution for execution in wanted if execution.is_live]
    ids = [execution.pk for execution in found]
    Execution.objects.filter(pk__in=ids, state__in=LIVE, cancel_at=None).update(cancel_at=Now())
    undelivered = set(
        Placement.objects.filter(execution__in=ids, delivered_at=None).values_list("execution", flat=True)
    )
    for execution_id in undelivered:
        end(execution_id, CANCELLED, reason="cancelled", because="cancelled before its runner had it")
    for execution in found:
        if execution.pk not in undelivered:
            transaction.on_commit(partial(nudge, execution.runner, cancel=[execution.pk]))
