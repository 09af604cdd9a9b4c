"""Looking for the lost: whatever is due is looked at, whether or not a hint arrived."""

from collections.abc import Callable
from datetime import timedelta
from uuid import UUID

import structlog
from django.conf import settings
from django.db.models.functions import Now
from structlog.contextvars import bound_contextvars

from agents import executions
from swarms import approvals, dispatch, engine, operations
from tenants import turns
from tenants.context import PUBLIC, in_schema
from tenants.messages import send_on_commit
from tenants.models import Due, Team
from tenants.states import TeamState

logger = structlog.get_logger(__name__)
BATCH = 200
AGAIN = timedelta(seconds=3)
"""When something that was handed to an actor is looked at next."""


def _hand_over(actor: str) -> Callable[[UUID], None]:
    """Work with a repository is for the workers; here it is only hinted again."""

    def hint(subject: UUID) -> None:
        turns.postpone(actor, subject, after=AGAIN)
        send_on_commit(actor, str(subject))

    return hint


def _reap(subject: UUID) -> None:
    if not executions.reap(subject):
        # Renewed, or ended by somebody else: the row that ended it removed this one too.
        turns.postpone("lease", subject, after=timedelta(seconds=1))


LOOK: dict[str, Callable[[UUID], object]] = {
    "lease": _reap,
    "advance": engine.advance,
    "approval": approvals.expire,
    "swarm_deadline": operations.expire,
    "step": _hand_over("step"),
    "merge": _hand_over("merge"),
    "land": _hand_over("land"),
    "fetch": _hand_over("fetch"),
}


def tick() -> int:
    """Look at everything that is due, and give out turns. Returns how many were looked at."""
    with in_schema(PUBLIC):
        rows = list(Due.objects.filter(due_at__lte=Now()).select_related("team").order_by("due_at")[:BATCH])
    for row in rows:
        try:
            with in_schema(row.team.schema_name), bound_contextvars(team=row.team.schema_name):
                LOOK[row.kind](row.subject)
        except Exception:
            # One broken row must not stop the others; it stays due, later.
            logger.exception("a due row could not be handled", kind=row.kind, subject=str(row.subject))
            with in_schema(PUBLIC):
                Due.objects.filter(pk=row.pk).update(due_at=Now() + 10 * AGAIN)
    dispatch.dispatch()
    return len(rows)


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
