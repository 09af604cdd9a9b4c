"""Decisions over snapshots: small cases by hand, and random DAGs that always come to an end."""

from collections import Counter
from collections.abc import Callable
from dataclasses import fields, replace
from datetime import timedelta
from itertools import product
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from swarms.actions import (
    AskForLanding,
    AskForNode,
    CheckIntegration,
    EndWaiting,
    FailNode,
    Land,
    MakeReady,
    MoveSwarm,
    RejectPlan,
    Release,
)
from swarms.decide import LOOKS_AT, NodeView, Snapshot, decide
from swarms.reasons import RULES, Again, GiveUp, after_failure, rule_of
from swarms.release import FAN_IN, ON_FAILURE, SWARM_STOPS
from swarms.states import NODE_ENDED, SWARM_MOVES, ApprovalState, CheckRunState, NodeState, PlanState
from swarms.undo import Standing
from tests.world import LAST, Vertex, World


def running(*nodes: NodeView, **more: object) -> Snapshot:
    return Snapshot("running", nodes, dict(Counter(node.state for node in nodes)), **more)  # type: ignore[arg-type]


def kinds(snapshot: Snapshot) -> list[type]:
    return [type(action) for action in decide(snapshot)]


def test_nodes_that_nothing_holds_back_are_released() -> None:
    waits = NodeView("c", "blocked", parents=2, deps_left=1, deps_ok=1)
    assert decide(running(waits)) == []
    free = replace(waits, deps_left=0, deps_ok=2)
    never = replace(waits, key="d", deps_left=0)
    assert decide(running(free, never)) == [Release("nothing stands before them any more", ("c", "d"))]


@pytest.mark.parametrize(("check", "reason"), [("failed", "check_failed"), ("broken", "checks_broken")])
def test_a_swarm_whose_checks_did_not_pass_ends_for_a_reason_with_a_remedy(check: str, reason: str) -> None:
    for snapshot in (
        Snapshot("integrating", integration_check=check),
        Snapshot("landing", landing_check=check),
        Snapshot("rolling_back", takes_back=True, integration_check=check),
    ):
        [action] = decide(snapshot)
        assert rule_of(action.why) is RULES[reason]


def test_a_risky_node_asks_first() -> None:
    assert kinds(running(NodeView("a", "blocked", risky=True))) == [AskForNode]
    waiting = NodeView("a", "awaiting_approval", risky=True, approval="pending")
    assert decide(running(waiting)) == []
    assert kinds(running(replace(waiting, approval="approved"))) == [MakeReady]
    assert kinds(running(replace(waiting, approval="rejected"))) == [FailNode]
    assert kinds(running(replace(waiting, approval="void"))) == [AskForNode]


def test_a_risky_node_that_can_never_run_asks_nobody() -> None:
    assert kinds(running(NodeView("a", "blocked", risky=True, parents=1))) == [Release]


def test_a_failed_node_fails_the_swarm_and_what_is_open_is_cancelled() -> None:
    (action,) = decide(running(NodeView("a", "failed", because="tests"), NodeView("b", "running")))
    assert isinstance(action, MoveSwarm)
    assert (action.to, action.why) == ("failing", "node a failed: tests")
    failing = Snapshot("failing", (NodeView("a", "failed"),), {"failed": 1, "blocked": 1, "running": 1})
    assert decide(failing) == [EndWaiting("the swarm is failing", "cancelled")]
    assert decide(replace(failing, counts={"failed": 1, "running": 1})) == []
    assert decide(replace(failing, counts={"failed": 1}, live_executions=1)) == []
    (last,) = decide(replace(failing, counts={"failed": 1, "cancelled": 1}))
    assert isinstance(last, MoveSwarm)
    assert last.to == "failed"


@pytest.mark.parametrize("policy", ["skip_descendants", "continue"])
def test_a_failure_that_the_plan_allows_for_does_not_stop_the_swarm(policy: str) -> None:
    failed = NodeView("a", "failed", on_failure=policy)
    assert decide(running(failed, NodeView("b", "running"))) == []
    (action,) = decide(running(failed, NodeView("b", "succeeded")))
    assert action == MoveSwarm("every node has ended, 1 without success", "integrating")
    (action,) = decide(running(failed))
    assert isinstance(action, MoveSwarm)
    assert action.to == "failing"


def test_a_drained_swarm_leaves_out_what_waits_and_goes_on_with_what_is_done() -> None:
    draining = Snapshot("draining", (), {"succeeded": 1, "running": 1, "ready": 2})
    assert kinds(draining) == [EndWaiting]
    assert decide(replace(draining, counts={"succeeded": 1, "running": 1, "skipped": 2})) == []
    (action,) = decide(replace(draining, counts={"succeeded": 2, "skipped": 2}))
    assert isinstance(action, MoveSwarm)
    assert action.to == "integrating"
    (action,) = decide(replace(draining, counts={"skipped": 4}))
    assert isinstance(action, MoveSwarm)
    assert action.to == "cancelling"


def test_a_paused_swarm_does_not_integrate() -> None:
    assert decide(Snapshot("paused", (), {"succeeded": 1})) == []
    assert kinds(Snapshot("running", (), {"succeeded": 1})) == [MoveSwarm]


@pytest.mark.parametrize(
    ("check", "expected"),
    [("", [CheckIntegration]), ("waiting", []), ("running", []), ("passed", [MoveSwarm]), ("failed", [MoveSwarm])],
)
def test_the_whole_result_is_checked_before_landing(check: str, expected: list[type]) -> None:
    assert kinds(Snapshot("integrating", integration_check=check)) == expected


def test_landing_waits_for_a_person_and_then_for_its_checks() -> None:
    landing = Snapshot("landing")
    assert kinds(landing) == [AskForLanding]
    assert kinds(replace(landing, landing_approval="pending")) == []
    approved = replace(landing, landing_approval="approved")
    assert kinds(approved) == [Land]
    assert kinds(replace(approved, landing_check="running")) == []
    assert kinds(replace(approved, landing_check="failed")) == [MoveSwarm]
    assert kinds(replace(landing, landing_approval="rejected")) == [MoveSwarm]
    assert kinds(replace(landing, landing_needs_approval=False)) == [Land]


def test_a_rejected_plan_goes_back() -> None:
    proposed = Snapshot("proposed", plan="proposed", plan_approval="rejected", plan_because="too big")
    assert decide(proposed) == [RejectPlan("too big")]


@pytest.mark.parametrize("state", sorted(SWARM_MOVES))
def test_every_move_that_is_decided_is_in_the_table(state: str) -> None:
    checks = ("", "passed", "failed", "broken", "void", "running")
    for integration in checks:
        for landing in checks:
            for approval in ("", "approved", "rejected", "expired", "void", "pending"):
                for node in ("succeeded", "failed", "skipped", "blocked", "running"):
                    snapshot = Snapshot(
                        state,
                        (NodeView("a", node),) if node in ("failed", "blocked") else (),
                        {node: 1},
                        integration_check=integration,
                        landing_approval=approval,
                        landing_check=landing,
                    )
                    moves = [action.to for action in decide(snapshot) if isinstance(action, MoveSwarm)]
                    assert set(moves) <= SWARM_MOVES[state]
                    assert len(moves) <= 1


def play(world: World, failing: set[str], choose: Callable[[list[str]], str]) -> None:
    """Let nodes end, in the order that `choose` wants, until the swarm has ended; and look at every start."""
    world.settle()
    while world.state not in LAST:
        for vertex in world.nodes.values():
            if vertex.approval == "pending":
                vertex.approval = "approved"
        world.settle()
        if live := world.live:
            key = choose(live)
            world.end(key, "failed" if key in failing else "succeeded")
        world.settle()
    look_at(world)


def look_at(world: World) -> None:
    """What must hold of an ended swarm, worked out from the nodes' ends alone."""
    assert all(vertex.state in NODE_ENDED for vertex in world.nodes.values())
    fatal = [v for v in world.nodes.values() if v.state == "failed" and v.on_failure in SWARM_STOPS]
    done = [v for v in world.nodes.values() if v.state == "succeeded"]
    assert world.state == ("failed" if fatal or not done else "landing")
    assert len(set(world.started)) == len(world.started)
    for key, vertex in world.nodes.items():
        ends = [world.nodes[parent] for parent in vertex.parents]
        good = [e.state == "succeeded" or (e.state == "failed" and e.on_failure == "continue") for e in ends]
        could = {"all_success": all(good), "all_done": True, "any_success": any(good) or not good}[vertex.fan_in]
        if vertex.state == "skipped":
            assert not could, f"{key} was skipped and could run"
        elif vertex.state in ("succeeded", "failed"):
            assert could or fatal, f"{key} ran and could not"


@pytest.mark.parametrize("shape", range(8))
def test_every_graph_of_three_nodes_with_every_rule_ends_as_its_rules_say(shape: int) -> None:
    edges = [pair for bit, pair in enumerate((("a", "b"), ("a", "c"), ("b", "c"))) if shape >> bit & 1]
    for fan_ins in product(FAN_IN, repeat=2):
        for policies in product(ON_FAILURE, repeat=3):
            for failing in ("", "a", "b", "c", "ab", "ac", "bc", "abc"):
                for last in (0, -1):
                    nodes = {
                        key: Vertex(tuple(p for p, child in edges if child == key), fan_in, policy)
                        for key, fan_in, policy in zip("abc", ("all_success", *fan_ins), policies, strict=True)
                    }
                    play(World(nodes), set(failing), lambda live, last=last: live[last])  # type: ignore[misc]


@given(
    st.lists(st.tuples(st.integers(0, 7), st.integers(0, 7)), max_size=16),
    st.lists(st.tuples(st.sampled_from(sorted(FAN_IN)), st.sampled_from(ON_FAILURE), st.booleans()), min_size=8),
    st.sets(st.integers(0, 7)),
    st.randoms(),
)
def test_any_graph_ends(
    pairs: list[tuple[int, int]], rules: list[tuple[str, str, bool]], failing: set[int], random: Random
) -> None:
    nodes = {
        str(key): Vertex(tuple(sorted({str(p) for c, p in pairs if c == key and p < key})), *rules[key])
        for key in range(8)
    }
    play(World(nodes), {str(key) for key in failing}, random.choice)


def test_failures_are_tried_again_and_then_given_up() -> None:
    def ask(reason: str, failures: int = 1, losses: int = 0) -> Again | GiveUp:
        return after_failure(reason, "m", failures=failures, losses=losses, max_attempts=3, jitter=1.0)

    assert ask("check_failed") == Again(timedelta(0))
    assert ask("agent_error", 1) == Again(timedelta(seconds=2))
    assert ask("agent_error", 2) == Again(timedelta(seconds=4))
    assert isinstance(ask("agent_error", 3), GiveUp)
    assert ask("lost", failures=0, losses=2) == Again(timedelta(0))
    poison = ask("lost", failures=0, losses=3)
    assert isinstance(poison, GiveUp)
    assert "poison" in poison.why
    assert isinstance(ask("sandbox_missing"), GiveUp)


NODE_VIEWS = st.builds(
    NodeView,
    key=st.sampled_from("abc"),
    state=st.sampled_from([*NodeState]),
    on_failure=st.sampled_from(ON_FAILURE),
    parents=st.integers(0, 2),
    risky=st.booleans(),
    approval=st.sampled_from(["", *ApprovalState]),
    is_undo=st.booleans(),
)
SNAPSHOTS = st.builds(
    Snapshot,
    state=st.sampled_from([*SWARM_MOVES]),
    nodes=st.lists(NODE_VIEWS, max_size=3).map(tuple),
    counts=st.dictionaries(st.sampled_from([*NodeState]), st.integers(0, 2)),
    live_executions=st.integers(0, 1),
    integration_check=st.sampled_from(["", *CheckRunState]),
    plan=st.sampled_from(["", *PlanState]),
    plan_needs_approval=st.booleans(),
    plan_approval=st.sampled_from(["", *ApprovalState]),
    plan_because=st.sampled_from(["", "said"]),
    no_room=st.sampled_from(["", "full"]),
    is_replanning=st.booleans(),
    landing_needs_approval=st.booleans(),
    landing_approval=st.sampled_from(["", *ApprovalState]),
    landing_check=st.sampled_from(["", *CheckRunState]),
    undoable=st.integers(0, 1),
    standing=st.none() | st.builds(Standing),
    rollback_approval=st.sampled_from(["", *ApprovalState]),
    takes_back=st.booleans(),
)


@settings(max_examples=2000)
@given(SNAPSHOTS)
def test_a_decision_looks_only_at_what_is_read_for_it(whole: Snapshot) -> None:
    looks = {"state", "because", *LOOKS_AT.get(whole.state, ())}
    read = Snapshot(**{field.name: getattr(whole, field.name) for field in fields(Snapshot) if field.name in looks})
    assert decide(read) == decide(whole)
