"""For any plan and any point of failure: exactly what succeeded is undone, each once, the last first."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from django.db import transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agents.contracts import (
    Assignment,
    FailureOutcome,
    FailureReason,
    Outcome,
    PlanProposal,
    ReviewOutcome,
    WorkOutcome,
)
from swarms import progress
from swarms.actions import (
    Action,
    AskForLanding,
    CheckIntegration,
    Land,
    MoveSwarm,
    Release,
    RollBack,
)
from swarms.decide import NodeView, Snapshot, decide
from swarms.graph import ancestors
from swarms.models import Edge, Goal, Node, Plan, Project, Swarm
from swarms.undo import Done, Step, steps
from tenants.models import Team
from tests.conftest import user_of
from tests.hands import Hands

Dag = dict[str, tuple[str, ...]]


@st.composite
def plans(draw: st.DrawFn, most: int = 12) -> Dag:
    """Keys in topological order, each with what it depends on."""
    keys = [f"n{number}" for number in range(draw(st.integers(1, most)))]
    return {
        key: tuple(draw(st.lists(st.sampled_from(keys[:place]), unique=True, max_size=3)) if place else ())
        for place, key in enumerate(keys)
    }


def closure(found: list[Step]) -> Mapping[str, frozenset[str]]:
    """For each step all that go before it."""
    return ancestors({step.key: step.after for step in found})


@given(plan=plans(), data=st.data())
def test_effects_are_undone_in_reverse_order_and_wait_for_nothing_else(plan: Dag, data: st.DataObject) -> None:
    chosen = data.draw(st.sets(st.sampled_from(sorted(plan))))
    found = steps([Done(key, compensates=key in chosen) for key in plan], plan)
    assert sorted(step.undoes for step in found) == sorted(chosen)
    assert {step.kind for step in found} <= {"undo"}
    places = {step.key: place for place, step in enumerate(found)}
    before, depends = closure(found), ancestors(plan)
    for step in found:
        assert all(places[other] < places[step.key] for other in step.after)
        later = {other.key for other in found if step.undoes in depends[other.undoes]}
        assert before[step.key] == later


@given(plan=plans(), data=st.data())
def test_merges_are_taken_back_in_the_reverse_order_of_merging(plan: Dag, data: st.DataObject) -> None:
    merged = data.draw(st.lists(st.sampled_from(sorted(plan)), unique=True))
    chosen = data.draw(st.sets(st.sampled_from(sorted(plan))))
    place = {key: number for number, key in enumerate(merged)}
    done = [Done(key, compensates=key in chosen, merged=place.get(key)) for key in plan]
    found = steps(done, plan)
    assert [step.undoes for step in found if step.kind == "revert"] == merged[::-1]
    before = closure(found)
    reverts = {step.undoes: step.key for step in found if step.kind == "revert"}
    undos = {step.undoes: step.key for step in found if step.kind == "undo"}
    assert undos.keys() == chosen
    for earlier, later in pairwise(merged):
        assert reverts[later] in before[reverts[earlier]]
    for key in chosen & reverts.keys():
        assert undos[key] in before[reverts[key]]


def test_keys_of_steps_are_free_and_fit() -> None:
    long = "x" * 40
    found = steps(
        [Done("a", compensates=True), Done(long, compensates=True), Done(f"{long[:39]}y", True)], {}, {"undo-a"}
    )
    keys = [step.key for step in found]
    assert len(set(keys)) == 3
    assert "undo-a-2" in keys
    assert all(len(key) <= 40 for key in keys)


def rolling(*nodes: NodeView, **more: Any) -> list[Action]:
    """What is decided in a rollback with these nodes that ask for a decision."""
    counts = Counter(node.state for node in nodes)
    return decide(Snapshot(state="rolling_back", nodes=nodes, counts={"succeeded": 3} | dict(counts), **more))


def test_a_rollback_goes_on_only_when_all_is_undone() -> None:
    free = NodeView("undo-a", "blocked", is_undo=True)
    held = NodeView("undo-b", "blocked", is_undo=True, parents=1, deps_left=1)
    broken = NodeView("undo-c", "failed", because="no key", is_undo=True, on_failure="skip_descendants")
    original = NodeView("x", "failed", because="it was the reason", on_failure="rollback")
    assert rolling(held) == []
    assert [type(action) for action in rolling(free, held)] == [Release]
    assert [type(action) for action in rolling(free, broken)] == [Release]  # others are undone all the same
    (ends,) = rolling(broken, original)
    assert isinstance(ends, MoveSwarm)
    assert (ends.to, ends.why) == ("failed", "not all could be undone: undo-c failed: no key")
    (ends,) = rolling(original)
    assert isinstance(ends, MoveSwarm)
    assert ends.to == "rolled_back"


def test_what_is_taken_back_lands_only_when_checked_and_approved() -> None:
    assert [type(action) for action in rolling(takes_back=True)] == [CheckIntegration]
    assert rolling(takes_back=True, integration_check="running") == []
    passed: dict[str, Any] = {"takes_back": True, "integration_check": "passed"}
    assert [type(action) for action in rolling(**passed)] == [AskForLanding]
    assert rolling(**passed, landing_approval="pending") == []
    assert [type(action) for action in rolling(**passed, landing_approval="approved")] == [Land]
    assert [type(action) for action in rolling(**passed, landing_needs_approval=False)] == [Land]
    for refused in (
        {"integration_check": "failed"},
        {"landing_approval": "rejected"},
        {"landing_approval": "approved", "landing_check": "failed"},
    ):
        (ends,) = rolling(**passed | refused)
        assert isinstance(ends, MoveSwarm)
        assert ends.to == "failed"


@pytest.mark.parametrize("state", ["succeeded", "failed"])
def test_an_ended_swarm_is_rolled_back_only_when_somebody_said_yes(state: str) -> None:
    answers = ("", "pending", "approved", "rejected", "expired", "void")
    assert [answer for answer in answers if decide(Snapshot(state=state, rollback_approval=answer))] == ["approved"]


def test_a_failing_swarm_is_rolled_back_once_all_has_stopped_and_only_when_its_policy_says_so() -> None:
    node = NodeView("x", "failed", on_failure="rollback")
    whole: dict[str, Any] = {"state": "failing", "nodes": (node,), "counts": {"failed": 1, "succeeded": 1}}
    assert [type(action) for action in decide(Snapshot(**whole, undoable=1))] == [RollBack]
    assert [type(action) for action in decide(Snapshot(**whole, undoable=0))] == [MoveSwarm]
    assert decide(Snapshot(**whole, undoable=1, live_executions=1)) == []
    other = replace(node, on_failure="fail_swarm")
    assert [type(action) for action in decide(Snapshot(**whole | {"nodes": (other,)}, undoable=1))] == [MoveSwarm]
    stopped: dict[str, Any] = whole | {"state": "cancelling"}
    assert [type(action) for action in decide(Snapshot(**stopped, undoable=1))] == [MoveSwarm]


class Reviewers(Hands):
    """Agents that answer without a repository; the one named fails."""

    fails = ""

    def outcome(self, assignment: Assignment) -> Outcome:
        key = assignment.briefing.split("`")[1]
        if key == self.fails:
            return FailureOutcome(reason=FailureReason.AGENT_ERROR, message="it breaks")
        if assignment.kind == "review":
            return ReviewOutcome(verdict="approve", summary="looks right")
        assert assignment.repository is not None
        return WorkOutcome(commit=assignment.repository.commit, summary="undone")


@pytest.fixture
def project(team: Team, broker: object) -> Project:
    return Project.objects.create(
        slug="any", name="Any", source="nowhere", state="ready", max_attempts=1, created_by=user_of("alice", "acme")
    )


def swarm_of(project: Project, plan: Dag, kinds: Mapping[str, str], effects: set[str], fails: str) -> Swarm:
    """A swarm that runs this plan."""
    goal = Goal.objects.create(project=project, number=1, text="any", created_by=project.created_by)
    commit = "0" * 40
    swarm = Swarm.objects.create(
        project=project, goal=goal, number=1, state="running", base_commit=commit, integration_commit=commit
    )
    document = Plan.objects.create(swarm=swarm, version=1, state="approved", source="yaml")
    nodes = {
        key: Node(
            swarm=swarm,
            plan=document,
            key=key,
            title=key,
            kind="agent" if key == fails else kinds[key],
            role="reviewer",
            instructions="look",
            on_failure="rollback" if key == fails else "fail_swarm",
            compensate=f"undo {key}" if key in effects else "",
            parents=len(after),
            deps_left=len(after),
            max_attempts=1,
        )
        for key, after in plan.items()
    }
    Node.objects.bulk_create(nodes.values())
    Edge.objects.bulk_create(
        Edge(parent=nodes[parent], child=nodes[key]) for key, after in plan.items() for parent in after
    )
    return swarm


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(plan=plans(7), data=st.data())
def test_whatever_fails_exactly_what_succeeded_is_undone_once_and_the_last_first(
    project: Project, team: Team, plan: Dag, data: st.DataObject
) -> None:
    kinds = {key: data.draw(st.sampled_from(["agent", "noop"])) for key in plan}
    effects = data.draw(st.sets(st.sampled_from(sorted(plan))))
    fails = data.draw(st.sampled_from(sorted(plan)))
    with transaction.atomic():
        hands = Reviewers(team, PlanProposal(summary="", nodes=()), lambda a, p: "", by=project.created_by)
        hands.fails = fails
        swarm = swarm_of(project, plan, kinds, effects, fails)
        progress.release(swarm.pk, consider=swarm.nodes.filter(parents=0).values_list("pk", flat=True))
        hands.run(swarm)
        nodes = {node.key: node for node in swarm.nodes.filter(undoes=None)}
        undone = list(swarm.nodes.exclude(undoes=None).select_related("undoes").order_by("ended_at", "pk"))
        transaction.set_rollback(True)
    wanted = {key for key in effects if nodes[key].state == "succeeded"}
    assert nodes[fails].state == "failed"
    assert sorted(node.undoes.key for node in undone if node.undoes) == sorted(wanted)
    assert swarm.state == ("rolled_back" if wanted else "failed"), swarm.because
    assert {(node.state, node.attempts_made) for node in undone} <= {("succeeded", 1)}
    depends = ancestors(plan)
    ended = [node.undoes.key for node in undone if node.undoes]
    for place, key in enumerate(ended):
        assert not [other for other in ended[place + 1 :] if key in depends[other]]
