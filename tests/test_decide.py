"""Decisions over snapshots: small cases by hand, and random DAGs that always come to an end."""

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarms.decide import (
    Again,
    AskForLanding,
    AskForNode,
    CancelNodes,
    CheckIntegration,
    FailNode,
    GiveUp,
    Land,
    MakeReady,
    MoveSwarm,
    NodeView,
    RejectPlan,
    Snapshot,
    after_failure,
    decide,
)
from swarms.states import NODE_ENDED, SWARM_ENDED, SWARM_MOVES


def running(*nodes: NodeView, **more: object) -> Snapshot:
    return Snapshot(state="running", nodes=nodes, **more)  # type: ignore[arg-type]


def kinds(snapshot: Snapshot) -> list[type]:
    return [type(action) for action in decide(snapshot)]


def test_a_node_is_ready_when_all_its_parents_succeeded() -> None:
    done, child = NodeView("a", "succeeded"), NodeView("c", "blocked", ("a", "b"))
    assert decide(running(done, NodeView("b", "running"), child)) == []
    (action,) = decide(running(done, NodeView("b", "succeeded"), child))
    assert action == MakeReady("a, b succeeded", "c")


def test_a_risky_node_asks_first() -> None:
    assert kinds(running(NodeView("a", "blocked", risky=True))) == [AskForNode]
    waiting = NodeView("a", "awaiting_approval", risky=True, approval="pending")
    assert decide(running(waiting)) == []
    assert kinds(running(replace(waiting, approval="approved"))) == [MakeReady]
    assert kinds(running(replace(waiting, approval="rejected"))) == [FailNode]
    assert kinds(running(replace(waiting, approval="void"))) == [AskForNode]


def test_a_failed_node_fails_the_swarm_and_what_is_open_is_cancelled() -> None:
    (action,) = decide(running(NodeView("a", "failed", because="tests"), NodeView("b", "running")))
    assert isinstance(action, MoveSwarm)
    assert (action.to, action.why) == ("failing", "node a failed: tests")
    failing = Snapshot("failing", (NodeView("a", "failed"), NodeView("b", "blocked"), NodeView("c", "running")))
    assert decide(failing) == [CancelNodes("the swarm is failing", ("b",))]
    assert decide(replace(failing, nodes=(NodeView("a", "failed"), NodeView("c", "running")))) == []
    assert decide(replace(failing, nodes=(NodeView("a", "failed"),), live_executions=1)) == []
    (last,) = decide(replace(failing, nodes=(NodeView("a", "failed"), NodeView("c", "cancelled"))))
    assert isinstance(last, MoveSwarm)
    assert last.to == "failed"


def test_a_paused_swarm_does_not_integrate() -> None:
    done = NodeView("a", "succeeded")
    assert decide(Snapshot("paused", (done,))) == []
    assert kinds(running(done)) == [MoveSwarm]


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
                for nodes in ((), (NodeView("a", "succeeded"),), (NodeView("a", "failed"),)):
                    snapshot = Snapshot(
                        state,
                        nodes,
                        integration_check=integration,
                        landing_approval=approval,
                        landing_check=landing,
                    )
                    moves = [action.to for action in decide(snapshot) if isinstance(action, MoveSwarm)]
                    assert set(moves) <= SWARM_MOVES[state]
                    assert len(moves) <= 1


@given(st.lists(st.tuples(st.integers(0, 7), st.integers(0, 7)), max_size=16), st.sets(st.integers(0, 7)), st.randoms())
def test_any_graph_ends(pairs: list[tuple[int, int]], failing: set[int], random: object) -> None:
    """Carry out what is decided, let nodes end in any order: the swarm always ends, and no node starts too early."""
    nodes = {
        str(key): NodeView(str(key), "blocked", tuple(sorted({str(p) for c, p in pairs if c == key and p < key})))
        for key in range(8)
    }
    swarm = Snapshot("running", landing_needs_approval=False)
    for _ in range(200):
        if swarm.state in SWARM_ENDED or swarm.state == "landing":
            break
        swarm = replace(swarm, nodes=tuple(nodes.values()))
        actions = decide(swarm)
        for action in actions:
            if isinstance(action, MakeReady):
                assert all(nodes[parent].state == "succeeded" for parent in nodes[action.node].parents)
                nodes[action.node] = replace(nodes[action.node], state="running")
            elif isinstance(action, CancelNodes):
                for key in action.nodes:
                    nodes[key] = replace(nodes[key], state="cancelled")
            elif isinstance(action, MoveSwarm):
                swarm = replace(swarm, state=action.to)
            elif isinstance(action, CheckIntegration):
                swarm = replace(swarm, integration_check="passed")
        if not actions:
            live = [key for key, view in nodes.items() if view.state == "running"]
            key = random.choice(live)  # type: ignore[attr-defined]
            nodes[key] = replace(nodes[key], state="failed" if int(key) in failing else "succeeded")
    assert swarm.state == (
        "failed" if failing & {int(k) for k, v in nodes.items() if v.state == "failed"} else "landing"
    )
    assert all(view.state in NODE_ENDED for view in nodes.values())


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
