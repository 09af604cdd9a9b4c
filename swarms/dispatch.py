"""Giving out turns: the next ticket in fair order to a runner with a free slot."""

from collections.abc import Callable, Sequence
from datetime import timedelta
from uuid import UUID

import structlog
from django.db import DatabaseError, transaction
from django.db.models.functions import Now

from agents import breakers, executions
from agents.contracts import Assignment
from agents.models import Execution
from agents.nudges import nudge
from agents.placement import Nobody
from agents.standings import connected, is_connected
from sessions.events import acting
from swarms import attempts, checks, crew, hints, planner
from swarms.allowances import Parked
from swarms.models import CheckRun, Node, Plan, Swarm
from tenants import turns
from tenants.context import PUBLIC, in_schema
from tenants.faults import crash_point
from tenants.models import Runner, Ticket
from tenants.patience import is_busy, unless_busy, wait_briefly
from tenants.trace import begin_trace, current_trace

logger = structlog.get_logger(__name__)
BEGIN: dict[str, Callable[[UUID, Runner], Execution | Nobody | Parked | None]] = {
    "plan": planner.begin,
    "node": attempts.begin,
    "checks": checks.begin,
}
SUBJECTS: dict[str, type[Plan] | type[Node] | type[CheckRun]] = {"plan": Plan, "node": Node, "checks": CheckRun}
DIRECT = ("node", "checks")
"""What can follow directly; a plan's beginning looks into the repository."""
ASKING = ("plan", "node")
"""What needs the model."""
AT_ONCE = 100
LATER = timedelta(seconds=30)
"""When a ticket that could not begin is tried again."""
SOON = timedelta(seconds=1)
"""The same, when only somebody was at its swarm."""


class CannotBegin(Exception):
    """The turn of a ticket has come, and its work could not be placed."""

    def __init__(self, ticket: Ticket) -> None:
        super().__init__(f"{ticket.kind} {ticket.subject}")
        self.ticket = ticket


def dispatch() -> int:
    """Give out turns while there are tickets and slots. Returns how many were given."""
    given = 0
    runners: dict[UUID, Runner] = {}
    with in_schema(PUBLIC):
        for _ in range(AT_ONCE):
            try:
                runner = _one_turn()
            except CannotBegin as broken:
                _put_off(broken)
                continue
            if runner is None:
                break
            runners[runner.pk] = runner
            given += 1
        else:
            hints.dispatch()  # there may be more
    for runner in runners.values():
        crash_point("dispatch.placed")
        nudge(runner)
    return given


def _one_turn() -> Runner | None:
    """One ticket becomes one execution, in one transaction. None when nobody can go.

    Locks: runner, share, ticket, swarm. Who holds a swarm never waits for the others (see `take_next`).
    """
    barren: set[tuple[UUID | None, bool]] = set()
    all_free = turns.free_runners(connected())
    for free in all_free:
        if (free.team_id, free.trusted) in barren:
            continue  # one like it found nothing
        with unless_busy(), transaction.atomic():
            wait_briefly(in_transaction=True)
            runner = turns.lock_slot(free.pk)
            ticket = turns.next_ticket(runner) if runner else None
            if runner is None or ticket is None:
                if runner is not None:
                    barren.add((free.team_id, free.trusted))
                continue
            execution = _place(ticket, *crew.warmest(ticket, runner, all_free))
            crash_point("dispatch.placing")
            return execution.runner if execution else runner
    return None


def _place(ticket: Ticket, runner: Runner, others: Sequence[Runner] = ()) -> Execution | None:
    """The turn of a locked ticket. None when its work is not wanted any more, or must wait.

    Where it must be on one of the `others`, it goes there.
    """
    if ticket.kind in ASKING and (shut := breakers.closed_until(ticket.team.schema_name)) and crew.stops(shut, ticket):
        _wait_for(shut, ticket)
        return None
    execution = _begin(ticket, runner)
    if isinstance(execution, Nobody) and (other := crew.elsewhere(execution, others)):
        runner = other
        execution = _begin(ticket, runner)
    if isinstance(execution, Nobody):
        crew.park(ticket, execution)
        return None
    if isinstance(execution, Parked):
        turns.park([ticket.pk], execution.why, execution.delay)
        return None
    if execution is not None:
        turns.charge(ticket, runner, execution.pk)
    ticket.delete()
    return execution


def _wait_for(shut: breakers.Shut, ticket: Ticket) -> None:
    """Put off all that this team would ask the model: one by one, they would hold up the teams behind it."""
    alike = Ticket.objects.filter(team=ticket.team_id, lane="agent", kind__in=ASKING, not_before__lt=Now() + shut.wait)
    free = alike.select_for_update(skip_locked=True).values_list("pk", flat=True)
    turns.park(free, shut.told, shut.wait)


def take_next(runner_id: UUID, *, held: UUID) -> Assignment | None:
    """The direct call: claim and deliver what goes next on this runner, if by fair order that is this team's.

    For a caller whose transaction holds swarm `held`, and so never waits for a lock: then there is nothing, and the
    ordinary way is as fast as it is.
    """
    trace = current_trace()
    try:
        with transaction.atomic(), acting("system"):
            found = _next_for(runner_id, held)
            if found is None:
                transaction.set_rollback(True)  # lets go of what was locked
            return found
    except (DatabaseError, CannotBegin):
        # The outcome counts all the same; who dispatches next meets this ticket again, and says what is wrong with it.
        logger.info("no direct call", runner=str(runner_id), exc_info=True)
        return None
    finally:
        structlog.contextvars.bind_contextvars(trace=begin_trace(trace))


def _next_for(runner_id: UUID, held: UUID) -> Assignment | None:
    runner = turns.lock_slot(runner_id, wait=False)
    if runner is None or not is_connected(runner):
        return None
    ticket = turns.next_ticket(runner)
    if ticket is None or ticket.team_id != turns.current_team_id() or ticket.kind not in DIRECT:
        return None
    swarm = SUBJECTS[ticket.kind].objects.values_list("swarm", flat=True).filter(pk=ticket.subject).first()
    rows = Swarm.objects.select_for_update(no_key=True, skip_locked=True)
    if swarm is None or (swarm != held and rows.filter(pk=swarm).first() is None):
        return None
    execution = _place(ticket, runner)
    return executions.deliver(execution.pk, ticket.team) if execution else None


def _begin(ticket: Ticket, runner: Runner) -> Execution | Nobody | Parked | None:
    try:
        schema = ticket.team.schema_name
        with in_schema(schema):
            trace = begin_trace(_trace_of(ticket.kind, ticket.subject))
            # Bound until the next turn or message: what is logged when this one commits carries both.
            structlog.contextvars.bind_contextvars(team=schema, trace=trace)
            return BEGIN[ticket.kind](ticket.subject, runner)
    except DatabaseError as error:
        if is_busy(error):
            raise CannotBegin(ticket) from error
        raise  # says nothing about the ticket: the next tick tries again
    except Exception as error:
        raise CannotBegin(ticket) from error


def _put_off(broken: CannotBegin) -> None:
    """One ticket that cannot begin must not stop those behind it: its repository is damaged, say, or its swarm held."""
    ticket, cause = broken.ticket, broken.__cause__
    if cause is not None and is_busy(cause):
        logger.info("somebody holds what has its turn", kind=ticket.kind, subject=str(ticket.subject))
        Ticket.objects.filter(pk=ticket.pk).update(not_before=Now() + SOON)
        return
    logger.error("a turn could not begin", kind=ticket.kind, subject=str(ticket.subject), exc_info=cause)
    with in_schema(ticket.team.schema_name):
        trace = _trace_of(ticket.kind, ticket.subject)
    turns.park([ticket.pk], f"broken:{trace and f'trace {trace}'}", LATER)


def _trace_of(kind: str, subject: UUID) -> str:
    """The trace of the swarm that a ticket belongs to."""
    return SUBJECTS[kind].objects.values_list("swarm__trace", flat=True).filter(pk=subject).first() or ""
