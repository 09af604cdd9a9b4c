"""Ends of executions that the clock brings: too long, or no progress. The database's clock decides."""

from datetime import timedelta
from functools import partial
from uuid import UUID

from django.db import transaction
from django.db.models import Q
from django.db.models.functions import Now

from agents import executions
from agents.models import Execution
from agents.nudges import nudge
from agents.states import LIVE, ExecutionState
from tenants import turns


def close(execution_id: UUID) -> bool:
    """Start-to-close: it may have taken too long. Returns whether this ended it."""
    over = Q(deadline_at__lt=Now())
    because = "it took longer than its time limit, and its runner did not end it"
    return _end(execution_id, "close", ExecutionState.TIMED_OUT, "timed_out", because, over)


def stall(execution_id: UUID) -> bool:
    """It may have made no progress for too long. Returns whether this ended it."""
    seconds = Execution.objects.filter(pk=execution_id).values_list("stall_seconds", flat=True).first()
    if not seconds:
        turns.settled("stall", execution_id)
        return False
    silent = Q(progress_at__lt=Now() - timedelta(seconds=seconds))
    because = f"no message, tool call or token for {seconds} s"
    return _end(execution_id, "stall", ExecutionState.STALLED, "stalled", because, silent)


def _end(execution_id: UUID, due: str, to: str, reason: str, because: str, guard: Q) -> bool:
    with transaction.atomic():
        if executions.end(execution_id, to, reason=reason, because=because, guard=guard):
            runner = Execution.objects.select_related("runner").get(pk=execution_id).runner
            transaction.on_commit(partial(nudge, runner, stale=[execution_id]))
            return True
    left = _left(execution_id, due)
    if left is None:
        turns.settled(due, execution_id)
    else:
        turns.postpone(due, execution_id, after=left)
    return False


def _left(execution_id: UUID, due: str) -> timedelta | None:
    """How long it still has; None when it is over."""
    rows = Execution.objects.filter(pk=execution_id, state__in=LIVE).annotate(now=Now())
    row = rows.first()
    at = row and (row.deadline_at if due == "close" else row.progress_at + timedelta(seconds=row.stall_seconds))
    return max(at - row.now, timedelta(seconds=1)) if row and at else None
