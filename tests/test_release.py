"""The database releases nodes as the pure rules say, and control-plane nodes run through it with leases and fences."""

from collections import Counter
from uuid import uuid4

import pytest
from django.db import connection
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agents.contracts import PlanNode, PlanProposal
from agents.contracts.plan import EdgeCondition
from sessions.models import Event
from swarms import control, progress
from swarms.models import Attempt, Edge, Node, Swarm
from swarms.release import FAN_IN, ON_FAILURE, SWARM_STOPS, Waiting, satisfied, spread, verdict
from tenants.context import in_schema
from tenants.models import Team, Ticket
from tests.invariants import violations
from tests.milestones import adopted

KEYS = "abcdef"


@pytest.mark.parametrize("fan_in", sorted(FAN_IN))
def test_a_rule_never_both_holds_and_cannot(fan_in: str) -> None:
    for parents in range(5):
        for left in range(parents + 1):
            for ok in range(parents - left + 1):
                verdict(fan_in, parents=parents, left=left, ok=ok)
                if left == 0:
                    assert verdict(fan_in, parents=parents, left=left, ok=ok) != "wait"


@st.composite
def plans(draw: st.DrawFn) -> PlanProposal:
    """A random DAG of agents, with every rule."""
    nodes = []
    for place, key in enumerate(KEYS):
        before = sorted(draw(st.sets(st.sampled_from(KEYS[:place]), max_size=3))) if place else []
        nodes.append(
            PlanNode(
                key=key,
                title=key,
                role="developer",
                instructions=key,
                writes=(key,),
                depends_on=tuple(before),
                fan_in=draw(st.sampled_from(sorted(FAN_IN))),  # type: ignore[arg-type]
                on_failure=draw(st.sampled_from(ON_FAILURE)),  # type: ignore[arg-type]
            )
        )
    return PlanProposal(summary="random", nodes=tuple(nodes))


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(plans(), st.sets(st.sampled_from(KEYS)), st.randoms())
def test_the_database_releases_what_the_rules_say(
    team: Team, plan: PlanProposal, failing: set[str], random: object
) -> None:
    with in_schema(team.schema_name):
        swarm = adopted(plan)
        policy = {node.key: node.on_failure for node in plan.nodes}
        children = {key: [node.key for node in plan.nodes if key in node.depends_on] for key in KEYS}
        waiting = {n.key: Waiting(n.fan_in, len(n.depends_on), len(n.depends_on), 0) for n in plan.nodes}
        expected = {node.key: "blocked" if node.depends_on else "ready" for node in plan.nodes}
        while ready := sorted(key for key, state in expected.items() if state == "ready"):
            key = random.choice(ready)  # type: ignore[attr-defined]
            to = "failed" if key in failing else "succeeded"
            expected[key] = to
            node = swarm.nodes.get(key=key)
            Node.objects.filter(pk=node.pk).update(state="running")
            Node.objects.filter(pk=node.pk).update(state=to, ended_at=node.ready_at)
            progress.release(swarm.pk, ended=[node.pk])
            if not (to == "failed" and policy[key] in SWARM_STOPS):
                is_ok = satisfied(to, policy[key], None, {})
                go, skipped = spread([(key, is_ok)], children, _open(waiting, expected))
                for name in go:
                    if expected[name] == "blocked":
                        expected[name] = "ready"
                for name in skipped:
                    expected[name] = "skipped"
                _settle(waiting, children, expected, {key: is_ok} | dict.fromkeys(skipped, False))
            assert dict(swarm.nodes.values_list("key", "state")) == expected


def _open(waiting: dict[str, Waiting], states: dict[str, str]) -> dict[str, Waiting]:
    return {key: counts for key, counts in waiting.items() if states[key] == "blocked"}


def _settle(
    waiting: dict[str, Waiting], children: dict[str, list[str]], states: dict[str, str], ended: dict[str, bool]
) -> None:
    for parent, is_ok in ended.items():
        for child in children[parent]:
            counts = waiting[child]
            waiting[child] = Waiting(counts.fan_in, counts.parents, counts.left - 1, counts.ok + is_ok)


def milestones(*edges: tuple[str, str], keys: str, **more: object) -> PlanProposal:
    return PlanProposal(
        summary="milestones",
        nodes=tuple(
            PlanNode(key=k, title=k, kind="noop", depends_on=tuple(p for p, c in edges if c == k), **more)  # type: ignore[arg-type]
            for k in keys
        ),
    )


def test_milestones_run_in_the_worker_through_the_same_rows(team: Team) -> None:
    swarm = adopted(milestones(("a", "b"), ("a", "c"), ("b", "d"), ("c", "d"), keys="abcd"))
    assert Ticket.objects.filter(lane="control", swarm=swarm.pk).count() == 1
    assert control.serve() == 4
    assert set(swarm.nodes.values_list("state", flat=True)) == {"succeeded"}
    swarm.refresh_from_db()
    assert swarm.state == "landing"
    assert list(Attempt.objects.values_list("number", "state", "execution")) == [(1, "succeeded", None)] * 4
    began = {node.key: node.started_at for node in swarm.nodes.all()}
    ended = {node.key: node.ended_at for node in swarm.nodes.all()}
    assert all(ended[edge.parent.key] <= began[edge.child.key] for edge in Edge.objects.all())
    without_git = [
        fault for fault in violations(team.schema_name) if "repository" not in fault and "project" not in fault
    ]
    assert without_git == []
    told = [move for event in Event.objects.filter(kind="nodes.moved") for move in event.payload["moves"]]
    assert Counter((move["noun"], move["after"]) for move in told) == {
        ("node", "ready"): 1,
        ("node", "running"): 4,
        ("node", "succeeded"): 4,
        ("attempt", "succeeded"): 4,
    }


def test_a_completion_with_another_fence_changes_nothing(team: Team) -> None:
    swarm = adopted(milestones(("a", "b"), keys="ab"))
    with connection.cursor() as cursor:
        claimed = control.step(cursor, swarm.pk, [], claim=10).claimed
        [held] = claimed
        wrong = control.step(cursor, swarm.pk, [held | {"fence": str(uuid4())}], claim=10)
        assert (wrong.stale, wrong.claimed) == (1, [])
        assert swarm.nodes.get(key="a").state == "running"
        right = control.step(cursor, swarm.pk, [held], claim=10)
        assert right.stale == 0
        again = control.step(cursor, swarm.pk, [held], claim=0)
        assert again.stale == 1
    assert [one["node"] for one in right.claimed] == [str(swarm.nodes.get(key="b").pk)]


def test_a_paused_swarm_claims_nothing_and_goes_on_when_it_is_resumed(team: Team) -> None:
    swarm = adopted(milestones(("a", "b"), keys="ab"))
    with connection.cursor() as cursor:
        [held] = control.step(cursor, swarm.pk, [], claim=10).claimed
        Swarm.objects.filter(pk=swarm.pk).update(state="paused")
        assert control.step(cursor, swarm.pk, [held], claim=10).claimed == []
    assert dict(swarm.nodes.values_list("key", "state")) == {"a": "succeeded", "b": "ready"}
    assert not Ticket.objects.filter(lane="control").exists()


@pytest.mark.parametrize(
    ("condition", "state"),
    [
        (EdgeCondition(parent="a", field="verdict", values=("approve",)), "ready"),
        (EdgeCondition(parent="a", field="verdict", values=("reject",)), "skipped"),
        (EdgeCondition(parent="a", field="verdict", values=("reject",), negate=True), "ready"),
        (EdgeCondition(parent="a", field="missing", values=("x",)), "skipped"),
        (EdgeCondition(parent="a", field="missing", values=("x",), negate=True), "ready"),
        (EdgeCondition(parent="a", field="sure", values=("yes",)), "ready"),
        (EdgeCondition(parent="a", field="found", at_least=3, at_most=3), "ready"),
        (EdgeCondition(parent="a", field="found", at_least=3.1), "skipped"),
        (EdgeCondition(parent="a", field="found", at_most=2.9), "skipped"),
        (EdgeCondition(parent="a", field="found", at_most=2.9, negate=True), "ready"),
        (EdgeCondition(parent="a", field="tiny", at_least=1e-7, at_most=1e-7), "ready"),
        (EdgeCondition(parent="a", field="sure", at_least=0), "skipped"),
        (EdgeCondition(parent="a", field="found", values=("3",)), "skipped"),
    ],
)
def test_an_edge_with_a_condition_counts_only_when_the_output_says_so(
    team: Team, condition: EdgeCondition, state: str
) -> None:
    one = PlanNode(key="a", title="a", role="reviewer", instructions="look")
    two = PlanNode(key="b", title="b", role="reviewer", instructions="b", depends_on=("a",), when=(condition,))
    swarm = adopted(PlanProposal(summary="s", nodes=(one, two)))
    node = swarm.nodes.get(key="a")
    output = {"verdict": "approve", "summary": "fine", "sure": "yes", "found": 3, "tiny": 1e-7}
    Node.objects.filter(pk=node.pk).update(state="running")
    Node.objects.filter(pk=node.pk).update(state="succeeded", output=output)
    progress.release(swarm.pk, ended=[node.pk])
    assert swarm.nodes.get(key="b").state == state
    kept = Edge.objects.get(child__swarm=swarm).condition
    assert satisfied("succeeded", "fail_swarm", kept, output) == (state == "ready")


def test_many_milestones_are_skipped_in_one_call_in_topological_order(team: Team) -> None:
    first = PlanNode(key="n0", title="n", role="reviewer", instructions="x", on_failure="skip_descendants")
    rest = [PlanNode(key=f"n{n}", title="n", kind="noop", depends_on=(f"n{n - 1}",)) for n in range(1, 50)]
    swarm = adopted(PlanProposal(summary="s", nodes=(first, *rest)))
    node = swarm.nodes.get(key="n0")
    Node.objects.filter(pk=node.pk).update(state="running")
    Node.objects.filter(pk=node.pk).update(state="failed")
    progress.release(swarm.pk, ended=[node.pk])
    assert swarm.nodes.filter(state="skipped").count() == 49
    moves = [m for e in Event.objects.filter(kind="nodes.moved").order_by("seq") for m in e.payload["moves"]]
    assert [m["name"] for m in moves if m["after"] == "skipped"] == [f"n{n}" for n in range(1, 50)]
