"""Reading what a decision looks at: of a locked swarm, by its state."""

from collections.abc import Callable
from typing import Any

from django.db.models import Count, Q

from agents.models import Execution
from agents.states import LIVE
from swarms import admission, compensation, landing, replan, rollback
from swarms.decide import LOOKS_AT, NodeView, Snapshot
from swarms.models import Approval, Node, Swarm
from swarms.release import FanIn
from swarms.states import NodeState

ASKS_FOR_DECISION = Q(state__in=[NodeState.AWAITING_APPROVAL, NodeState.FAILED, NodeState.CANCELLED]) | Q(
    Q(deps_left=0) | Q(fan_in=FanIn.ANY_SUCCESS, deps_ok__gt=0), state=NodeState.BLOCKED
)


def snapshot(swarm: Swarm) -> Snapshot:
    """What the decision needs to know of a locked swarm."""
    facts: dict[str, Any] = {}
    for name in LOOKS_AT.get(swarm.state, ()):
        if name not in facts:
            facts |= _READERS[name](swarm)
    return Snapshot(state=swarm.state, because=swarm.because, **facts)


def _plan(swarm: Swarm) -> dict[str, Any]:
    plan = swarm.newest_plan
    if plan is None:
        return {"plan": "", "plan_approval": "", "plan_because": "", "no_room": ""}
    gate = plan.approvals.filter(kind="plan").order_by("-requested_at").first()
    return {
        "plan": plan.state,
        "plan_approval": gate.state if gate else "",
        "plan_because": gate.because if gate else "",
        "no_room": admission.why_not_adopt(plan),
    }


def _nodes(swarm: Swarm) -> dict[str, Any]:
    """Nodes that ask for a decision; the others are counted: the cost of deciding does not grow with the plan."""
    nodes = list(swarm.nodes.filter(ASKS_FOR_DECISION).order_by("key"))
    gates = Approval.objects.filter(node__in=nodes, kind="node").order_by("requested_at")
    asked = dict(gates.values_list("node_id", "state")) if nodes else {}
    return {"nodes": tuple(_view(node, asked.get(node.pk, "")) for node in nodes), "counts": _counts(swarm)}


def _view(node: Node, approval: str) -> NodeView:
    return NodeView(
        key=node.key,
        state=node.state,
        fan_in=node.fan_in,
        on_failure=node.on_failure,
        parents=node.parents,
        deps_left=node.deps_left,
        deps_ok=node.deps_ok,
        risky=node.risk == "high",
        trifecta=node.trifecta,
        approval=approval,
        because=node.because,
        is_undo=node.undoes_id is not None,
    )


def _counts(swarm: Swarm) -> dict[str, int]:
    return dict(swarm.nodes.filter(dropped_by=None).order_by().values_list("state").annotate(Count("pk")))


def _check(swarm: Swarm, **purpose: str) -> str:
    """State of the last check run of this purpose since the swarm began anew."""
    runs = swarm.check_runs.filter(created_at__gte=swarm.begun_anew_at, **purpose).order_by("-created_at")
    return runs.values_list("state", flat=True).first() or ""


def _landing(swarm: Swarm) -> dict[str, Any]:
    gates = Approval.objects.filter(swarm=swarm, kind="landing", requested_at__gte=swarm.begun_anew_at)
    return {
        "landing_needs_approval": swarm.project.approve_landing or (not swarm.undoes and _worries(swarm)),
        "landing_approval": gates.order_by("-requested_at").values_list("state", flat=True).first() or "",
        "landing_check": _check(swarm, purpose="landing"),
    }


def _worries(swarm: Swarm) -> bool:
    """A reviewer asked for changes, or nodes are missing: then a person looks at it, whatever the policy is."""
    counts = _counts(swarm)
    if counts.get(NodeState.FAILED) or counts.get(NodeState.SKIPPED):
        return True
    return any(review["summary"].startswith("request_changes") for review in landing.reviews(swarm))


def _work(swarm: Swarm) -> dict[str, Any]:
    return {"live_executions": Execution.objects.filter(swarm=swarm.pk, state__in=LIVE).count()}


def _whole(swarm: Swarm) -> dict[str, Any]:
    return {"integration_check": _check(swarm, purpose="integration", commit=swarm.integration_commit)}


_READERS: dict[str, Callable[[Swarm], dict[str, Any]]] = {
    "nodes": _nodes,
    "counts": _nodes,
    "is_replanning": lambda swarm: {"is_replanning": bool(replan.open_changes(swarm))},
    "plan": _plan,
    "plan_approval": _plan,
    "plan_because": _plan,
    "no_room": _plan,
    "plan_needs_approval": lambda swarm: {"plan_needs_approval": swarm.project.approve_plan},
    "integration_check": _whole,
    "landing_needs_approval": _landing,
    "landing_approval": _landing,
    "landing_check": _landing,
    "live_executions": _work,
    "undoable": lambda swarm: {"undoable": len(compensation.effects(swarm))},
    "standing": lambda swarm: {"standing": compensation.standing(swarm)},
    "rollback_approval": lambda swarm: {"rollback_approval": rollback.answer(swarm)},
    "takes_back": lambda swarm: {"takes_back": compensation.takes_back(swarm)},
}
"""Who reads a field of the snapshot, perhaps with others that are read together."""
