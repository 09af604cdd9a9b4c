"""Looking for the lost: whatever is due is looked at, whether or not a hint arrived."""

from collections.abc import Callable
from datetime import timedelta
from functools import partial
from uuid import UUID

import structlog
from django.conf import settings
from django.db import connection, transaction
from django.db.models.functions import Now
from django.utils import timezone
from structlog.contextvars import bound_contextvars

from agents import executions, timeouts
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
    silent = Attempt.objects.filter(
        node__swarm=swarm_id, execution=None, state__in=["leased", "running"], lease_until__lt=Now()
    )
    for attempt in silent.values_list("pk", flat=True):
        sweep.lose_attempt(attempt)
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


_RENEWED = f"""
UPDATE public.tenants_due d SET due_at = e.lease_until FROM agents_execution e
WHERE e.id = d.subject AND d.kind = 'lease' AND d.id IN (
  SELECT x.id FROM public.tenants_due x JOIN agents_execution e ON e.id = x.subject
  WHERE x.kind = 'lease' AND x.subject = ANY(%s)
    AND e.state IN ({orphans.words(*LIVE)}) AND e.lease_until > statement_timestamp()
  ORDER BY x.id FOR NO KEY UPDATE OF x SKIP LOCKED)
RETURNING d.subject
"""


def _leases(subjects: list[UUID]) -> None:
    """Leases that may have run out. Heartbeats move the lease alone; its due time follows here, in one statement."""
    with connection.cursor() as cursor:
        cursor.execute(_RENEWED, [subjects])
        renewed = {row[0] for row in cursor.fetchall()}
    for subject in set(subjects) - renewed:
        with unless_busy():
            if executions.reap(subject):
                continue
            if Execution.objects.filter(pk=subject, state__in=LIVE).exists():
                turns.postpone("lease", subject, after=timedelta(seconds=1))
            else:
                turns.settled("lease", subject)


LOOK: dict[str, Callable[[UUID], object]] = {
    "close": timeouts.close,
    "stall": timeouts.stall,
    "advance": engine.advance,
    "approval": approvals.expire,
    "swarm_deadline": operations.expire,
    "step": _step,
    "merge": _hand_over("merge"),
    "revert": _hand_over("revert"),
    "land": _hand_over("land"),
    "fetch": _hand_over("fetch"),
    "webhook": _hand_over("webhook"),
}


LOOK_AT_ALL: dict[str, Callable[[list[UUID]], object]] = {"lease": _leases}
"""What is looked at together: all that is due for a team."""


def tick() -> int:
    """Look at everything that is due, and give out turns. Returns how many were looked at."""
    with in_schema(PUBLIC):
        rows = list(Due.objects.filter(due_at__lte=Now()).select_related("team").order_by("due_at")[:BATCH])
    together: dict[tuple[str, str], list[Due]] = {}
    for row in rows:
        if row.kind in LOOK_AT_ALL:
            together.setdefault((row.team.schema_name, row.kind), []).append(row)
        else:
            _look(row.team.schema_name, partial(LOOK[row.kind], row.subject), [row])
    for (schema, kind), some in together.items():
        _look(schema, partial(LOOK_AT_ALL[kind], [row.subject for row in some]), some)
    dispatch.dispatch()
    return len(rows)


def _look(schema: str, verb: Callable[[], object], rows: list[Due]) -> None:
    crash_point("tick.found")
    try:
        with in_schema(schema), bound_contextvars(team=schema), unless_busy():
            verb()
    except Exception:
        # One broken row must not stop the others; it stays due, later.
        subjects = [str(row.subject) for row in rows]
        logger.exception("a due row could not be handled", kind=rows[0].kind, subject=subjects)
        with in_schema(PUBLIC):
            Due.objects.filter(pk__in=[row.pk for row in rows]).update(due_at=Now() + 10 * AGAIN)


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
