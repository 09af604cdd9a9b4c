"""Money: nobody spends more than a budget has, whoever reserves, books, ends or dies at the same time."""

import subprocess
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from django.core.exceptions import ValidationError
from django.db import connection, transaction
from django.utils import timezone

from agents import budgets, executions, prices
from agents.contracts import Check, FailureOutcome, FailureReason, PlanNode, PlanProposal, Usage
from agents.models import Budget, Execution, ModelCall, ModelPrice
from agents.states import LIVE
from sessions.models import Session
from swarms import allowances, approvals, dispatch, engine, goals, projects
from swarms.models import Approval, Attempt, Node, Project, Swarm
from swarms.workspace.git import environment
from tenants import tokens
from tenants.context import in_schema
from tenants.ids import uuid7
from tenants.models import Runner, Team, Ticket
from tests.conftest import user_of
from tests.hands import Hands
from tests.invariants import violations


def execution(**fields: Any) -> Execution:
    token, _ = tokens.issue("runner")
    swarm = uuid7()
    given: dict[str, Any] = {
        "kind": "work",
        "subject": f"node:{uuid7()}",
        "swarm": swarm,
        "session": Session.objects.create(subject=f"swarm:{swarm}", title="t", agent="developer-1"),
        "agent": "developer-1",
        "assignment": {"role": "developer"},
        "runner": Runner.objects.create(name=f"runner-{swarm}", token=token),
        "lease_until": timezone.now() + timedelta(minutes=5),
        "budgets": ["project:p", "team"],
    }
    return Execution.objects.create(**given | fields)


def books(subject: str = "team") -> tuple[int, int, int]:
    """Limit, reserved and spent of a subject."""
    found = Budget.objects.get(subject=subject)
    return found.limit_microusd, found.reserved_microusd, found.spent_microusd


def at_once(work: Callable[[int], Any], count: int, team: Team, workers: int = 10) -> list[Any]:
    """Do `work` so many times in threads that have their own connections."""

    def one(number: int) -> Any:
        with in_schema(team.schema_name):
            return work(number)

    with ThreadPoolExecutor(workers) as pool:
        try:
            return list(pool.map(one, range(count)))
        finally:
            _close(pool, workers)


def _close(pool: ThreadPoolExecutor, workers: int) -> None:
    together = threading.Barrier(workers)
    for done in [pool.submit(lambda: (together.wait(30), connection.close())) for _ in range(workers)]:
        done.result()


def test_of_a_hundred_reservations_at_once_ten_fit(committed_team: Team) -> None:
    budgets.set_limit("team", 10)
    budgets.set_limit("project:p", 1000)
    waiting = [execution() for _ in range(100)]

    def reserve(number: int) -> str | None:
        with transaction.atomic():
            # Whatever order they are named in, nobody waits in a circle.
            subjects = ["team", "project:p"] if number % 2 else ["project:p", "team"]
            return budgets.reserve(waiting[number], subjects, 1)

    answers = at_once(reserve, 100, committed_team)
    assert answers.count(None) == 10
    assert answers.count("team") == 90
    assert books() == (10, 10, 0)
    assert books("project:p") == (1000, 10, 0)
    assert sum(Execution.objects.values_list("reserved_microusd", flat=True)) == 10


def test_calls_at_once_never_cross_the_hard_line(committed_team: Team) -> None:
    budgets.set_limit("team", 100)
    agents = [execution() for _ in range(5)]
    calls: list[int] = []

    def call(number: int) -> None:
        mine = agents[number % 5].pk
        if budgets.hold(mine, 7) is None:
            with transaction.atomic():
                budgets.spend(budgets.locked(mine), 5, held=7)
            calls.append(5)

    at_once(call, 60, committed_team)
    limit, reserved, spent = books()
    assert spent == sum(calls) == sum(Execution.objects.values_list("spent_microusd", flat=True))
    assert spent + reserved <= limit
    # Each of the five may keep back the rest of one call; nobody was refused while there was more room than that.
    assert spent + reserved > limit - 7
    assert reserved == sum(Execution.objects.values_list("reserved_microusd", flat=True))


def test_a_reservation_is_made_in_all_budgets_or_in_none(team: Team) -> None:
    budgets.set_limit("team", 100)
    budgets.set_limit("project:p", 5)
    first, second = execution(), execution()
    assert budgets.reserve(first, first.budgets, 4) is None
    assert budgets.reserve(second, second.budgets, 4) == "project:p"
    assert books() == (100, 4, 0)
    second.refresh_from_db()
    assert second.reserved_microusd == 0


def test_a_small_budget_lets_one_go_at_a_time(team: Team) -> None:
    budgets.set_limit("team", 3)
    first, second = execution(), execution()
    assert budgets.reserve(first, ["team"], 1000) is None
    assert books() == (3, 3, 0)
    assert budgets.reserve(second, ["team"], 1000) == "team"


def test_nothing_begins_on_a_budget_of_nothing(team: Team) -> None:
    budgets.set_limit("team", 0)
    assert budgets.reserve(execution(), ["team"], 1000) == "team"


def test_without_a_budget_there_is_no_limit(team: Team) -> None:
    free = execution()
    assert budgets.reserve(free, free.budgets, 10**12) is None
    assert free.reserved_microusd == 0
    assert budgets.left(free) is None


def test_what_is_left_counts_what_was_set_aside_for_it_alone(team: Team) -> None:
    budgets.set_limit("team", 100)
    mine, other = execution(), execution()
    budgets.reserve(mine, mine.budgets, 30)
    budgets.reserve(other, other.budgets, 50)
    assert budgets.left(mine) == 50
    assert budgets.hold(mine.pk, 20) is None
    mine.refresh_from_db()
    assert budgets.left(mine) == 30
    assert books() == (100, 80, 0)  # within what was set aside


def test_a_call_that_costs_more_than_it_could_fills_the_budget_and_no_more(team: Team) -> None:
    budgets.set_limit("team", 10)
    dear = execution()
    budgets.reserve(dear, dear.budgets, 4)
    assert budgets.hold(dear.pk, 4) is None
    budgets.spend(budgets.locked(dear.pk), 1000, held=4)
    dear.refresh_from_db()
    assert books() == (10, 0, 10)
    assert (dear.spent_microusd, dear.reserved_microusd, dear.held_microusd) == (1000, 0, 0)
    assert budgets.hold(dear.pk, 1) == "team"


@pytest.mark.parametrize("how", ["lost", "failed"])
def test_what_ends_gives_back_what_it_did_not_spend(team: Team, how: str, swarm: Swarm) -> None:
    budgets.set_limit("team", 100)
    _, running = begun(swarm)
    assert running.reserved_microusd == 100
    budgets.hold(running.pk, 40)
    budgets.spend(budgets.locked(running.pk), 30, held=40)
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
    budgets.spend(budgets.locked(running.pk), 5)
    assert books() == (100, 0, 35)


def test_a_budget_begins_with_the_books_as_they_are(team: Team) -> None:
    early = execution()
    ModelCall.objects.create(execution=early, model="m", status=200, cost_microusd=70)
    budgets.spend(budgets.locked(early.pk), 70)
    with pytest.raises(ValidationError, match="already"):
        budgets.set_limit("team", 69)
    assert not Budget.objects.exists()
    budgets.set_limit("team", 100)
    assert books() == (100, 0, 70)
    assert budgets.reserve(early, early.budgets, 20) is None
    budgets.set_limit("project:p", 500)
    assert books("project:p") == (500, 20, 70)


def test_a_limit_is_never_below_what_is_spent_or_set_aside(team: Team) -> None:
    budgets.set_limit("team", 100)
    busy = execution()
    budgets.reserve(busy, busy.budgets, 60)
    with pytest.raises(ValidationError, match="cannot be lower"):
        budgets.set_limit("team", 59)
    budgets.set_limit("team", 60)
    assert books() == (60, 60, 0)


def test_reservations_without_a_live_execution_are_found(team: Team) -> None:
    budgets.set_limit("team", 100)
    budgets.set_limit("project:p", 100)
    live = execution()
    budgets.reserve(live, live.budgets, 10)
    assert budgets.release_orphans() == 0
    Budget.objects.filter(subject="team").update(reserved_microusd=45)
    assert budgets.release_orphans() == 1
    assert books() == (100, 10, 0)
    assert books("project:p") == (100, 10, 0)


def test_an_estimate_is_the_median_of_what_the_role_cost(team: Team, settings: Any) -> None:
    assert budgets.estimate("developer") == budgets.FIRST_ESTIMATE
    for cost in (10, 20, 9000):
        execution(state="done", ended_at=timezone.now(), spent_microusd=cost)
    assert budgets.estimate("developer") == 20
    assert budgets.estimate("reviewer") == budgets.FIRST_ESTIMATE
    settings.MODEL_REHEARSAL = True
    assert budgets.estimate("developer") == 0


def test_a_teams_own_price_wins_over_the_list(team: Team) -> None:
    usage = Usage(input_tokens=1_000_000, cached_tokens=400_000, output_tokens=10)
    url = "https://api.openai.com/v1"
    listed = prices.cost("gpt-4o", usage, asked="gpt-4o", base_url=url)
    assert listed is not None
    assert listed > 0
    ModelPrice.objects.create(model="gpt-4o", input_microusd=10, cached_microusd=1, output_microusd=100_000)
    # 600,000 at 10 and 400,000 at 1 a million, and 10 at 100,000 a million: 6 + 0.4 + 1, rounded up.
    assert prices.cost("gpt-4o", usage, asked="gpt-4o", base_url=url) == 8
    assert prices.cost("gpt-4o-2030", usage, asked="gpt-4o", base_url=url) == 8
    assert prices.cost("at-home", usage, asked="at-home", base_url="http://127.0.0.1:1/v1") is None


# What budgets mean for a swarm.

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
        budgets.set_limit(subject, 10_000_000)
    node, running = begun(swarm)
    assert running.reserved_microusd == budgets.FIRST_ESTIMATE
    assert set(running.budgets) == {"team", f"project:{swarm.project_id}", f"swarm:{swarm.pk}", f"node:{node.pk}"}
    for subject in ("team", f"project:{swarm.project_id}", f"swarm:{swarm.pk}"):
        assert books(subject) == (10_000_000, budgets.FIRST_ESTIMATE, 0)


def test_a_full_budget_parks_the_node_and_asks_once(swarm: Swarm, hands: Hands) -> None:
    mine = f"swarm:{swarm.pk}"
    budgets.set_limit(mine, 0)
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
    budgets.set_limit("team", 0)
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
    budgets.set_limit("team", 0)
    look_again()
    dispatch.dispatch()
    allowances.set_budget("team", 1, 80, by=hands.by)
    asked = Approval.objects.get(kind="budget")
    assert asked.state == "void"
    with pytest.raises(approvals.NotDecidable, match="void"):
        approvals.approve(asked, by=hands.by)
    assert books()[0] == 1


def test_a_member_who_raises_the_limit_wakes_what_waits(swarm: Swarm, hands: Hands) -> None:
    budgets.set_limit("team", 0)
    look_again()
    dispatch.dispatch()
    assert Ticket.objects.get(kind="node").not_before > timezone.now()
    allowances.set_budget("team", 5_000_000, 80, by=hands.by)
    assert Ticket.objects.get(kind="node").not_before <= timezone.now()
    assert begun(swarm)[1].is_live
    assert not Approval.objects.filter(kind="budget", state="pending").exists()


def test_the_soft_line_asks_once_and_stops_nothing(swarm: Swarm, hands: Hands) -> None:
    budgets.set_limit("team", 1_000_000, 50)
    _, running = begun(swarm)
    for _ in range(4):
        budgets.hold(running.pk, 150_000)
        softly = budgets.spend(budgets.locked(running.pk), 150_000, held=150_000)
        allowances.soft_line(swarm.pk, softly)
    asked = Approval.objects.get(kind="budget")
    assert (asked.subject["line"], asked.subject["spent_microusd"]) == ("soft", 600_000)
    approvals.reject(asked, by=hands.by, because="go on, but no more")
    budgets.hold(running.pk, 10)
    assert budgets.spend(budgets.locked(running.pk), 10, held=10) == []
    running.refresh_from_db()
    assert running.is_live


def test_an_agent_that_runs_out_waits_for_a_person_and_burns_nothing(swarm: Swarm, hands: Hands) -> None:
    budgets.set_limit("team", 1_000_000)
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


def test_a_plan_gives_its_nodes_their_budgets(project: Project, hands: Hands) -> None:
    rich = PLAN.nodes[0].model_copy(update={"budget_usd": 1.25})
    swarm = planned(project, hands, PLAN.model_copy(update={"nodes": (rich, PLAN.nodes[1])}))
    node, running = begun(swarm)
    assert Budget.objects.get().subject == f"node:{node.pk}"
    assert books(f"node:{node.pk}") == (1_250_000, running.reserved_microusd, 0)
