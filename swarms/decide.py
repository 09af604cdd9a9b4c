"""What must happen next in a swarm: pure decisions over a frozen snapshot."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from swarms.states import NODE_LIVE, ApprovalState, CheckRunState, NodeState, PlanState, SwarmState

MAX_LOSSES = 3
"""Attempts lost in a row until a node counts as poison: something in it kills its runner."""
FIRST_DELAY = timedelta(seconds=2)
LONGEST_DELAY = timedelta(minutes=5)


@dataclass(frozen=True)
class NodeView:
    """A node as the decision sees it."""

    key: str
    state: str
    parents: tuple[str, ...] = ()
    risky: bool = False
    approval: str = ""
    """State of its last approval; empty: nobody was asked."""
    not_before: datetime | None = None
    because: str = ""


@dataclass(frozen=True)
class Snapshot:
    """A swarm at one moment, as its transaction sees it."""

    state: str
    nodes: tuple[NodeView, ...] = ()
    live_executions: int = 0
    integration_check: str = ""
    """State of the check run on the whole result; empty: none on this commit."""
    plan: str = ""
    """State of the last plan."""
    plan_needs_approval: bool = True
    plan_approval: str = ""
    plan_because: str = ""
    """What was said with the plan's approval."""
    landing_needs_approval: bool = True
    landing_approval: str = ""
    landing_check: str = ""


@dataclass(frozen=True)
class Action:
    """One thing to do; `why` is written with it."""

    why: str


@dataclass(frozen=True)
class MakeReady(Action):
    node: str


@dataclass(frozen=True)
class AskForNode(Action):
    node: str


@dataclass(frozen=True)
class FailNode(Action):
    node: str


@dataclass(frozen=True)
class CancelNodes(Action):
    """Cancel what has not started and ask live work to stop."""

    nodes: tuple[str, ...] = field(default=())


@dataclass(frozen=True)
class MoveSwarm(Action):
    to: str


@dataclass(frozen=True)
class AdoptPlan(Action):
    pass


@dataclass(frozen=True)
class RejectPlan(Action):
    pass


@dataclass(frozen=True)
class AskForPlan(Action):
    pass


@dataclass(frozen=True)
class CheckIntegration(Action):
    pass


@dataclass(frozen=True)
class AskForLanding(Action):
    pass


@dataclass(frozen=True)
class Land(Action):
    pass


def decide(swarm: Snapshot) -> list[Action]:
    """All actions that follow from the snapshot; none when the swarm waits for something outside."""
    match swarm.state:
        case SwarmState.PROPOSED:
            return _proposed(swarm)
        case SwarmState.RUNNING | SwarmState.PAUSED:
            return _running(swarm)
        case SwarmState.INTEGRATING:
            return _integrating(swarm)
        case SwarmState.LANDING:
            return _landing(swarm)
        case SwarmState.CANCELLING | SwarmState.FAILING:
            return _stopping(swarm)
    return []


def _proposed(swarm: Snapshot) -> list[Action]:
    if swarm.plan != PlanState.PROPOSED:
        return []
    if not swarm.plan_needs_approval:
        return [AdoptPlan("the project's policy asks nobody")]
    match swarm.plan_approval:
        case ApprovalState.APPROVED:
            return [AdoptPlan(swarm.plan_because or "it was approved")]
        case ApprovalState.REJECTED | ApprovalState.EXPIRED:
            return [RejectPlan(swarm.plan_because or f"its approval was {swarm.plan_approval}")]
        case ApprovalState.VOID | "":
            return [AskForPlan("the project's policy asks a person")]
    return []


def _running(swarm: Snapshot) -> list[Action]:
    if failed := [node for node in swarm.nodes if node.state in (NodeState.FAILED, NodeState.CANCELLED)]:
        first = failed[0]
        return [MoveSwarm(f"node {first.key} {first.state}: {first.because}", SwarmState.FAILING)]
    if swarm.nodes and all(node.state == NodeState.SUCCEEDED for node in swarm.nodes):
        if swarm.state == SwarmState.PAUSED:
            return []
        return [MoveSwarm("every node is merged", SwarmState.INTEGRATING)]
    done = {node.key for node in swarm.nodes if node.state == NodeState.SUCCEEDED}
    actions: list[Action] = []
    for node in swarm.nodes:
        if node.state == NodeState.BLOCKED and done.issuperset(node.parents):
            why = f"{', '.join(node.parents)} succeeded" if node.parents else "it waits for nothing"
            actions.append(AskForNode(f"{why}; its risk is high", node.key) if node.risky else MakeReady(why, node.key))
        elif node.state == NodeState.AWAITING_APPROVAL:
            actions += _approved(node)
    return actions


def _approved(node: NodeView) -> list[Action]:
    match node.approval:
        case ApprovalState.APPROVED:
            return [MakeReady("it was approved", node.key)]
        case ApprovalState.REJECTED | ApprovalState.EXPIRED:
            return [FailNode(f"its approval was {node.approval}", node.key)]
        case ApprovalState.VOID | "":
            return [AskForNode("its approval is void", node.key)]
    return []


def _integrating(swarm: Snapshot) -> list[Action]:
    match swarm.integration_check:
        case "" | CheckRunState.VOID:
            return [CheckIntegration("the whole result has not been checked yet")]
        case CheckRunState.PASSED:
            return [MoveSwarm("the whole result passes its checks", SwarmState.LANDING)]
        case CheckRunState.FAILED | CheckRunState.BROKEN:
            return [MoveSwarm(f"the checks on the whole result {swarm.integration_check}", SwarmState.FAILING)]
    return []


def _landing(swarm: Snapshot) -> list[Action]:
    if swarm.landing_check in (CheckRunState.FAILED, CheckRunState.BROKEN):
        return [MoveSwarm(f"the checks on the commit to land {swarm.landing_check}", SwarmState.FAILING)]
    if not swarm.landing_needs_approval or swarm.landing_approval == ApprovalState.APPROVED:
        why = "it was approved" if swarm.landing_needs_approval else "the project's policy asks nobody"
        return [Land(why)] if swarm.landing_check in ("", CheckRunState.VOID, CheckRunState.PASSED) else []
    match swarm.landing_approval:
        case "" | ApprovalState.VOID:
            return [AskForLanding("the project's policy asks a person")]
        case ApprovalState.REJECTED | ApprovalState.EXPIRED:
            return [MoveSwarm(f"the landing was {swarm.landing_approval}", SwarmState.FAILING)]
    return []


def _stopping(swarm: Snapshot) -> list[Action]:
    open_nodes = tuple(
        node.key
        for node in swarm.nodes
        if node.state in (NodeState.BLOCKED, NodeState.READY, NodeState.AWAITING_APPROVAL)
    )
    live = tuple(node.key for node in swarm.nodes if node.state in NODE_LIVE)
    word = "cancelled" if swarm.state == SwarmState.CANCELLING else "failed"
    if open_nodes:
        return [CancelNodes(f"the swarm is {swarm.state}", open_nodes)]
    if live or swarm.live_executions:
        return []
    return [MoveSwarm("all work has stopped", SwarmState.CANCELLED if word == "cancelled" else SwarmState.FAILED)]


@dataclass(frozen=True)
class Again:
    """Try again, not before the delay has passed."""

    delay: timedelta


@dataclass(frozen=True)
class GiveUp:
    """No further attempt, and why."""

    why: str


NEVER_AGAIN = frozenset({"sandbox_missing", "cancelled"})
"""Reasons that another attempt cannot mend."""


def after_failure(
    reason: str, message: str, *, failures: int, losses: int, max_attempts: int, jitter: float
) -> Again | GiveUp:
    """Whether a node is tried again.

    `failures` and `losses` include this attempt; `jitter` is a random number in [0, 1).
    Lost attempts start again at once and do not count as failures; the third in a row is poison.
    """
    if reason in NEVER_AGAIN:
        return GiveUp(message or reason)
    if reason == "lost":
        if losses >= MAX_LOSSES:
            return GiveUp(f"poison: {losses} attempts in a row were lost with their runner")
        return Again(timedelta(0))
    if failures >= max_attempts:
        return GiveUp(f"{failures} of {max_attempts} attempts failed, the last one by {reason}: {message}")
    if reason in ("check_failed", "merge_conflict", "out_of_scope", "no_changes", "invalid_output"):
        # Nothing to wait for: the next attempt knows more than this one did.
        return Again(timedelta(0))
    delay = min(LONGEST_DELAY, FIRST_DELAY * 2 ** (failures - 1))
    return Again(delay * (0.5 + jitter / 2))
