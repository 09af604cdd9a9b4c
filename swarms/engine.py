"""Carrying out what `decide` decides: one locked swarm, one transaction, compare-and-swap for every move."""

from collections.abc import Callable
from uuid import UUID

import structlog
from django.db import transaction
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
from swarms.decide import decide
from swarms.looking import snapshot
from swarms.models import Node, Plan, Swarm
from swarms.states import SWARM_ENDED, SWARM_STARTS, NodeState, PlanState, SwarmState
from tenants import turns
from tenants.faults import crash_point
from tenants.trace import begin_trace

logger = structlog.get_logger(__name__)
MAX_ROUNDS = 50
"""Decisions follow from each other only a few times; more is an error of ours, and the tick goes on."""


def advance(swarm_id: UUID, *, between: Callable[[], object] | None = None) -> None:
    """Decide and act until the swarm waits for something outside. Safe at any time, by several at once.

    `between` is called after a round that made nodes wait for the control plane, when the swarm is free: it serves
    them, and no message tells of them.
    """
    for _ in range(MAX_ROUNDS):
        follower = hints.Follower(swarm_id) if between else None
        with hints.followed(follower):
            rests = _round(swarm_id)
        if rests:
            return
        crash_point("engine.between_rounds")
        if between and follower and follower.is_wanted:
            between()
    logger.error("a swarm does not come to rest", swarm=str(swarm_id), rounds=MAX_ROUNDS)
    turns.settled("advance", swarm_id)
    turns.due("advance", swarm_id, after=hints.LOST_HINT)


@transaction.atomic
def _round(swarm_id: UUID) -> bool:
    """Decide once, and act. Returns whether the swarm has come to rest."""
    swarm = (
        Swarm.objects.select_for_update(no_key=True, of=("self",))
        .select_related("project", "goal__created_by")
        .get(pk=swarm_id)
    )
    structlog.contextvars.bind_contextvars(trace=begin_trace(swarm.trace))
    attended = replan.attend(swarm)
    if attended.acted:
        return False
    actions = decide(snapshot(swarm))
    for action in actions:
        apply(swarm, action)
    crash_point("engine.deciding")
    # Landing is for a worker: until it is done, the same decision would only be made again.
    if any(not isinstance(action, Land) for action in actions):
        return False
    # Not before: who is killed between two rounds leaves the rest to the reconciler.
    turns.settled("advance", swarm_id)
    if attended.has_no_room:
        turns.due("advance", swarm_id, after=admission.LOOK_AGAIN)
    return True


def apply(swarm: Swarm, action: Action) -> None:
    """Carry out one action on a locked swarm."""
    if isinstance(action, Land) and turns.is_due("land", swarm.pk):
        return  # decided before, and under way
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
            _ask_for_node(swarm, action)
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
            _land(swarm, action)
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
        is_told=not isinstance(action, CheckIntegration | Land),
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
        Land: "land what was checked" if getattr(action, "is_checked", False) else "check the commit that would land",
        RollBack: "roll back",
        MoveSwarm: f"move the swarm to {getattr(action, 'to', '')}",
    }[type(action)]


def _plan(swarm: Swarm) -> Plan:
    plan = swarm.newest_plan
    assert plan is not None, "only a swarm with a plan is asked about it"
    return plan


def _begin(swarm: Swarm, action: AdoptPlan) -> None:
    plan = _plan(swarm)
    first = planner.adopt(swarm, plan, because=action.why)
    crash_point("plan.adopting")
    # No earlier version can have been adopted: this one begins the swarm.
    if required := landing.required(swarm, [plan.document]):
        checks.ask(swarm, "before", swarm.base_commit, required)
    move(swarm, SwarmState.RUNNING, because=action.why, started_at=timezone.now())
    progress.release(swarm.pk, consider=first)


def _ask_for_node(swarm: Swarm, action: AskForNode) -> None:
    node = swarm.nodes.get(key=action.node)
    if node.state == NodeState.AWAITING_APPROVAL or move(node, NodeState.AWAITING_APPROVAL, because=action.why):
        approvals.ask_node(node)


def _land(swarm: Swarm, action: Land) -> None:
    # Somebody may have been asked before the project's policy asked nobody any more; so with plans.
    approvals.void(swarm, because=action.why, kind="landing")
    hints.land(swarm.pk)


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
        progress.over(swarm.pk)
    if action.to == SwarmState.LANDING:
        turns.settled("land", swarm.pk)  # due still if who landed it in an earlier try died
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
