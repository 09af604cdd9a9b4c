"""A node of kind plan is detailed by the coordinator when its turn has come."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone

from agents.contracts import Assignment, FailureOutcome, FailureReason, PlanProposal
from swarms import admission, approvals, conditions, engine, operations, sweep
from swarms.models import Approval, Node, Plan, Project
from tenants.models import Due, Team, TeamShare
from tests.replan_stage import Crew, begin, make_project, milestone, node, part, plan, states, wrong


@pytest.fixture
def project(team: Team, settings: Any, tmp_path: Path, broker: object) -> Iterator[Project]:
    """Nobody is asked, but where a test says so."""
    yield make_project(tmp_path, settings, approve_plan=False, approve_landing=False)
    assert wrong(team) == []


WHOLE = plan(node("a"), part("big", "a", instructions="two files"), node("end", "big"))


def test_a_node_becomes_a_plan_whose_ends_the_rest_waits_for(project: Project, team: Team) -> None:
    crew = Crew(team, lambda assignment: plan(node("x"), node("y", "x"), node("z")))
    crew.hold = {"big--y"}
    swarm = begin(project, crew, WHOLE)
    crew.settle_down(swarm)
    assert states(swarm) == {
        "a": "succeeded",
        "big": "succeeded",
        "big--x": "succeeded",
        "big--y": "running",
        "big--z": "succeeded",
        "end": "blocked",
    }
    inner = Node.objects.get(key="big--x")
    assert (inner.parent, inner.depth, inner.plan.node) == (Node.objects.get(key="big"), 1, inner.parent)
    assert inner.parent.path_length == 4
    assert "## Your part\ntwo files" in crew.briefings[-1]
    assert "`a` Write a (has succeeded): wrote a" in crew.briefings[-1]
    assert "`end` Write end" in crew.briefings[-1]
    crew.let_go()
    crew.run(swarm)
    assert swarm.state == "succeeded", swarm.because
    assert [plan.state for plan in Plan.objects.filter(swarm=swarm).order_by("version")][1:] == ["approved", "approved"]


def test_parts_read_what_the_node_reads_that_they_detail(project: Project, team: Team) -> None:
    crew = Crew(team, lambda assignment: plan(node("x"), node("y", "x", effects=True), milestone("z", "y")))
    swarm = begin(project, crew, plan(part("big", untrusted=True, secrets=True), node("end", "big")))
    crew.settle_down(swarm)
    flags = Node.objects.values_list("key", "untrusted", "secrets", "trifecta")
    assert set(flags) == {
        ("big", True, True, False),
        ("big--x", True, True, False),
        ("big--y", True, True, True),
        ("big--z", False, False, False),
        ("end", False, False, False),
    }
    assert states(swarm)["big--y"] == "awaiting_approval"
    crew.run(swarm)
    assert swarm.state == "succeeded", swarm.because


def test_a_part_that_stays_faulty_is_tried_again_and_then_fails(project: Project, team: Team) -> None:
    crew = Crew(team)

    def answer(assignment: Assignment) -> PlanProposal:
        return plan(node("x", "nobody"))

    crew.answer = answer
    carry_out = crew.carry_out

    def until_taken(assignment: Assignment) -> list[str]:
        for _ in range(5):
            if not (faults := carry_out(assignment)):
                break
        return faults

    crew.carry_out = until_taken  # type: ignore[method-assign]
    swarm = begin(project, crew, plan(part("big"), node("b")))
    crew.settle_down(swarm)
    assert swarm.state == "failed"
    big = Node.objects.get(key="big")
    assert (big.state, big.attempts_made) == ("failed", 3)
    assert "nobody" in crew.briefings[-1]
    assert set(Plan.objects.filter(node=big).values_list("state", flat=True)) == {"superseded"}


def test_a_part_waits_for_its_approval(project: Project, team: Team) -> None:
    crew = Crew(team, lambda assignment: plan(node("x")))
    swarm = begin(project, crew, WHOLE)
    Project.objects.update(approve_plan=True)
    crew.settle_down(swarm)
    assert states(swarm) == {"a": "succeeded", "big": "verifying", "end": "blocked"}
    gate = Approval.objects.get(state="pending")
    assert (gate.kind, gate.node) == ("plan", Node.objects.get(key="big"))
    approvals.reject(gate, by=crew.by, because="name it better")
    crew.settle_down(swarm)
    assert "name it better" in crew.briefings[-1]
    crew.run(swarm)
    assert swarm.state == "succeeded", swarm.because
    assert Node.objects.get(key="big").attempts_made == 2


def test_a_drained_swarm_waits_for_nobodys_word_about_a_part(project: Project, team: Team) -> None:
    crew = Crew(team, lambda assignment: plan(node("x")))
    swarm = begin(project, crew, WHOLE)
    Project.objects.update(approve_plan=True)
    crew.settle_down(swarm)
    gate = Approval.objects.get(state="pending")
    operations.drain(swarm, by=crew.by)
    crew.settle_down(swarm)
    assert (swarm.state, states(swarm)) == (
        "landing",
        {"a": "succeeded", "big": "succeeded", "big--x": "skipped", "end": "skipped"},
    )
    gate.refresh_from_db()
    assert (gate.state, gate.because) == ("void", "the swarm is drained: nothing of it starts")


def test_a_part_that_was_refused_is_not_taken_because_its_swarm_is_drained(project: Project, team: Team) -> None:
    crew = Crew(team, lambda assignment: plan(node("x")))
    swarm = begin(project, crew, WHOLE)
    Project.objects.update(approve_plan=True)
    crew.settle_down(swarm)
    approvals.reject(Approval.objects.get(state="pending"), by=crew.by, because="no")
    operations.drain(swarm, by=crew.by)
    crew.settle_down(swarm)
    assert (swarm.state, states(swarm)) == ("landing", {"a": "succeeded", "big": "skipped", "end": "skipped"})
    assert Plan.objects.get(node__key="big").state == "rejected"


def test_two_parts_are_detailed_beside_each_other(project: Project, team: Team) -> None:
    crew = Crew(team, lambda assignment: plan(node("x" + assignment.briefing.split("`")[1])))
    swarm = begin(project, crew, plan(part("one"), part("two"), node("end", "one", "two")))
    Project.objects.update(approve_plan=True)
    crew.settle_down(swarm)
    assert Approval.objects.filter(state="pending").count() == 2
    crew.run(swarm)
    assert swarm.state == "succeeded", swarm.because
    assert set(states(swarm)) == {"one", "one--xone", "two", "two--xtwo", "end"}
    assert Node.objects.get(key="end").parents == 4


def test_parts_nest_as_deep_as_the_project_allows(project: Project, team: Team) -> None:
    def answer(assignment: Assignment) -> PlanProposal:
        key = assignment.briefing.split("`")[1]
        return plan(part("in")) if key == "big" else plan(node("leaf"))

    crew = Crew(team, answer)
    swarm = begin(project, crew, plan(part("big")))
    crew.run(swarm)
    assert swarm.state == "succeeded", swarm.because
    assert Node.objects.get(key="big--in--leaf").depth == 2
    deep = Plan.objects.get(node__key="big--in")
    from swarms import versions

    faults = versions.faults(deep, plan(part("deeper")))
    assert any("nest at most 2 deep" in fault for fault in faults), faults


def test_a_lost_coordinator_is_followed_by_another_attempt(project: Project, team: Team) -> None:
    tries: list[str] = []

    def answer(assignment: Assignment) -> PlanProposal | FailureOutcome:
        tries.append(assignment.briefing)
        if len(tries) == 1:
            return FailureOutcome(reason=FailureReason.INVALID_OUTPUT, message="no answer")
        return plan(node("x"))

    crew = Crew(team, answer)
    swarm = begin(project, crew, plan(part("big")))
    crew.run(swarm)
    assert swarm.state == "succeeded", swarm.because
    assert sorted(Plan.objects.filter(node__key="big").values_list("state", flat=True)) == ["approved", "superseded"]


def test_cancelling_a_swarm_ends_a_part_that_waits_for_its_answer(project: Project, team: Team) -> None:
    from swarms import operations

    crew = Crew(team, lambda assignment: plan(node("x")))
    swarm = begin(project, crew, WHOLE)
    Project.objects.update(approve_plan=True)
    crew.settle_down(swarm)
    operations.cancel(swarm, by=crew.by)
    engine.advance(swarm.pk)
    swarm.refresh_from_db()
    assert swarm.state == "cancelled"
    assert set(states(swarm).values()) == {"succeeded", "cancelled"}


def test_a_part_waits_for_room_and_says_so(project: Project, team: Team) -> None:
    crew = Crew(team, lambda assignment: plan(node("x"), node("y")))
    swarm = begin(project, crew, plan(part("big"), node("end", "big")))
    TeamShare.objects.filter(team=team).update(max_waiting=2)
    crew.settle_down(swarm)
    assert states(swarm) == {"big": "verifying", "end": "blocked"}
    (why,) = conditions.of_node(Node.objects.select_related("swarm").get(key="big"))
    assert (why.kind, why.text) == (
        "quota",
        "1 nodes of the team wait already, and with 2 more it would be over 2.",
    )
    due = Due.objects.get(kind="advance", subject=swarm.pk)
    assert timedelta(0) < due.due_at - timezone.now() <= admission.LOOK_AGAIN
    assert sweep.Sweep().look(team.pk) == {}
    TeamShare.objects.filter(team=team).update(max_waiting=3)
    crew.run(swarm)
    assert swarm.state == "succeeded", swarm.because


def test_while_a_person_decides_about_a_part_its_page_says_so(project: Project, team: Team) -> None:
    crew = Crew(team, lambda assignment: plan(node("x")))
    swarm = begin(project, crew, WHOLE)
    Project.objects.update(approve_plan=True)
    crew.settle_down(swarm)
    (why,) = conditions.of_node(Node.objects.select_related("swarm").get(key="big"))
    assert (why.kind, why.text) == ("approval", "a person must decide about its plan")
    operations.drain(swarm, by=crew.by)
    crew.run(swarm)
    assert swarm.state == "succeeded", swarm.because
    assert states(swarm)["big--x"] == "skipped"
