"""What must happen next in a swarm: pure decisions over a frozen snapshot."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta

from swarms.release import SWARM_STOPS, FanIn, OnFailure, Verdict, verdict
from swarms.states import NODE_LIVE, NODE_WAITING, ApprovalState, CheckRunState, NodeState, PlanState, SwarmState

MAX_LOSSES = 3
"""Attempts lost in a row until a node counts as poison: something in it kills its runner."""
FIRST_DELAY = timedelta(seconds=2)
LONGEST_DELAY = timedelta(minutes=5)


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
    approval: str = ""
    """State of its last approval; empty: nobody was asked."""
    because: str = ""

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
    landing_needs_approval: bool = True
    landing_approval: str = ""
    landing_check: str = ""

    def count(self, *states: str) -> int:
        """How many nodes are in one of these states."""
        return sum(self.counts.get(state, 0) for state in states)

    @property
    def has_open_nodes(self) -> bool:
        return self.count(*NODE_WAITING, *NODE_LIVE) > 0


@dataclass(frozen=True)
class Action:
    """One thing to do; `why` is written with it."""

    why: str


@dataclass(frozen=True)
class Release(Action):
    """Let nodes start, or be skipped, that nothing holds back."""

    nodes: tuple[str, ...]


@dataclass(frozen=True)
class OfNode(Action):
    """Something about one node."""

    node: str


@dataclass(frozen=True)
class MakeReady(OfNode):
    """It was approved: it waits for its turn."""


@dataclass(frozen=True)
class AskForNode(OfNode):
    """A person decides whether it starts."""


@dataclass(frozen=True)
class FailNode(OfNode):
    """It was not approved."""


@dataclass(frozen=True)
class EndWaiting(Action):
    """Whatever has not started is cancelled or skipped."""

    to: str


@dataclass(frozen=True)
class MoveSwarm(Action):
    """The swarm goes on to another state."""

    to: str


@dataclass(frozen=True)
class AdoptPlan(Action):
    """The plan becomes nodes and edges, and the swarm runs."""


@dataclass(frozen=True)
class RejectPlan(Action):
    """The coordinator plans again."""


@dataclass(frozen=True)
class AskForPlan(Action):
    """A person decides about the plan."""


@dataclass(frozen=True)
class CheckIntegration(Action):
    """The whole result is checked."""


@dataclass(frozen=True)
class AskForLanding(Action):
    """A person decides about the landing."""


@dataclass(frozen=True)
class Land(Action):
    """The result goes to the target branch."""


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
    for node in swarm.nodes:
        if node.state == NodeState.CANCELLED or (node.state == NodeState.FAILED and node.on_failure in SWARM_STOPS):
            return [MoveSwarm(f"node {node.key} {node.state}: {node.because}", SwarmState.FAILING)]
    if swarm.state == SwarmState.DRAINING and swarm.count(*NODE_WAITING):
        return [EndWaiting("the swarm is drained: what has not started is left out", NodeState.SKIPPED)]
    if swarm.counts and not swarm.has_open_nodes:
        return _all_ended(swarm)
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
    return node.risky and node.verdict == Verdict.GO


def _gate(node: NodeView) -> list[Action]:
    """What a person has to say, or has said, about a node."""
    if node.state == NodeState.BLOCKED and _asks(node):
        return [AskForNode("its turn has come, and its risk is high", node.key)]
    if node.state != NodeState.AWAITING_APPROVAL:
        return []
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
    if swarm.count(*NODE_WAITING):
        return [EndWaiting(f"the swarm is {swarm.state}", NodeState.CANCELLED)]
    if swarm.count(*NODE_LIVE) or swarm.live_executions:
        return []
    to = SwarmState.CANCELLED if swarm.state == SwarmState.CANCELLING else SwarmState.FAILED
    return [MoveSwarm("all work has stopped", to)]


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
