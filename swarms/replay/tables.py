"""The scene that the tables show now: what the fold of all events must give, too."""

from typing import Any
from uuid import UUID

from django.db.models import Count, Sum

from agents.models import Execution, ModelCall
from agents.states import LIVE
from sessions.models import Subject
from swarms import answering
from swarms.models import Attempt, Edge, Merge, Node, Swarm
from swarms.replay.scene import (
    MOST_ATTEMPTS,
    AskSeen,
    AttemptSeen,
    NodeSeen,
    PlanSeen,
    Scene,
    Spent,
    WhenSeen,
    WorkSeen,
)
from swarms.states import ApprovalState, MergeState, SwarmState


def seen(swarm: Swarm) -> Scene:
    """A swarm, read from its rows. Between the steps of a landing it shows what the events already tell."""
    landed = "" if swarm.state == SwarmState.LANDING else swarm.landed_commit
    back = "" if swarm.state == SwarmState.ROLLING_BACK else swarm.rolled_back_commit
    return Scene(
        seq=Subject.objects.filter(name=swarm.topic).values_list("last_seq", flat=True).first() or 0,
        began=swarm.created_at,
        number=swarm.number,
        goal=swarm.goal.text[:500],
        base=swarm.forked_commit or swarm.base_commit,
        state=swarm.state,
        because=swarm.because,
        branch=swarm.integration_commit,
        landed=landed,
        landed_on=swarm.project.target_branch if landed or back else "",
        pushed=(swarm.pushed_because or "pushed") if landed or back else "",
        rolled_back=back,
        priority=swarm.priority,
        deadline=swarm.deadline_at.isoformat() if swarm.deadline_at else "",
        nodes={node.id: node for node in _nodes(swarm)},
        attempts=_attempts(swarm),
        works={work.id: work for work in _works(swarm)},
        asks={ask.id: ask for ask in _asks(swarm)},
        plans={str(pk): plan for pk, plan in _plans(swarm)},
        merges=_merges(swarm),
        spent=_spent(swarm),
    )


def _nodes(swarm: Swarm) -> list[NodeSeen]:
    rows = list(Node.objects.filter(swarm=swarm).select_related("plan"))
    keys = {row.pk: row.key for row in rows}
    wires: dict[UUID, list[tuple[str, dict[str, Any] | None]]] = {}
    edges = Edge.objects.filter(child__swarm=swarm).order_by("parent__key")
    for child, parent, condition in edges.values_list("child_id", "parent__key", "condition"):
        wires.setdefault(child, []).append((parent, condition))
    return [_node(row, wires.get(row.pk, []), keys) for row in rows]


def _node(row: Node, wires: list[tuple[str, dict[str, Any] | None]], keys: dict[UUID, str]) -> NodeSeen:
    when = tuple(WhenSeen(key, **c | {"values": tuple(c["values"])}) for key, c in wires if c)
    return NodeSeen(
        id=str(row.pk),
        key=row.key,
        title=row.title,
        kind=row.kind,
        role=row.role,
        risk=row.risk,
        parents=tuple(key for key, _ in wires),
        when=when,
        version=row.plan.version,
        priority=row.priority,
        max_attempts=row.max_attempts,
        under=keys[row.parent_id] if row.parent_id else "",
        undoes=keys[row.undoes_id] if row.undoes_id else "",
        state=row.state,
        because=row.because,
        attempts=row.attempts_made,
        is_dropped=row.dropped_by_id is not None,
        began=row.started_at,
        ended=row.ended_at,
        answers=answering.of(row),
    )


def _attempts(swarm: Swarm) -> dict[str, tuple[AttemptSeen, ...]]:
    rows = Attempt.objects.filter(node__swarm=swarm).select_related("node", "execution").order_by("number")
    found: dict[str, list[AttemptSeen]] = {}
    for row in rows:
        agent, session = (row.execution.agent, str(row.execution.session_id)) if row.execution else ("", "")
        seen = AttemptSeen(row.node.key, row.number, row.state, row.reason, row.because, agent, session)
        found.setdefault(row.node.key, []).append(seen)
    return {key: tuple(tries[-MOST_ATTEMPTS:]) for key, tries in found.items()}


def _works(swarm: Swarm) -> list[WorkSeen]:
    rows = Execution.objects.filter(swarm=swarm.pk, state__in=LIVE).select_related("runner", "session")
    return [
        WorkSeen(
            str(row.pk),
            row.kind,
            row.subject,
            row.agent,
            row.runner.name,
            str(row.session_id),
            row.session.title,
            row.state,
            row.session.doing,
            row.created_at,
        )
        for row in rows
    ]


def _asks(swarm: Swarm) -> list[AskSeen]:
    rows = swarm.approvals.filter(state=ApprovalState.PENDING).select_related("node")
    return [AskSeen(str(r.pk), r.kind, r.title, r.node.key if r.node else "", r.requested_at) for r in rows]


def _plans(swarm: Swarm) -> list[tuple[UUID, PlanSeen]]:
    rows = swarm.plans.exclude(digest="").select_related("node")  # what was never proposed has none
    return [(r.pk, PlanSeen(r.version, r.source, r.node.key if r.node else "", r.state)) for r in rows]


def _merges(swarm: Swarm) -> dict[str, str]:
    rows = Merge.objects.filter(swarm=swarm, state=MergeState.MERGED).order_by("ended_at", "pk")
    return dict(rows.values_list("attempt__node__key", "commit"))


def _spent(swarm: Swarm) -> Spent:
    calls = ModelCall.objects.filter(execution__swarm=swarm.pk)
    sums = calls.aggregate(
        tokens=Sum("input_tokens", default=0) + Sum("output_tokens", default=0),
        cost=Sum("cost_microusd", default=0),
        priced=Count("cost_microusd"),
        all=Count("pk"),
    )
    rehearsed = calls.filter(rehearsal=True).count()
    return Spent(sums["tokens"], sums["cost"], sums["priced"], sums["all"] - sums["priced"], rehearsed)
