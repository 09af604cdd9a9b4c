"""Giving out turns: the next ticket in fair order to a runner with a free slot."""

from collections.abc import Callable
from datetime import timedelta
from uuid import UUID

import structlog
from django.conf import settings
from django.db import DatabaseError, transaction
from django.db.models.functions import Now

from agents.models import Execution
from agents.nudges import nudge
from swarms import attempts, checks, planner
from swarms.models import CheckRun, Node, Plan
from tenants import turns
from tenants.context import PUBLIC, in_schema
from tenants.models import Runner, Ticket
from tenants.trace import begin_trace

logger = structlog.get_logger(__name__)
BEGIN: dict[str, Callable[[UUID, Runner], Execution | None]] = {
    "plan": planner.begin,
    "node": attempts.begin,
    "checks": checks.begin,
}
SUBJECTS: dict[str, type[Plan] | type[Node] | type[CheckRun]] = {"plan": Plan, "node": Node, "checks": CheckRun}
AT_ONCE = 100
LATER = timedelta(seconds=30)
"""When a ticket that could not begin is tried again."""
MISSED_BEATS = 3


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
    for runner in runners.values():
        nudge(runner)
    return given


def _one_turn() -> Runner | None:
    """One ticket becomes one execution, in one transaction. None when nobody can go.

    Locks: runner, share, ticket, swarm. Who holds a swarm never waits for the others (see `take_next`).
    """
    beats = timedelta(seconds=settings.HEARTBEAT_SECONDS * MISSED_BEATS)
    barren: set[tuple[UUID | None, bool]] = set()
    for free in turns.free_runners(seen_within=beats):
        if (free.team_id, free.trusted) in barren:
            continue  # one like it found nothing
        with transaction.atomic():
            runner = turns.lock_slot(free.pk)
            ticket = turns.next_ticket(runner) if runner else None
            if runner is None or ticket is None:
                if runner is not None:
                    barren.add((free.team_id, free.trusted))
                continue
            _place(ticket, runner)
        return runner
    return None


def _place(ticket: Ticket, runner: Runner) -> Execution | None:
    """The turn of a locked ticket. None when its work is not wanted any more."""
    execution = _begin(ticket, runner)
    if execution is not None:
        turns.charge(ticket, runner, execution.pk)
    ticket.delete()
    return execution


def _begin(ticket: Ticket, runner: Runner) -> Execution | None:
    try:
        schema = ticket.team.schema_name
        with in_schema(schema):
            trace = begin_trace(_trace_of(ticket.kind, ticket.subject))
            # Bound until the next turn or message: what is logged when this one commits carries both.
            structlog.contextvars.bind_contextvars(team=schema, trace=trace)
            return BEGIN[ticket.kind](ticket.subject, runner)
    except DatabaseError:
        raise  # says nothing about the ticket: the next tick tries again
    except Exception as error:
        raise CannotBegin(ticket) from error


def _put_off(broken: CannotBegin) -> None:
    """One ticket that cannot begin (its repository is damaged, say) must not stop those behind it."""
    ticket = broken.ticket
    logger.error("a turn could not begin", kind=ticket.kind, subject=str(ticket.subject), exc_info=broken.__cause__)
    Ticket.objects.filter(pk=ticket.pk).update(not_before=Now() + LATER)


def _trace_of(kind: str, subject: UUID) -> str:
    """The trace of the swarm that a ticket belongs to."""
    return SUBJECTS[kind].objects.values_list("swarm__trace", flat=True).filter(pk=subject).first() or ""
