"""The figures of a swarm that has ended, from its rows."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from django.db.models import Count, Sum

from agents.models import Execution, ModelCall
from sessions.models import Event
from swarms.models import Attempt, CheckRun, Swarm

Span = tuple[datetime, datetime]


@dataclass(frozen=True)
class Figures:
    """What the summary shows."""

    nodes: int
    succeeded: int
    attempts: int
    again: tuple[tuple[str, int], ...]
    """Why attempts did not succeed, with how many."""
    check_runs: int
    before: tuple[int, int]
    after: tuple[int, int]
    """Checks that passed and all checks, on the base commit and on the commit that landed."""
    merged: int
    conflicts: int
    events: int
    calls: int
    rehearsed: int
    tokens: int
    cost: int | None
    """Millionths of a dollar; None when a price is not known."""
    wall: float
    working: float
    """Seconds in which at least one agent planned, worked or reviewed."""
    busy: float
    """Seconds in which an agent or a check ran."""
    approvals: tuple[tuple[str, str], ...]
    """What was decided, and by whom."""

    @property
    def coordination(self) -> float:
        """Share of the wall time in which neither an agent nor a check ran: decisions, approvals, merges, waiting."""
        return max(0.0, 1 - self.busy / self.wall) if self.wall else 0.0

    @property
    def agents(self) -> float:
        """Share of the wall time in which an agent worked."""
        return min(1.0, self.working / self.wall) if self.wall else 0.0


def figures(swarm: Swarm) -> Figures:
    """Read them, in the team's schema."""
    tries = Attempt.objects.filter(node__swarm=swarm)
    merges = Counter(swarm.merges.values_list("state", flat=True))
    executions = Execution.objects.filter(swarm=swarm.pk)
    sessions = [f"session:{pk}" for pk in executions.values_list("session_id", flat=True)]
    calls = ModelCall.objects.filter(execution__swarm=swarm.pk).aggregate(
        count=Count("pk"),
        priced=Count("cost_microusd"),
        tokens=Sum("input_tokens", default=0) + Sum("output_tokens", default=0),
        cost=Sum("cost_microusd", default=0),
    )
    end = swarm.ended_at or swarm.created_at
    spans = executions.exclude(started_at=None).values_list("kind", "started_at", "ended_at")
    ran = [(kind, start, stop or end) for kind, start, stop in spans if start]
    decided = swarm.approvals.exclude(decided_by=None).select_related("decided_by").order_by("decided_at")
    return Figures(
        nodes=swarm.nodes.count(),
        succeeded=swarm.nodes.filter(state="succeeded").count(),
        attempts=tries.count(),
        again=tuple(Counter(tries.exclude(reason="").values_list("reason", flat=True)).most_common()),
        check_runs=swarm.check_runs.exclude(state="void").count(),
        before=_checks(swarm, "before"),
        after=_checks(swarm, "landing"),
        merged=merges["merged"],
        conflicts=merges["conflicted"],
        events=Event.objects.filter(subject__in=[swarm.topic, *sessions]).count(),
        calls=calls["count"],
        rehearsed=ModelCall.objects.filter(execution__swarm=swarm.pk, rehearsal=True).count(),
        tokens=calls["tokens"],
        cost=calls["cost"] if calls["priced"] == calls["count"] else None,
        wall=(end - swarm.created_at).total_seconds(),
        working=covered((start, stop) for kind, start, stop in ran if kind != "check"),
        busy=covered((start, stop) for _, start, stop in ran),
        approvals=tuple((approval.title, str(approval.decided_by)) for approval in decided),
    )


def _checks(swarm: Swarm, purpose: str) -> tuple[int, int]:
    run = CheckRun.objects.filter(swarm=swarm, purpose=purpose).exclude(state="void").order_by("-created_at").first()
    return (run.passed, len(run.checks)) if run else (0, 0)


def covered(spans: Iterable[Span]) -> float:
    """Seconds that lie in at least one of the spans."""
    total, reached = 0.0, None
    for start, stop in sorted(spans):
        begin = start if reached is None else max(start, reached)
        if stop > begin:
            total += (stop - begin).total_seconds()
            reached = stop
    return total
