"""Carrying out what `decide` decides: one locked swarm, one transaction, compare-and-swap for every move."""

from uuid import UUID

import structlog
from django.db import transaction
from django.db.models import Count, Q
from django.utils import timezone

from agents import executions
from agents.models import Execution
from agents.states import LIVE
from sessions.events import publish
from sessions.transitions import move
from swarms import (
    admission,
    approvals,
    attempts,
    checks,
    compensation,
    hints,
    landing,
    planner,
    progress,
    replan,
    rollback,
)
from swarms.actions import (
    Action,
    AdoptPlan,
    AskForLanding,
    AskForNode,
    AskForPlan,
    CheckIntegration,
    EndWaiting,
    FailNode,
    Land,
    MakeReady,
    MoveSwarm,
    RejectPlan,
    Release,
    RollBack,
    TurnBackPlan,
)
from swarms.decide import NodeView, Snapshot, decide
from swarms.models import Approval, Node, Plan, Swarm
from swarms.release import FanIn
from swarms.states import SWARM_ENDED, SWARM_STARTS, NodeState, PlanState, SwarmState
from tenants import turns
from tenants.faults import crash_point
from tenants.trace import begin_trace

logger = structlog.get_logger(__name__)
MAX_ROUNDS = 50
"""Decisions follow from each other only a few times; more is an error of ours, and the tick goes on."""


def advance(swarm_id: UUID) -> None:
    """Decide and act until the swarm waits for something outside. Safe at any time, by several at once."""
    for _ in range(MAX_ROUNDS):
        with transaction.atomic():
            swarm = (
                Swarm.objects.select_for_update(no_key=True, of=("self",))
                .select_related("project", "goal__created_by")
                .get(pk=swarm_id)
            )
            begin_trace(swarm.trace)
            attended = replan.attend(swarm)
            if attended.acted:
                continue
            actions = decide(snapshot(swarm))
            for action in actions:
                apply(swarm, action)
            crash_point("engine.deciding")
            # Landing is for a worker: until it is done, the same decision would only be made again.
            # Not before: who is killed between two rounds leaves the rest to the reconciler.
            if all(isinstance(action, Land) for action in actions):
                turns.settled("advance", swarm_id)
                if attended.has_no_room:
                    turns.due("advance", swarm_id, after=admission.LOOK_AGAIN)
                return
        crash_point("engine.between_rounds")
    logger.error("a swarm does not come to rest", swarm=str(swarm_id), rounds=MAX_ROUNDS)
    turns.settled("advance", swarm_id)
    turns.due("advance", swarm_id, after=hints.LOST_HINT)


def snapshot(swarm: Swarm) -> Snapshot:
    """What the decision needs to know of a locked swarm."""
    plan = swarm.plans.order_by("-version").first()
    plan_gate = Approval.objects.filter(swarm=swarm, kind="plan", plan=plan).order_by("-requested_at").first()
    since = swarm.begun_anew_at
    gates = Approval.objects.filter(swarm=swarm, kind="landing", requested_at__gte=since)
    gate = gates.order_by("-requested_at").first()
    runs = swarm.check_runs.filter(created_at__gte=since).order_by("-created_at")
    whole = runs.filter(purpose="integration", commit=swarm.integration_commit).first()
    landing_run = runs.filter(purpose="landing").first()
    counts = dict(swarm.nodes.filter(dropped_by=None).order_by().values_list("state").annotate(Count("pk")))
    return Snapshot(
        state=swarm.state,
        nodes=_frontier(swarm),
        counts=counts,
        live_executions=Execution.objects.filter(swarm=swarm.pk, state__in=LIVE).count(),
        integration_check=whole.state if whole else "",
        plan=plan.state if plan else "",
        no_room=admission.why_not_adopt(plan) if plan and swarm.state == SwarmState.PROPOSED else "",
        is_replanning=swarm.state == SwarmState.RUNNING and bool(replan.open_changes(swarm)),
        plan_needs_approval=swarm.project.approve_plan,
        plan_approval=plan_gate.state if plan_gate else "",
        plan_because=plan_gate.because if plan_gate else "",
        landing_needs_approval=swarm.project.approve_landing or (not swarm.undoes and _worries(swarm, counts)),
        landing_approval=gate.state if gate else "",
        landing_check=landing_run.state if landing_run else "",
        undoable=len(compensation.effects(swarm)) if swarm.state == SwarmState.FAILING else 0,
        because=swarm.because,
        standing=compensation.standing(swarm) if swarm.state == SwarmState.FAILING else None,
        rollback_approval=rollback.answer(swarm),
        takes_back=swarm.undoes and compensation.takes_back(swarm),
    )


ASKS_FOR_DECISION = Q(state__in=[NodeState.AWAITING_APPROVAL, NodeState.FAILED, NodeState.CANCELLED]) | Q(
    Q(deps_left=0) | Q(fan_in=FanIn.ANY_SUCCESS, deps_ok__gt=0), state=NodeState.BLOCKED
)


def _frontier(swarm: Swarm) -> tuple[NodeView, ...]:
    """Nodes that ask for a decision: the cost of deciding does not grow with the plan."""
    nodes = list(swarm.nodes.filter(ASKS_FOR_DECISION).order_by("key"))
    asked = dict(
        Approval.objects.filter(node__in=[node.pk for node in nodes], kind="node")
        .order_by("requested_at")
        .values_list("node_id", "state")
    )
    return tuple(
        NodeView(
            key=node.key,
            state=node.state,
            fan_in=node.fan_in,
            on_failure=node.on_failure,
            parents=node.parents,
            deps_left=node.deps_left,
            deps_ok=node.deps_ok,
            risky=node.risk == "high",
            approval=asked.get(node.pk, ""),
            because=node.because,
            is_undo=node.undoes_id is not None,
        )
        for node in nodes
    )


def _worries(swarm: Swarm, counts: dict[str, int]) -> bool:
    """A reviewer asked for changes, or nodes are missing: then a person looks at it, whatever the policy is."""
    if counts.get(NodeState.FAILED) or counts.get(NodeState.SKIPPED):
        return True
    return any(review["summary"].startswith("request_changes") for review in landing.reviews(swarm))


def apply(swarm: Swarm, action: Action) -> None:
    """Carry out one action on a locked swarm."""
    match action:
        case AskForPlan():
            approvals.ask_plan(_plan(swarm))
        case AdoptPlan():
            _begin(swarm, action)
        case TurnBackPlan():
            planner.turn_back(swarm, _plan(swarm), because=action.why)
        case RejectPlan():
            planner.reject(swarm, _plan(swarm), because=action.why)
        case MakeReady():
            _make_ready(swarm, action)
        case AskForNode():
            node = swarm.nodes.get(key=action.node)
            if node.state == NodeState.AWAITING_APPROVAL or move(node, NodeState.AWAITING_APPROVAL, because=action.why):
                approvals.ask_node(node)
        case FailNode():
            _fail_node(swarm, action)
        case Release():
            free = swarm.nodes.filter(key__in=action.nodes, state=NodeState.BLOCKED)
            progress.release(swarm.pk, consider=free.values_list("pk", flat=True))
        case EndWaiting():
            progress.end_waiting(swarm, action.to, because=action.why)
        case CheckIntegration():
            checks.ask(swarm, "integration", swarm.integration_commit, landing.acceptance(swarm))
        case AskForLanding():
            approvals.ask_landing(swarm, landing.reviews(swarm))
        case Land():
            hints.land(swarm.pk)
        case RollBack():
            rollback.begin(swarm, because=action.why)
        case MoveSwarm():
            _move_swarm(swarm, action)
    publish(
        swarm.topic,
        "decision.made",
        by="engine",
        what=_words(action),
        why=action.why,
        node=getattr(action, "node", ""),
    )


def _words(action: Action) -> str:
    """What an action does, for the event that tells of it."""
    return {
        AskForPlan: "ask a person about the plan",
        AdoptPlan: "start the swarm",
        TurnBackPlan: "turn the plan back",
        RejectPlan: "plan again",
        MakeReady: "make the node ready",
        AskForNode: "ask a person about the node",
        FailNode: "fail the node",
        Release: "let nodes start that nothing holds back",
        EndWaiting: "end what has not started",
        CheckIntegration: "check the whole result",
        AskForLanding: "ask a person about the landing",
        Land: "land",
        RollBack: "roll back",
        MoveSwarm: f"move the swarm to {getattr(action, 'to', '')}",
    }[type(action)]


def _plan(swarm: Swarm) -> Plan:
    return swarm.plans.select_related("swarm__project", "swarm__goal__created_by", "created_by").order_by("-version")[0]


def _begin(swarm: Swarm, action: AdoptPlan) -> None:
    planner.adopt(swarm, _plan(swarm), because=action.why)
    crash_point("plan.adopting")
    checks.ask(swarm, "before", swarm.base_commit, landing.acceptance(swarm))
    move(swarm, SwarmState.RUNNING, because=action.why, started_at=timezone.now())
    progress.release(swarm.pk, consider=swarm.nodes.filter(parents=0).values_list("pk", flat=True))


def _fail_node(swarm: Swarm, action: FailNode) -> None:
    node = swarm.nodes.get(key=action.node)
    if move(node, NodeState.FAILED, because=action.why, ended_at=timezone.now()):
        progress.release(swarm.pk, ended=[node.pk])


def _make_ready(swarm: Swarm, action: MakeReady) -> None:
    node = swarm.nodes.get(key=action.node)
    if move(node, NodeState.READY, because=action.why, ready_at=timezone.now()) and swarm.state in SWARM_STARTS:
        progress.queue(swarm, [node])


def _move_swarm(swarm: Swarm, action: MoveSwarm) -> None:
    ends = action.to in SWARM_ENDED
    if not move(swarm, action.to, because=action.why, ended_at=timezone.now() if ends else None):
        return
    if ends:
        turns.settled("swarm_deadline", swarm.pk)
    if action.to in (SwarmState.CANCELLING, SwarmState.FAILING):
        stop_work(swarm, because=action.why)


def stop_work(swarm: Swarm, *, because: str) -> None:
    """A swarm is cancelling or failing: let nothing new start, and ask everything live to stop."""
    approvals.void(swarm, because=because)
    progress.end_waiting(swarm, NodeState.CANCELLED, because=because)
    open_plans = swarm.plans.filter(state__in=[PlanState.DRAFTING, PlanState.PROPOSED, PlanState.INVALID])
    for plan in open_plans.select_related("swarm"):
        move(plan, PlanState.SUPERSEDED, because=because)
        turns.unqueue("plan", plan.pk)
    checks.void(swarm, because)
    waiting = Node.objects.filter(swarm=swarm, state__in=[NodeState.VERIFYING, NodeState.MERGING])
    for node in waiting.select_related("swarm"):
        _cancel_waiting(node, because)
    executions.request_cancel(Execution.objects.filter(swarm=swarm.pk, state__in=LIVE))


def _cancel_waiting(node: Node, because: str) -> None:
    """A node whose agent is done, and whose commit waits for checks or its merge."""
    for attempt in node.attempts.filter(ended_at=None):
        attempts.fail(attempt, reason="cancelled", because=because)
