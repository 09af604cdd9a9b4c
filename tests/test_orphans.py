"""What has lost its partner is found by its rows, in both directions, and mended."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.db import IntegrityError, connection, transaction
from django.utils import timezone
from structlog.testing import capture_logs

from agents import executions, runners
from agents.contracts import PlanNode, PlanProposal
from agents.contracts.link import PROTOCOL, Beat, Hello, Order
from agents.models import Execution
from sessions.transitions import move
from swarms import control, goals, reconcile, replan, versions
from swarms.models import Attempt, CheckRun, Node, Plan, Project, Swarm
from swarms.states import AttemptState
from swarms.sweep import Sweep
from tenants import tokens
from tenants.ids import uuid7
from tenants.models import Due, Placement, Runner, Team, Ticket
from tests.invariants import violations
from tests.test_timeouts import Holding, age, refused, source_project


@pytest.fixture
def project(team: Team, settings: Any, tmp_path: Any, broker: object) -> Project:
    return source_project(settings, tmp_path)


@pytest.fixture
def hands(team: Team) -> Holding:
    return Holding(team)


@pytest.fixture
def swarm(project: Project, hands: Holding) -> Swarm:
    """A swarm with its only node at work on the runner."""
    made = goals.state_goal(project, "Write the file", by=hands.by)
    hands.run(made)
    assert len(hands.held) == 1
    return made


@pytest.fixture(autouse=True)
def invariants(project: Project, team: Team) -> Iterator[None]:
    """Whatever was broken is whole again at the end."""
    yield
    assert violations(team.schema_name) == []


def finish(swarm: Swarm, hands: Holding) -> None:
    """All is well again: the swarm comes to its end."""
    hands.holds = False
    Ticket.objects.update(not_before=timezone.now())
    if (last := hands.held[-1]) and Execution.objects.get(pk=last.execution).is_live:
        executions.settle(last.execution, last.fence, hands.outcome(last))
    hands.run(swarm)
    assert swarm.state == "succeeded", swarm.because


def hello(hands: Holding, *holding: UUID, boot: UUID | None = None) -> None:
    said = Hello(
        name="hands", boot=boot or uuid4(), version="1", protocol=PROTOCOL, capacity=4, sandbox="none", holding=holding
    )
    runners.disconnect(hands.runner.pk, "nowhere")
    runners.connect(hands.runner.pk, said, "nowhere")


def test_a_healthy_team_is_left_alone(swarm: Swarm, hands: Holding, team: Team) -> None:
    assert Sweep().look(team.pk) == {}
    finish(swarm, hands)
    assert Sweep().look(team.pk) == {}


def test_an_execution_without_a_placement_is_lost_and_its_work_begins_again(
    swarm: Swarm, hands: Holding, team: Team
) -> None:
    Placement.objects.all().delete()
    assert Sweep().look(team.pk) == {"execution without a placement": 1}
    refused(hands.held[0])
    assert Node.objects.values_list("state", "losses").get() == ("ready", 1)
    finish(swarm, hands)


def test_a_placement_without_a_live_execution_gives_its_slot_back(swarm: Swarm, hands: Holding, team: Team) -> None:
    Placement.objects.create(execution=uuid7(), team=team, runner=hands.runner, kind="work")
    assert Sweep().look(team.pk) == {"placement without a live execution": 1}
    assert Placement.objects.values_list("execution", flat=True).get() == hands.held[0].execution
    finish(swarm, hands)


def test_what_a_runner_says_it_holds_and_nobody_wants_is_stale(swarm: Swarm, hands: Holding) -> None:
    held = hands.held[0]
    stranger = Beat(execution=uuid4(), fence=uuid4(), progress=3)
    wrong = Beat(execution=held.execution, fence=uuid4(), progress=3)
    assert runners.beats(hands.runner.pk, [stranger, wrong]) == {
        stranger.execution: Order(verdict="stale"),
        held.execution: Order(verdict="stale"),
    }
    assert Execution.objects.get(pk=held.execution).progress == 0
    other = other_runner()
    mine = Beat(execution=held.execution, fence=held.fence, progress=3)
    assert runners.beats(other.pk, [mine]) == {held.execution: Order(verdict="stale")}
    assert runners.beats(hands.runner.pk, [mine]) == {held.execution: Order(verdict="continue")}
    finish(swarm, hands)


def other_runner() -> Runner:
    return Runner.objects.create(name="other", token=tokens.issue("runner")[0], capacity=1)


def test_a_runner_that_beats_without_an_execution_loses_it_before_its_lease(swarm: Swarm, hands: Holding) -> None:
    held = hands.held[0]
    assert runners.beats(hands.runner.pk, []) == {}
    assert Execution.objects.get(pk=held.execution).is_live  # one beat may cross its beginning
    age(held, lease_until=timedelta(seconds=-5))  # 30 - 5 seconds of silence, and the lease still holds
    runners.beats(hands.runner.pk, [])
    assert Execution.objects.get(pk=held.execution).because == "its runner is there and no longer has it"
    refused(held)
    finish(swarm, hands)


def test_a_runner_that_comes_back_without_its_work_loses_it_at_once(swarm: Swarm, hands: Holding) -> None:
    held = hands.held[0]
    hello(hands, held.execution)
    assert Execution.objects.get(pk=held.execution).is_live
    hello(hands)
    assert Execution.objects.get(pk=held.execution).state == "lost"
    assert Node.objects.get().losses == 1
    refused(held)
    finish(swarm, hands)


def test_a_runner_cannot_let_go_of_what_another_one_holds(swarm: Swarm, hands: Holding) -> None:
    other = other_runner()
    runners.let_go(other.pk, hands.held[0].execution, "over")
    assert Execution.objects.get(pk=hands.held[0].execution).is_live
    runners.let_go(hands.runner.pk, hands.held[0].execution, "over")
    assert Node.objects.values_list("state", "losses").get() == ("ready", 1)
    finish(swarm, hands)


def test_due_times_that_are_gone_are_written_again_with_time_to_report(
    swarm: Swarm, hands: Holding, team: Team
) -> None:
    held = hands.held[0]
    Due.objects.filter(subject=held.execution).delete()
    Execution.objects.filter(pk=held.execution).update(lease_until=timezone.now() - timedelta(hours=1))
    assert Sweep().look(team.pk) == {"due time": 3}
    due = Due.objects.get(kind="lease", subject=held.execution)
    assert timedelta(seconds=10) < due.due_at - timezone.now() < timedelta(seconds=25)
    Due.objects.filter(pk=due.pk).update(due_at=timezone.now())
    reconcile.tick()
    assert Execution.objects.get(pk=held.execution).state == "lost"
    finish(swarm, hands)


def test_a_due_time_of_something_that_is_over_goes_away(swarm: Swarm, hands: Holding) -> None:
    past = timezone.now() - timedelta(seconds=1)
    gone = uuid7()
    for kind in ("lease", "close", "stall"):
        Due.objects.create(team=hands.team, kind=kind, subject=gone, due_at=past)
    reconcile.tick()
    assert not Due.objects.filter(subject=gone).exists()
    finish(swarm, hands)


def test_who_works_on_what_never_changes(swarm: Swarm) -> None:
    live = Execution.objects.filter(ended_at=None)
    for rows, change in (
        (live, {"fence": uuid4()}),
        (live, {"subject": f"node:{uuid4()}"}),
        (Attempt.objects.all(), {"execution": None, "fence": uuid4()}),
        (Attempt.objects.all(), {"number": 2}),
    ):
        with pytest.raises(IntegrityError, match="never change"), transaction.atomic():
            rows.update(**change)


def test_what_counts_and_who_holds_it_is_looked_at_by_the_trigger(swarm: Swarm) -> None:
    nodes, live = Node.objects.filter(swarm=swarm), Attempt.objects.filter(ended_at=None)
    for rows, change, broken in (
        (nodes, {"failures": -1}, "swarms_node_failures_check"),
        (nodes, {"time_limit": -1}, "swarms_node_time_limit_check"),
        (nodes, {"deps_ok": 9}, "node_counts_its_parents"),
        (live, {"ended_at": timezone.now()}, "attempt_live_or_ended"),
        (live, {"state": AttemptState.LOST}, "attempt_live_or_ended"),
        (live, {"lease_until": timezone.now()}, "attempt_has_one_lease"),
    ):
        with pytest.raises(IntegrityError, match=broken), transaction.atomic():
            rows.update(**change)


def test_work_that_waits_without_a_ticket_gets_one(project: Project, hands: Holding, team: Team) -> None:
    swarm = goals.state_goal(project, "Write the file", by=hands.by)
    Ticket.objects.all().delete()
    assert Sweep().look(team.pk) == {"plan without a ticket": 1}
    hands.run(swarm)
    change = replan.ask(swarm, "another file", by=hands.by)
    Ticket.objects.all().delete()
    assert Sweep().look(team.pk) == {"plan without a ticket": 1}
    versions.supersede(change, "it was a test")
    runners.let_go(hands.runner.pk, hands.held[0].execution, "leaving")
    Ticket.objects.all().delete()
    assert Sweep().look(team.pk) == {"ready node without a ticket": 1}
    hands.run(swarm)
    held = hands.held[-1]
    executions.settle(held.execution, held.fence, hands.outcome(held))
    assert Ticket.objects.filter(kind="checks").exists() or not CheckRun.objects.filter(state="waiting").exists()
    finish(swarm, hands)


def test_checks_that_nobody_runs_run_again(swarm: Swarm, hands: Holding, team: Team) -> None:
    held, checks = hands.held[0], [{"name": "x", "command": "true", "timeout": 5}]
    executions.settle(held.execution, held.fence, hands.outcome(held))
    run = CheckRun.objects.create(swarm=swarm, purpose="before", commit=swarm.base_commit, checks=checks)
    assert Sweep().look(team.pk) == {"check run without a ticket": 1}
    Ticket.objects.filter(subject=run.pk).delete()
    move(run, "running", because="by hand")
    assert Sweep().look(team.pk) == {"check run without a live execution": 1}
    run.refresh_from_db()
    assert run.state == "waiting"
    assert Ticket.objects.filter(kind="checks", subject=run.pk).exists()
    finish(swarm, hands)
    run.refresh_from_db()
    assert run.state == "passed"


def test_a_ticket_of_a_node_that_does_not_wait_is_taken_back(swarm: Swarm, hands: Holding, team: Team) -> None:
    Ticket.objects.create(team=team, kind="node", subject=Node.objects.get().pk, swarm=swarm.pk)
    assert Sweep().look(team.pk) == {"ticket of a node that is not ready": 1}
    finish(swarm, hands)


def test_a_node_at_work_whose_attempt_is_over_begins_again(swarm: Swarm, hands: Holding, team: Team) -> None:
    now = timezone.now()
    move(Attempt.objects.get(), "failed", because="by hand", ended_at=now)
    move(Execution.objects.get(pk=hands.held[0].execution), "failed", because="by hand", ended_at=now)
    found = Sweep().look(team.pk)
    assert found["node without a live attempt"] == found["placement without a live execution"] == 1
    assert Node.objects.values_list("state", "losses").get() == ("ready", 1)
    finish(swarm, hands)


def test_an_attempt_whose_execution_ended_without_it_is_lost(swarm: Swarm, hands: Holding, team: Team) -> None:
    move(Execution.objects.get(pk=hands.held[0].execution), "lost", because="by hand", ended_at=timezone.now())
    found = Sweep().look(team.pk)
    assert found["attempt whose execution has ended"] == found["placement without a live execution"] == 1
    assert Attempt.objects.values_list("state", "reason").get() == ("lost", "lost")
    finish(swarm, hands)


MILESTONES = PlanProposal(
    summary="Nothing to do.",
    nodes=(
        PlanNode(key="m", title="A milestone", kind="noop"),
        PlanNode(key="n", title="Another", kind="noop", depends_on=("m",)),
    ),
)


@pytest.fixture
def milestones(project: Project, hands: Holding, monkeypatch: pytest.MonkeyPatch) -> Swarm:
    """A swarm whose first control-plane node has been claimed by a worker that then died."""
    hands.plan = MILESTONES
    made = goals.state_goal(project, "Pass by", by=hands.by)
    with monkeypatch.context() as patched:
        patched.setattr(control, "serve", lambda: 0)
        hands.run(made)
    with connection.cursor() as cursor:
        assert len(control.step(cursor, made.pk, [], claim=8).claimed) == 1
    Attempt.objects.update(lease_until=timezone.now() - timedelta(seconds=1))
    return made


def _after_the_worker(milestones: Swarm, hands: Holding) -> None:
    attempt = Attempt.objects.get()
    assert (attempt.state, attempt.reason) == ("lost", "lost")
    with connection.cursor() as cursor:
        late = control.step(cursor, milestones.pk, [{"attempt": str(attempt.pk), "fence": str(attempt.fence)}], claim=0)
    assert late.stale == 1
    hands.run(milestones)
    assert milestones.state == "succeeded", milestones.because
    assert list(Node.objects.order_by("key").values_list("attempts_made", "losses")) == [(2, 1), (1, 0)]


def test_what_a_dead_worker_had_claimed_is_given_out_again(milestones: Swarm, hands: Holding) -> None:
    past = timezone.now() - timedelta(seconds=1)
    Due.objects.update_or_create(team=hands.team, kind="step", subject=milestones.pk, defaults={"due_at": past})
    reconcile.tick()
    _after_the_worker(milestones, hands)
    Due.objects.filter(kind="step").update(due_at=past)
    reconcile.tick()
    assert not Due.objects.filter(kind="step").exists()


def test_the_sweep_finds_what_a_dead_worker_had_claimed(milestones: Swarm, hands: Holding, team: Team) -> None:
    Due.objects.filter(kind="step").delete()
    assert Sweep().look(team.pk) == {"attempt of a worker that is gone": 1}
    Due.objects.filter(kind="step").delete()
    assert Sweep().look(team.pk) == {"control-plane node without a hint": 1}
    _after_the_worker(milestones, hands)


def test_a_swarm_that_nothing_wakes_is_woken_and_then_reported(project: Project, hands: Holding, team: Team) -> None:
    swarm = goals.state_goal(project, "Write the file", by=hands.by)
    plan = Plan.objects.get()
    move(plan, "superseded", because="by hand")
    Ticket.objects.all().delete()
    Due.objects.filter(subject=swarm.pk).delete()
    sweep = Sweep()
    with capture_logs() as logs:
        sweep.look(team.pk)
        assert Due.objects.filter(kind="advance", subject=swarm.pk).exists()
        assert sweep.look(team.pk) == {}  # the hint is on its way
        Due.objects.all().update(due_at=timezone.now())
        reconcile.tick()
        sweep.look(team.pk)
    stuck = [line for line in logs if "stuck" in line["event"]]
    assert [line["swarm"] for line in stuck] == [str(swarm.pk)]


def test_a_sweep_looks_where_something_is_live_and_comes_by_everywhere(
    swarm: Swarm, hands: Holding, team: Team, globex: Team, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[UUID] = []
    monkeypatch.setattr(Sweep, "look", lambda self, team: looked.append(team) or {})
    monkeypatch.setattr("swarms.sweep.OTHERS", 1)
    sweep = Sweep()
    for _ in range(3):
        sweep.run()
    assert looked.count(team.pk) == 3
    assert 1 <= looked.count(globex.pk) < 3
    finish(swarm, hands)
