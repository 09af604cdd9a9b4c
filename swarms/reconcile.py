"""Looking for the lost: whatever is due is looked at, whether or not a hint arrived."""

from collections.abc import Callable
from datetime import timedelta
from uuid import UUID

import structlog
from django.conf import settings
from django.db import ProgrammingError, connection, transaction
from django.db.models.functions import Now
from django.utils import timezone
from structlog.contextvars import bound_contextvars

from agents import clearing, executions, timeouts
from agents.models import Execution
from agents.states import LIVE
from swarms import approvals, dispatch, engine, operations, orphans, sweep
from swarms.models import Attempt, Swarm
from tenants import turns
from tenants.context import PUBLIC, in_schema
from tenants.faults import crash_point
from tenants.messages import send_on_commit
from tenants.models import Due, Team, Ticket
from tenants.patience import unless_busy
from tenants.states import TeamState

logger = structlog.get_logger(__name__)
BATCH = 200
AGAIN = timedelta(seconds=3)
"""When something that was handed to an actor is looked at next."""


def _hand_over(actor: str) -> Callable[[UUID], None]:
    """What takes its time is for the workers; here it is only hinted again."""

    def hint(subject: UUID) -> None:
        turns.postpone(actor, subject, after=AGAIN)
        send_on_commit(actor, str(subject))

    return hint


def _step(swarm_id: UUID) -> None:
    """Nodes wait for the control plane itself, or a worker of ours claimed some."""
    sweep.lose_silent(swarm_id)
    with transaction.atomic():
        # Who queues a node holds the swarm: nobody can between the look and the end of the due time.
        Swarm.objects.select_for_update(no_key=True, of=("self",)).get(pk=swarm_id)
        claimed = Attempt.objects.filter(node__swarm=swarm_id, execution=None, state__in=["leased", "running"])
        if not (Ticket.objects.filter(swarm=swarm_id, lane="control").exists() or claimed.exists()):
            turns.settled("step", swarm_id)
            return
        first = claimed.order_by("lease_until").values_list("lease_until", flat=True).first()
    # Who claimed something may be dead: then it is looked at as soon as its lease is over.
    until = first - timezone.now() if first else AGAIN
    turns.postpone("step", swarm_id, after=min(AGAIN, max(until, timedelta(milliseconds=50))))
    send_on_commit("step", str(swarm_id))


_KEPT = f"""
SELECT e.id, e.lease_until FROM {{schema}}.agents_execution e
WHERE e.id = ANY(%s) AND e.state IN ({orphans.words(*LIVE)}) AND e.lease_until > statement_timestamp()
"""
_RENEW = """
UPDATE public.tenants_due d SET due_at = kept.lease_until FROM ({kept}) AS kept
WHERE d.kind = 'lease' AND d.subject = kept.id AND d.id IN (
  SELECT x.id FROM public.tenants_due x WHERE x.id = ANY(%s) ORDER BY x.id FOR NO KEY UPDATE SKIP LOCKED)
RETURNING d.id
"""


def _renewed(rows: list[Due]) -> set[int]:
    """Of due leases those that are kept: a heartbeat moves the lease alone, and its due time follows here.

    One statement for all teams, since nearly all are kept at nearly every tick; it reads nothing but their leases. When
    the schema of a team cannot be read, its leases are looked at one by one, and the others go on.
    """
    subjects: dict[str, list[UUID]] = {}
    for row in rows:
        subjects.setdefault(row.team.schema_name, []).append(row.subject)
    if not subjects:
        return set()
    kept = " UNION ALL ".join(_KEPT.format(schema=connection.ops.quote_name(schema)) for schema in subjects)
    try:
        with in_schema(PUBLIC), transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(_RENEW.format(kept=kept), [*subjects.values(), [row.pk for row in rows]])
            return {row[0] for row in cursor.fetchall()}
    except ProgrammingError:
        if len(subjects) == 1:
            return set()
        first = set(list(subjects)[: len(subjects) // 2])
        return _renewed([row for row in rows if row.team.schema_name in first]) | _renewed(
            [row for row in rows if row.team.schema_name not in first]
        )


def _lease(execution: UUID) -> None:
    """A lease that has run out, or whose execution has ended."""
    if executions.reap(execution):
        return
    if Execution.objects.filter(pk=execution, state__in=LIVE).exists():
        turns.postpone("lease", execution, after=timedelta(seconds=1))
    else:
        turns.settled("lease", execution)


LOOK: dict[str, Callable[[UUID], object]] = {
    "lease": _lease,
    "close": timeouts.close,
    "stall": timeouts.stall,
    "advance": engine.advance,
    "approval": approvals.expire,
    "swarm_deadline": operations.expire,
    "order": operations.put_in_order,
    "step": _step,
    "merge": _hand_over("merge"),
    "revert": _hand_over("revert"),
    "land": _hand_over("land"),
    "fetch": _hand_over("fetch"),
    "webhook": _hand_over("webhook"),
    clearing.CLEAR: _hand_over(clearing.CLEAR),
}


def tick() -> int:
    """Look at everything that is due, and give out turns. Returns how many were looked at."""
    with in_schema(PUBLIC):
        rows = list(Due.objects.filter(due_at__lte=Now()).select_related("team").order_by("due_at")[:BATCH])
    renewed = _renewed([row for row in rows if row.kind == "lease"])
    for row in rows:
        if row.pk not in renewed:
            _look(row)
    dispatch.dispatch()
    return len(rows)


def _look(row: Due) -> None:
    crash_point("tick.found")
    schema = row.team.schema_name
    try:
        with in_schema(schema), bound_contextvars(team=schema), unless_busy():
            LOOK[row.kind](row.subject)
    except Exception:
        # One broken row must not stop the others; it stays due, later.
        logger.exception("a due row could not be handled", kind=row.kind, subject=str(row.subject))
        with in_schema(PUBLIC):
            Due.objects.filter(pk=row.pk).update(due_at=Now() + 10 * AGAIN)


def begin() -> None:
    """A clock begins, or the database is back: who could not report meanwhile gets time for two heartbeats."""
    grace = timedelta(seconds=2 * settings.HEARTBEAT_SECONDS)
    with in_schema(PUBLIC):
        # One by one: a statement that locks several could meet a transaction that ends several.
        for row in Due.objects.filter(kind="lease", due_at__lte=Now() + grace).values_list("pk", flat=True):
            Due.objects.filter(pk=row).update(due_at=Now() + grace)


def find_unprovisioned() -> int:
    """Teams whose schema nobody makes (their hint got lost): hint again. Returns how many there are."""
    with in_schema(PUBLIC):
        waiting = list(Team.objects.filter(state=TeamState.PROVISIONING, created_at__lt=Now() - AGAIN))
        for team in waiting:
            send_on_commit("provision", str(team.pk))
    return len(waiting)
