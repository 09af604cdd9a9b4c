"""What must happen next in a swarm: pure decisions over a frozen snapshot."""

from collections.abc import Mapping
from dataclasses import dataclass, field

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
from swarms.release import SWARM_STOPS, FanIn, OnFailure, Verdict, verdict
from swarms.states import NODE_LIVE, NODE_WAITING, ApprovalState, CheckRunState, NodeState, PlanState, SwarmState
from swarms.undo import Standing


@dataclass(frozen=True)
class NodeView:
    """A node as the decision sees it: one that asks for a decision, not one that waits, works or has succeeded."""

    key: str
    state: str
    fan_in: str = FanIn.ALL_SUCCESS
    on_failure: str = OnFailure.FAIL_SWARM
    parents: int = 0
    deps_left: int = 0
    deps_ok: int = 0
    risky: bool = False
    trifecta: bool = False
    """It is exposed to strangers' words, secrets and effects outside at once."""
    approval: str = ""
    """State of its last approval; empty: nobody was asked."""
    because: str = ""
    is_undo: bool = False
    """It takes back what another node did."""

    @property
    def verdict(self) -> Verdict:
        """What its parents say about it."""
        return verdict(self.fan_in, parents=self.parents, left=self.deps_left, ok=self.deps_ok)


@dataclass(frozen=True)
class Snapshot:
    """A swarm at one moment, as its transaction sees it."""

    state: str
    nodes: tuple[NodeView, ...] = ()
    """Those that ask for a decision; all others are only counted."""
    counts: Mapping[str, int] = field(default_factory=dict)
    """How many nodes are in each state."""
    live_executions: int = 0
    integration_check: str = ""
    """State of the check run on the whole result; empty: none on this commit."""
    plan: str = ""
    """State of the last plan."""
    plan_needs_approval: bool = True
    plan_approval: str = ""
    plan_because: str = ""
    """What was said with the plan's approval."""
    no_room: str = ""
    """Why the team may not have the nodes of the proposed plan now; empty: it may."""
    is_replanning: bool = False
    landing_needs_approval: bool = True
    landing_approval: str = ""
    landing_check: str = ""
    undoable: int = 0
    """Nodes that succeeded, had effects outside git, and are not undone; counted while the swarm fails."""
    because: str = ""
    """Why it is in its state."""
    standing: Standing | None = None
    """How far its rollback had come; known while the swarm fails."""
    rollback_approval: str = ""
    """State of the last answer about a rollback that has not begun."""
    takes_back: bool = False
    """What landed is taken back by nodes of its own, so the result must land."""

    def count(self, *states: str) -> int:
        """How many nodes are in one of these states."""
        return sum(self.counts.get(state, 0) for state in states)

    @property
    def has_open_nodes(self) -> bool:
        return self.count(*NODE_WAITING, *NODE_LIVE) > 0


_NODES = ("nodes", "counts")
_LANDING = ("landing_needs_approval", "landing_approval", "landing_check")
LOOKS_AT: Mapping[str, tuple[str, ...]] = {
    SwarmState.PROPOSED: ("plan", "plan_needs_approval", "plan_approval", "plan_because", "no_room"),
    SwarmState.RUNNING: (*_NODES, "is_replanning"),
    SwarmState.PAUSED: _NODES,
    SwarmState.DRAINING: _NODES,
    SwarmState.INTEGRATING: ("integration_check",),
    SwarmState.LANDING: _LANDING,
    SwarmState.CANCELLING: (*_NODES, "live_executions"),
    SwarmState.FAILING: (*_NODES, "live_executions", "undoable", "standing"),
    SwarmState.SUCCEEDED: ("rollback_approval",),
    SwarmState.FAILED: ("rollback_approval",),
    SwarmState.ROLLING_BACK: (*_NODES, "takes_back", "integration_check", *_LANDING),
    SwarmState.ROLLBACK_PAUSED: _NODES,
}
"""What of a snapshot, beside its state and why it is in it, the decision looks at: nothing else needs to be read."""


def decide(swarm: Snapshot) -> list[Action]:
    """All actions that follow from the snapshot; none when the swarm waits for something outside."""
    match swarm.state:
        case SwarmState.PROPOSED:
            return _proposed(swarm)
        case SwarmState.RUNNING | SwarmState.PAUSED | SwarmState.DRAINING:
            return _running(swarm)
        case SwarmState.INTEGRATING:
            return _integrating(swarm)
        case SwarmState.LANDING:
            return _landing(swarm)
        case SwarmState.CANCELLING | SwarmState.FAILING:
            return _stopping(swarm)
        case SwarmState.SUCCEEDED | SwarmState.FAILED if swarm.rollback_approval == ApprovalState.APPROVED:
            return [RollBack("it was approved")]
        case SwarmState.ROLLING_BACK | SwarmState.ROLLBACK_PAUSED:
            return _rolling_back(swarm)
    return []


def _proposed(swarm: Snapshot) -> list[Action]:
    if swarm.plan != PlanState.PROPOSED:
        return []
    if not swarm.plan_needs_approval:
        return _adopt(swarm, "nobody has to approve plans of this project")
    match swarm.plan_approval:
        case ApprovalState.APPROVED:
            return _adopt(swarm, swarm.plan_because or "it was approved")
        case ApprovalState.REJECTED | ApprovalState.EXPIRED:
            return [RejectPlan(swarm.plan_because or f"its approval was {swarm.plan_approval}")]
        case ApprovalState.VOID | "":
            return [AskForPlan("the project's policy asks a person")]
    return []


def _adopt(swarm: Snapshot, why: str) -> list[Action]:
    return [TurnBackPlan(swarm.no_room)] if swarm.no_room else [AdoptPlan(why)]


def _running(swarm: Snapshot) -> list[Action]:
    for node in swarm.nodes:
        if node.state == NodeState.CANCELLED or (node.state == NodeState.FAILED and node.on_failure in SWARM_STOPS):
            return [MoveSwarm(f"node {node.key} {node.state}: {node.because}", SwarmState.FAILING)]
    if swarm.state == SwarmState.DRAINING and swarm.count(*NODE_WAITING):
        return [EndWaiting("the swarm is drained: what has not started is left out", NodeState.SKIPPED)]
    if swarm.counts and not swarm.has_open_nodes:
        waits = swarm.state == SwarmState.RUNNING and swarm.is_replanning
        return [] if waits else _all_ended(swarm)
    free = tuple(
        node.key
        for node in swarm.nodes
        if node.state == NodeState.BLOCKED and node.verdict != Verdict.WAIT and not _asks(node)
    )
    actions: list[Action] = [Release("nothing stands before them any more", free)] if free else []
    return actions + [action for node in swarm.nodes for action in _gate(node)]


def _all_ended(swarm: Snapshot) -> list[Action]:
    if swarm.state == SwarmState.PAUSED:
        return []
    left = swarm.count(NodeState.FAILED, NodeState.SKIPPED)
    if swarm.count(NodeState.SUCCEEDED):
        why = f"every node has ended, {left} without success" if left else "every node is merged"
        return [MoveSwarm(why, SwarmState.INTEGRATING)]
    to = SwarmState.CANCELLING if swarm.state == SwarmState.DRAINING else SwarmState.FAILING
    return [MoveSwarm("every node has ended, and none of them succeeded", to)]


def _asks(node: NodeView) -> bool:
    return (node.risky or node.trifecta) and node.verdict == Verdict.GO


def _gate(node: NodeView) -> list[Action]:
    """What a person has to say, or has said, about a node."""
    if node.state == NodeState.BLOCKED and _asks(node):
        why = "its risk is high" if node.risky else "strangers' words, secrets and effects outside meet in it"
        return [AskForNode(f"its turn has come, and {why}", node.key)]
    if node.state != NodeState.AWAITING_APPROVAL:
        return []
    match node.approval:
        case ApprovalState.APPROVED:
            return [MakeReady("it was approved", node.key)]
        case ApprovalState.REJECTED | ApprovalState.EXPIRED:
            return [FailNode(f"rejected: its approval was {node.approval}", node.key)]
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
            return [MoveSwarm(_checks("the whole result", swarm.integration_check), SwarmState.FAILING)]
    return []


def _checks(on_what: str, state: str) -> str:
    """Why a swarm does not go on whose own checks did not pass; it begins with a reason of swarms.reasons."""
    if state == CheckRunState.FAILED:
        return f"check_failed: the checks on {on_what} failed"
    return f"checks_broken: the checks on {on_what} could not be run"


def _landing(swarm: Snapshot, *, fails_to: str = SwarmState.FAILING) -> list[Action]:
    if swarm.landing_check in (CheckRunState.FAILED, CheckRunState.BROKEN):
        return [MoveSwarm(_checks("the commit to land", swarm.landing_check), fails_to)]
    if not swarm.landing_needs_approval or swarm.landing_approval == ApprovalState.APPROVED:
        why = "it was approved" if swarm.landing_needs_approval else "nobody has to approve landings of this project"
        if swarm.landing_check == CheckRunState.PASSED:
            return [Land(why, is_checked=True)]
        return [Land(why)] if swarm.landing_check in ("", CheckRunState.VOID) else []
    match swarm.landing_approval:
        case "" | ApprovalState.VOID:
            return [AskForLanding("the project's policy asks a person")]
        case ApprovalState.REJECTED | ApprovalState.EXPIRED:
            return [MoveSwarm(f"rejected: the landing was {swarm.landing_approval}", fails_to)]
    return []


def _stopping(swarm: Snapshot) -> list[Action]:
    if swarm.count(*NODE_WAITING):
        return [EndWaiting(f"the swarm is {swarm.state}", NodeState.CANCELLED)]
    if swarm.count(*NODE_LIVE) or swarm.live_executions:
        return []
    standing = swarm.standing if swarm.state == SwarmState.FAILING else None
    if swarm.state == SwarmState.FAILING and swarm.undoable and not standing:
        asked = [n.key for n in swarm.nodes if (n.state, n.on_failure) == (NodeState.FAILED, OnFailure.ROLLBACK)]
        if asked:
            return [RollBack(f"the failure of {', '.join(asked)} means that what succeeded is undone")]
    to = SwarmState.CANCELLED if swarm.state == SwarmState.CANCELLING else SwarmState.FAILED
    # What made it stop is worth more than that it has stopped.
    why = swarm.because or "all work has stopped"
    return [MoveSwarm(f"{why}; {standing}" if standing else why, to)]


def _rolling_back(swarm: Snapshot) -> list[Action]:
    """What succeeded is undone; of a swarm that had landed the result is checked and lands, like any other."""
    if swarm.has_open_nodes:
        free = tuple(
            node.key for node in swarm.nodes if node.state == NodeState.BLOCKED and node.verdict != Verdict.WAIT
        )
        return [Release("nothing stands before them any more", free)] if free else []
    if swarm.state == SwarmState.ROLLBACK_PAUSED:
        return []
    failed = [node for node in swarm.nodes if node.is_undo and node.state in (NodeState.FAILED, NodeState.CANCELLED)]
    if failed:
        why = "; ".join(f"{node.key} {node.state}: {node.because}" for node in failed)
        return [MoveSwarm(f"not all could be undone: {why}", SwarmState.FAILED)]
    if not swarm.takes_back:
        return [MoveSwarm("what succeeded is undone, and nothing had landed", SwarmState.ROLLED_BACK)]
    match swarm.integration_check:
        case "" | CheckRunState.VOID:
            return [CheckIntegration("what is left after the rollback has not been checked yet")]
        case CheckRunState.PASSED:
            return _landing(swarm, fails_to=SwarmState.FAILED)
        case CheckRunState.FAILED | CheckRunState.BROKEN:
            why = _checks("what is left after the rollback", swarm.integration_check)
            return [MoveSwarm(why, SwarmState.FAILED)]
    return []
