"""What budgets mean for a swarm: what waits, who is asked, and what an answer does."""

import subprocess
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from django.db import transaction
from django.utils import timezone

from agents import budgets, executions, metering
from agents.contracts import Check, FailureOutcome, FailureReason, PlanNode, PlanProposal
from agents.models import Budget, Execution, ModelCall
from agents.states import LIVE
from sessions.models import Event
from swarms import allowances, approvals, dispatch, engine, goals, operations, projects
from swarms.budgets import set_limit
from swarms.models import Approval, Attempt, Node, Project, Swarm
from swarms.sweep import Sweep
from swarms.workspace.git import environment
from tenants.models import Team, Ticket
from tests.conftest import user_of
from tests.hands import Hands
from tests.invariants import violations
from tests.money_stage import books, spend

PLAN = PlanProposal(
    summary="One, then another.",
    nodes=(
        PlanNode(key="a", title="A", role="developer", instructions="a", writes=("a.txt",)),
        PlanNode(key="b", title="B", role="developer", instructions="b", writes=("b.txt",), depends_on=("a",)),
    ),
)


@pytest.fixture
def project(team: Team, settings: Any, tmp_path: Path, broker: object) -> Iterator[Project]:
    settings.DATA_DIR, settings.LOCAL_SOURCES = tmp_path / "data", True
    source = tmp_path / "source"
    source.mkdir()
    (source / "list.txt").write_text("[]\n")
    for args in (["init", "-q", "-b", "main"], ["add", "."], ["commit", "-q", "-m", "begin"]):
        subprocess.run(["git", *args], cwd=source, env=environment(), check=True)
    made = projects.add_project(
        name="Lists",
        slug="lists",
        source=str(source),
        checks=[Check(name="list", command="test -f list.txt")],
        by=user_of("alice", "acme"),
    )
    projects.fetch(made.pk)
    made.refresh_from_db()
    yield made
    assert violations(team.schema_name) == []


@pytest.fixture
def hands(team: Team) -> Hands:
    def worker(assignment: Any, work: Path) -> str:
        key = assignment.briefing.split("`")[1]
        (work / f"{key}.txt").write_text("good\n")
        return f"wrote {key}"

    return Hands(team, PLAN, worker, by=user_of("alice", "acme"))


@pytest.fixture
def swarm(project: Project, hands: Hands) -> Swarm:
    return planned(project, hands, PLAN)


def planned(project: Project, hands: Hands, plan: PlanProposal) -> Swarm:
    """A swarm whose plan is approved and whose first node waits for its turn."""
    made = goals.state_goal(project, "Lists", by=hands.by)
    goals.give_plan(made, yaml.safe_dump(plan.model_dump(mode="json")), by=hands.by)
    engine.advance(made.pk)
    hands.approve_all()
    engine.advance(made.pk)
    made.refresh_from_db()
    assert Node.objects.get(key="a").state == "ready"
    return made


def begun(swarm: Swarm) -> tuple[Node, Execution]:
    """The first node, begun."""
    look_again()
    assert dispatch.dispatch() > 0
    node = Node.objects.get(swarm=swarm, key="a")
    running = Execution.objects.get(subject=f"node:{node.pk}", state__in=LIVE)
    return node, running


def look_again() -> None:
    """The time of every ticket has come."""
    Ticket.objects.update(not_before=timezone.now())


def test_a_node_begins_with_its_money_set_aside_everywhere(swarm: Swarm) -> None:
    for subject in ("team", f"project:{swarm.project_id}", f"swarm:{swarm.pk}"):
        set_limit(subject, 10_000_000)
    node, running = begun(swarm)
    assert running.reserved_microusd == budgets.FIRST_ESTIMATE
    assert set(running.budgets) == {"team", f"project:{swarm.project_id}", f"swarm:{swarm.pk}", f"node:{node.pk}"}
    for subject in ("team", f"project:{swarm.project_id}", f"swarm:{swarm.pk}"):
        assert books(subject) == (10_000_000, budgets.FIRST_ESTIMATE, 0)


def test_a_full_budget_parks_the_node_and_asks_once(swarm: Swarm, hands: Hands) -> None:
    mine = f"swarm:{swarm.pk}"
    set_limit(mine, 0)
    for _ in range(3):
        look_again()
        dispatch.dispatch()
    asked = Approval.objects.get(kind="budget")
    assert asked.subject["budget"] == mine
    assert asked.subject["limit_microusd"] == 0
    node = Node.objects.get(key="a")
    assert (node.state, node.attempts_made, Attempt.objects.count()) == ("ready", 0, 0)
    ticket = Ticket.objects.get(kind="node", subject=node.pk)
    assert ticket.parked == f"budget:{mine}"
    assert ticket.not_before > timezone.now()

    approvals.approve(asked, by=hands.by)
    assert books(mine)[0] == asked.subject["raise_to_microusd"] > 0
    ticket.refresh_from_db()
    assert ticket.not_before <= timezone.now()
    assert begun(swarm)[1].reserved_microusd == books(mine)[1] > 0


def test_a_no_at_the_hard_line_fails_what_needs_the_money(swarm: Swarm, hands: Hands) -> None:
    set_limit("team", 0)
    look_again()
    dispatch.dispatch()
    approvals.reject(Approval.objects.get(kind="budget"), by=hands.by, because="enough")
    hands.run(swarm)
    node = Node.objects.get(key="a")
    assert node.state == "failed"
    assert node.because.startswith("budget_exceeded: ")
    assert swarm.state == "failed"
    assert Approval.objects.filter(kind="budget").count() == 1


def test_an_answer_about_another_limit_is_void(swarm: Swarm, hands: Hands) -> None:
    set_limit("team", 0)
    look_again()
    dispatch.dispatch()
    allowances.set_budget("team", 1, 80, by=hands.by)
    asked = Approval.objects.get(kind="budget")
    assert asked.state == "void"
    with pytest.raises(approvals.NotDecidable, match="void"):
        approvals.approve(asked, by=hands.by)
    assert books()[0] == 1


def test_a_member_who_raises_the_limit_wakes_what_waits(swarm: Swarm, hands: Hands) -> None:
    set_limit("team", 0)
    look_again()
    dispatch.dispatch()
    assert Ticket.objects.get(kind="node").not_before > timezone.now()
    allowances.set_budget("team", 5_000_000, 80, by=hands.by)
    assert Ticket.objects.get(kind="node").not_before <= timezone.now()
    assert begun(swarm)[1].is_live
    assert not Approval.objects.filter(kind="budget", state="pending").exists()


def test_the_soft_line_asks_once_and_stops_nothing(swarm: Swarm, hands: Hands) -> None:
    set_limit("team", 1_000_000, 50)
    _, running = begun(swarm)
    for _ in range(4):
        budgets.hold(running.pk, 150_000)
        softly = spend(running.pk, 150_000, held=150_000)
        allowances.soft_line(swarm.pk, softly)
    asked = Approval.objects.get(kind="budget")
    assert (asked.subject["line"], asked.subject["spent_microusd"]) == ("soft", 600_000)
    approvals.reject(asked, by=hands.by, because="go on, but no more")
    budgets.hold(running.pk, 10)
    assert spend(running.pk, 10, held=10) == []
    running.refresh_from_db()
    assert running.is_live


def test_a_call_that_is_booked_after_its_swarm_has_ended_asks_nobody(swarm: Swarm, hands: Hands) -> None:
    set_limit("team", 1_000_000, 50)
    _, running = begun(swarm)
    budgets.hold(running.pk, 600_000)
    operations.cancel(swarm, by=hands.by)
    hands.run(swarm)
    assert swarm.state == "cancelled"
    softly = spend(running.pk, 600_000, held=600_000)
    assert softly == ["team"]
    allowances.soft_line(swarm.pk, softly)
    assert not Approval.objects.filter(kind="budget").exists()
    assert Budget.objects.get().asked_at is None, "the next swarm asks"


def test_an_agent_that_runs_out_waits_for_a_person_and_burns_nothing(swarm: Swarm, hands: Hands) -> None:
    set_limit("team", 1_000_000)
    node, running = begun(swarm)
    outcome = FailureOutcome(reason=FailureReason.BUDGET_EXCEEDED, message="no room for a call")
    executions.settle(running.pk, running.fence, outcome)
    node.refresh_from_db()
    assert (node.state, node.failures, books()[1]) == ("ready", 0, 0)
    assert Approval.objects.get(kind="budget").subject["line"] == "hard"
    look_again()
    dispatch.dispatch()
    assert Ticket.objects.get(kind="node").parked == "budget:team"
    hands.run(swarm)
    assert swarm.state == "succeeded"
    assert books()[0] == 2_000_000


def test_work_waits_for_what_others_have_set_aside_and_nobody_is_asked(project: Project, hands: Hands) -> None:
    free = PLAN.nodes[1].model_copy(update={"depends_on": ()})
    planned(project, hands, PLAN.model_copy(update={"nodes": (PLAN.nodes[0], free)}))
    set_limit("team", budgets.FIRST_ESTIMATE)
    look_again()
    dispatch.dispatch()
    running = Execution.objects.get(kind="work")
    waits = Ticket.objects.get(kind="node")
    assert waits.parked == "budget:team"
    assert not Approval.objects.filter(kind="budget").exists()
    made_up = FailureOutcome(reason=FailureReason.CANCELLED, message="enough")
    assert executions.settle(running.pk, running.fence, made_up)[0].startswith("reason: nobody asked it to stop")
    assert Swarm.objects.get().state == "running"
    executions.settle(running.pk, running.fence, FailureOutcome(reason=FailureReason.AGENT_ERROR, message="enough"))
    Ticket.objects.exclude(pk=waits.pk).update(not_before=timezone.now() + timedelta(hours=1))
    Ticket.objects.filter(pk=waits.pk).update(not_before=timezone.now())
    dispatch.dispatch()
    assert Execution.objects.get(kind="work", state__in=LIVE).subject == f"node:{waits.subject}"


def test_in_a_small_budget_one_waits_for_the_other_and_nobody_is_asked_meanwhile(
    project: Project, hands: Hands
) -> None:
    free = PLAN.nodes[1].model_copy(update={"depends_on": ()})
    planned(project, hands, PLAN.model_copy(update={"nodes": (PLAN.nodes[0], free)}))
    set_limit("team", budgets.FIRST_ESTIMATE // 10)
    look_again()
    dispatch.dispatch()
    running = Execution.objects.get(kind="work")
    assert running.reserved_microusd == budgets.FIRST_ESTIMATE // 10
    assert Ticket.objects.get(kind="node").parked == "budget:team"
    assert not Approval.objects.filter(kind="budget").exists()
    with transaction.atomic():
        assert spend(running.pk, 10_000) == []
    look_again()
    dispatch.dispatch()
    asked = Approval.objects.get(kind="budget")  # what is left is less than one sets aside: nobody gives back enough
    assert asked.subject["line"] == "hard"


def test_two_swarms_ask_once_about_the_same_budget(project: Project, hands: Hands) -> None:
    planned(project, hands, PLAN)
    second = goals.state_goal(project, "More lists", by=hands.by)
    set_limit("team", 0)
    look_again()
    dispatch.dispatch()
    assert Approval.objects.filter(kind="budget").count() == 1
    assert set(Ticket.objects.exclude(kind="checks").values_list("parked", flat=True)) == {"budget:team"}
    approvals.approve(Approval.objects.get(kind="budget"), by=hands.by)
    dispatch.dispatch()
    assert Execution.objects.filter(kind="plan", swarm=second.pk, state__in=LIVE).exists()


def test_a_plan_gives_its_nodes_their_budgets(project: Project, hands: Hands) -> None:
    rich = PLAN.nodes[0].model_copy(update={"budget_usd": 1.25})
    swarm = planned(project, hands, PLAN.model_copy(update={"nodes": (rich, PLAN.nodes[1])}))
    node, running = begun(swarm)
    assert Budget.objects.get().subject == f"node:{node.pk}"
    assert books(f"node:{node.pk}") == (1_250_000, running.reserved_microusd, 0)


@pytest.mark.parametrize("how", ["lost", "failed"])
def test_what_ends_gives_back_what_it_did_not_spend(team: Team, how: str, swarm: Swarm) -> None:
    set_limit("team", 100)
    _, running = begun(swarm)
    assert running.reserved_microusd == 100
    budgets.hold(running.pk, 40)
    spend(running.pk, 30, held=40)
    assert books() == (100, 70, 30)
    if how == "lost":
        Execution.objects.filter(pk=running.pk).update(lease_until=timezone.now() - timedelta(seconds=1))
        assert executions.reap(running.pk)
    else:
        outcome = FailureOutcome(reason=FailureReason.AGENT_ERROR, message="gave up")
        assert executions.settle(running.pk, running.fence, outcome) == []
    assert books() == (100, 0, 30)
    running.refresh_from_db()
    assert (running.reserved_microusd, running.held_microusd, running.spent_microusd) == (0, 0, 30)
    # An answer that comes late is booked all the same.
    spend(running.pk, 5)
    assert books() == (100, 0, 35)


def test_a_call_over_which_the_gateway_died_is_booked_as_what_was_held_for_it(team: Team, swarm: Swarm) -> None:
    set_limit("team", 100)
    _, running = begun(swarm)
    budgets.hold(running.pk, 40)  # this one tells, late
    budgets.hold(running.pk, 25)  # and this one never
    Execution.objects.filter(pk=running.pk).update(lease_until=timezone.now() - timedelta(seconds=1))
    assert executions.reap(running.pk)
    assert spend(running.pk, 30, held=40) == []
    assert books() == (100, 0, 30)
    assert metering.book_unheard() == 0, "it may still tell"
    assert metering.book_unheard(after=timedelta(0)) == 1
    assert books() == (100, 0, 55)
    assert ModelCall.objects.latest("pk").cost_microusd == 25
    assert Event.objects.filter(kind="model.called").count() == 1
    assert metering.book_unheard(after=timedelta(0)) == 0


def test_the_sweep_books_what_nobody_told_of(team: Team, swarm: Swarm, monkeypatch: pytest.MonkeyPatch) -> None:
    set_limit("team", 100)
    _, running = begun(swarm)
    budgets.hold(running.pk, 25)
    Execution.objects.filter(pk=running.pk).update(lease_until=timezone.now() - timedelta(seconds=1))
    assert executions.reap(running.pk)
    later = timezone.now() + metering.UNHEARD
    monkeypatch.setattr(metering.timezone, "now", lambda: later)
    assert Sweep().look(team.pk)["model call that nobody told of"] == 1
    assert books() == (100, 0, 25)
