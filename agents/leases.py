"""How long a runner may be silent, and an execution take: leases, time limits, and the heartbeats that keep them."""

from collections.abc import Iterable
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import connection
from django.db.models.functions import Now

from agents import steering
from agents.budgets import LEFT
from agents.contracts import Assignment
from agents.contracts.link import Beat, Order
from agents.models import Execution
from agents.ports import settlement
from agents.states import LIVE
from tenants import tokens, turns

TIME_LIMIT = Assignment.model_fields["time_limit"].default
DUES = ("lease", "close", "stall")
"""Kinds of due times that an execution may have: see swarms.reconcile.LOOK."""
_WORDS = ", ".join(f"'{state}'" for state in sorted(LIVE))


def lease() -> timedelta:
    """How long a runner may be silent."""
    return timedelta(seconds=settings.LEASE_SECONDS)


def token_subject(execution: UUID) -> str:
    """What an execution's attempt token is bound to."""
    return f"execution:{execution}"


def extend(execution: Execution) -> None:
    """A whole lease from now on."""
    Execution.objects.filter(pk=execution.pk).update(lease_until=Now() + lease())
    turns.postpone("lease", execution.pk, after=lease())


def limit(execution: Execution) -> None:
    """From its start on it has so much time, and must make progress."""
    # Its runner knows the limit and ends it with a word of its own; a lease later the control plane does it.
    limit = timedelta(seconds=float(execution.assignment.get("time_limit", TIME_LIMIT))) + lease()
    Execution.objects.filter(pk=execution.pk).update(deadline_at=Now() + limit, progress_at=Now())
    turns.due("close", execution.pk, after=limit)
    if execution.stall_seconds:
        turns.due("stall", execution.pk, after=timedelta(seconds=execution.stall_seconds))


STALE = Order(verdict="stale")
_BEAT = f"""
WITH said AS (
  SELECT * FROM unnest(%s::uuid[], %s::uuid[], %s::int[]) AS b (id, fence, progress)
), live AS (
  SELECT e.id, e.swarm, e.cancel_at, {LEFT} AS money FROM agents_execution e JOIN said b USING (id, fence)
  WHERE e.state IN ({_WORDS})
), free AS (
  SELECT e.id FROM agents_execution e JOIN live USING (id) ORDER BY e.id FOR NO KEY UPDATE OF e SKIP LOCKED
), kept AS (
  UPDATE agents_execution e SET lease_until = statement_timestamp() + %s,
    progress_at = CASE WHEN b.progress > e.progress THEN statement_timestamp() ELSE e.progress_at END,
    progress = greatest(e.progress, b.progress)
  FROM said b, free WHERE e.id = b.id AND e.id = free.id AND e.state IN ({_WORDS}) RETURNING e.id
)
SELECT live.id, live.swarm, live.cancel_at IS NOT NULL, live.money, kept.id IS NOT NULL
FROM live LEFT JOIN kept USING (id)
"""


def heartbeats(live: Iterable[Beat]) -> dict[UUID, Order]:
    """Keep the leases of this team's executions, in one statement. What is to be done with each, and what people say
    to their agents.

    The database's clock decides. One that is locked (its outcome is just coming in) is left alone until the next beat.
    """
    beats = list(live)
    words: list[Any] = [
        [one.execution for one in beats],
        [one.fence for one in beats],
        [one.progress for one in beats],
        lease(),
    ]
    with connection.cursor() as cursor:
        cursor.execute(_BEAT, words)
        found = cursor.fetchall()
    steering.took({one.execution: one.taken for one in beats if one.taken})
    said = steering.waiting([execution for execution, *_ in found])
    tokens.renew(*(token_subject(execution) for execution, _, _, _, kept in found if kept))
    paused = settlement().paused({swarm for _, swarm, _, _, _ in found})
    orders = {
        execution: Order(
            verdict="cancel" if asked else "continue",
            pause=swarm in paused,
            budget_left=money,
            steer=said.get(execution, ()),
        )
        for execution, swarm, asked, money, _ in found
    }
    return {one.execution: orders.get(one.execution, STALE) for one in beats}


def heartbeat(execution_id: UUID, fence: UUID, progress: int) -> str:
    """Keep one lease: see `heartbeats`. Returns the verdict."""
    return heartbeats([Beat(execution=execution_id, fence=fence, progress=progress)])[execution_id].verdict
