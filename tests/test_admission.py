"""Beyond its share a team is refused at once, with a reason; nothing is queued in silence."""

import threading
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.db import connection, transaction
from django.test import Client
from django.utils import timezone

from agents.contracts import PlanNode, PlanProposal
from swarms import approvals, engine, goals, operations, plan_yaml, planner, replan, retry
from swarms.admission import AdmissionRefused
from swarms.models import Approval, Goal, Plan, Project, Swarm
from tenants.context import in_schema
from tenants.models import Team, TeamShare, Ticket
from tests.conftest import user_of
from tests.hands import Hands
from tests.milestones import adopted, proposed
from tests.test_direct_call import PLAN, project_of, ready, worker

__all__ = ["ready"]


@pytest.fixture
def project(team: Team, ready: None, tmp_path: Path) -> Project:
    return project_of(tmp_path / "source", "lists")


def share(team: Team, **limits: int) -> None:
    TeamShare.objects.filter(team=team).update(**limits)


def state(project: Project) -> Swarm:
    return goals.state_goal(project, "Write the files", by=user_of("alice", "acme"))


def test_a_goal_beyond_the_teams_swarms_is_refused_and_leaves_nothing(team: Team, project: Project) -> None:
    share(team, max_swarms=1)
    first = state(project)
    with pytest.raises(AdmissionRefused) as refused:
        state(project)
    assert refused.value.reason.startswith("The team has 1 swarms that have not ended, and may have 1. Try again")
    assert refused.value.retry_after > 0
    assert isinstance(refused.value, ValidationError)
    assert (Goal.objects.count(), Swarm.objects.count(), Ticket.objects.count()) == (1, 1, 1)
    operations.cancel(first, by=user_of("alice", "acme"))
    Hands(team, PLAN, worker, by=user_of("alice", "acme")).run(first)
    assert first.state == "cancelled"
    state(project)


def test_the_form_says_why_and_keeps_what_was_written(
    team: Team, project: Project, client_for: Callable[..., Client]
) -> None:
    share(team, max_swarms=0)
    client = client_for(user_of("alice", "acme"), team)
    response = client.post("/projects/lists/goals/", {"text": "Rename everything, carefully."})
    page = response.content.decode()
    assert response.status_code in (422, 429)
    assert "Rename everything, carefully." in page
    assert "may have 0" in page
    assert response.context["form"].errors["text"]


def test_a_plan_beyond_the_waiting_nodes_is_refused_whoever_brings_it(team: Team, project: Project) -> None:
    hands = Hands(team, PLAN, worker, by=user_of("alice", "acme"))
    swarm = state(project)
    share(team, max_waiting=1)
    hands.turn()
    plan = Plan.objects.get(swarm=swarm)
    assert plan.state == "invalid"
    assert plan.because.startswith("0 nodes of the team wait already, and with 2 more it would be over 1.")
    with pytest.raises(AdmissionRefused):
        goals.give_plan(swarm, plan_yaml.write_yaml(PLAN.model_dump(mode="json")), by=hands.by)
    assert Plan.objects.count() == 1


def test_a_plan_is_not_approved_when_there_is_no_room_for_its_nodes_and_is_later(team: Team, project: Project) -> None:
    hands = Hands(team, PLAN, worker, by=user_of("alice", "acme"))
    swarm = state(project)
    hands.run(swarm, approve=False)
    approval = Approval.objects.get(kind="plan")
    share(team, max_waiting=1)
    with pytest.raises(approvals.NotDecidable, match="it would be over 1"):
        approvals.approve(approval, by=hands.by)
    assert Approval.objects.get(kind="plan").state == "pending"
    share(team, max_waiting=2)
    approvals.approve(approval, by=hands.by)
    assert Approval.objects.get(kind="plan").state == "approved"


def test_of_several_who_want_the_last_place_one_gets_it(committed_team: Team, ready: None, tmp_path: Path) -> None:
    project = project_of(tmp_path / "source", "lists")
    share(committed_team, max_swarms=3)
    refused: list[AdmissionRefused] = []
    faults: list[Exception] = []

    def ask() -> None:
        try:
            with in_schema(committed_team.schema_name):
                state(Project.objects.get(pk=project.pk))
        except AdmissionRefused as error:
            refused.append(error)
        except Exception as error:
            faults.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    share(committed_team, max_swarms=100)
    assert faults == []
    assert (Swarm.objects.count(), len(refused)) == (3, 5)


def milestones(*keys: str) -> PlanProposal:
    """A plan of nodes that wait for a person before they start."""
    nodes = tuple(PlanNode(key=key, title=key, kind="noop", risk="high") for key in keys)
    return PlanProposal(summary="Milestones.", nodes=nodes)


def written(plan: PlanProposal) -> str:
    return plan_yaml.write_yaml(plan.model_dump(mode="json"))


def test_a_policy_adopts_no_plan_beyond_the_waiting_nodes_and_says_so(team: Team, ready: None) -> None:
    share(team, max_waiting=1)
    swarm = adopted(milestones("a", "b"))
    plan = Plan.objects.get()
    full = "0 nodes of the team wait already, and with 2 more it would be over 1."
    assert (swarm.state, plan.state) == ("planning", "invalid")
    assert swarm.because.startswith(f"plan 1: {full}")
    assert plan.faults == [plan.because]
    assert not swarm.nodes.exists()
    engine.advance(swarm.pk)
    share(team, max_waiting=2)
    goals.give_plan(swarm, written(milestones("a", "b")), by=user_of("alice", "acme"))
    engine.advance(swarm.pk)
    swarm.refresh_from_db()
    assert swarm.state == "running"


def test_a_change_that_has_no_room_any_more_is_turned_back_and_the_swarm_goes_on(team: Team, ready: None) -> None:
    share(team, max_waiting=2)
    swarm = adopted(milestones("a"))
    replan.change(swarm, written(milestones("a", "b")), by=user_of("alice", "acme"))
    share(team, max_waiting=1)
    engine.advance(swarm.pk)
    change = Plan.objects.get(version=2)
    assert change.state == "invalid"
    assert "with one more it would be over 1" in change.because
    swarm.refresh_from_db()
    assert (swarm.state, swarm.nodes.count()) == ("running", 1)


def slowed(monkeypatch: pytest.MonkeyPatch, module: ModuleType, name: str) -> None:
    """Who comes to this function waits for another one, who must not come so far."""
    both, then = threading.Barrier(2), getattr(module, name)

    def slowly(*words: Any, **more: Any) -> Any:
        with suppress(threading.BrokenBarrierError):
            both.wait(2)
        return then(*words, **more)

    monkeypatch.setattr(module, name, slowly)


def at_once(team: Team, do: Callable[[Swarm], object], swarms: list[Swarm]) -> list[Exception]:
    """Do it with each swarm in a thread of its own; what was raised."""
    raised: list[Exception] = []

    def go(swarm: Swarm) -> None:
        try:
            with in_schema(team.schema_name):
                do(swarm)
        except Exception as error:
            raised.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=go, args=(swarm,)) for swarm in swarms]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return raised


def test_of_two_plans_that_want_the_last_places_one_gets_them(
    committed_team: Team, ready: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    share(committed_team, max_waiting=3)
    swarms = [proposed(milestones("a", "b")) for _ in range(2)]
    slowed(monkeypatch, planner, "adopt")
    raised = at_once(committed_team, lambda swarm: engine.advance(swarm.pk), swarms)
    share(committed_team, max_waiting=10_000)
    assert raised == []
    assert sorted(Swarm.objects.values_list("state", flat=True)) == ["planning", "running"]


def failed(plan: PlanProposal) -> Swarm:
    """A swarm whose time is over before any of its nodes began."""
    swarm = adopted(plan)
    operations.set_deadline(swarm, timezone.now() + timedelta(hours=1), by=user_of("alice", "acme"))
    Swarm.objects.filter(pk=swarm.pk).update(deadline_at=timezone.now() - timedelta(seconds=1))
    operations.expire(swarm.pk)
    engine.advance(swarm.pk)
    swarm.refresh_from_db()
    assert swarm.state == "failed", swarm.because
    return swarm


def test_of_two_failed_swarms_that_want_the_last_place_one_is_tried_again(
    committed_team: Team, ready: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    swarms = [failed(milestones("a")) for _ in range(2)]
    share(committed_team, max_swarms=1)
    slowed(monkeypatch, retry, "again")
    alice = user_of("alice", "acme")
    raised = at_once(committed_team, lambda swarm: operations.retry_swarm(swarm, by=alice), swarms)
    share(committed_team, max_swarms=100)
    assert [type(error) for error in raised] == [AdmissionRefused]
    assert sorted(Swarm.objects.values_list("state", flat=True)) == ["failed", "running"]


def test_nodes_that_would_wait_again_need_room_like_new_ones(team: Team, ready: None) -> None:
    swarm, alice = failed(milestones("a", "b")), user_of("alice", "acme")
    share(team, max_waiting=1)
    with pytest.raises(AdmissionRefused, match="2 nodes of the team would wait, and 1 may"), transaction.atomic():
        operations.retry_swarm(swarm, by=alice)
    swarm.refresh_from_db()
    assert (swarm.state, {node.state for node in swarm.nodes.all()}) == ("failed", {"cancelled"})
    share(team, max_waiting=2)
    operations.retry_swarm(swarm, by=alice)
    swarm.refresh_from_db()
    assert swarm.state == "running"
