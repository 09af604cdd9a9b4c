"""Money: nobody spends more than a budget has, whoever reserves, books, ends or dies at the same time."""

import threading
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.db import connection, transaction
from django.utils import timezone

from agents import budgets, prices, spending
from agents.contracts import Usage
from agents.metering import Caller
from agents.models import Budget, Execution, HeldCall, ModelCall, ModelPrice
from agents.passage import Refused
from agents.routes import Route, Way
from sessions.transitions import move
from tenants.context import in_schema
from tenants.models import Team
from tests.money_stage import at_once, books, execution, spend

DOLLAR = 1_000_000


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


def test_nothing_is_held_for_an_execution_that_has_ended_meanwhile(team: Team) -> None:
    budgets.set_limit("team", 100)
    ended = execution()
    move(ended, "failed", because="by hand", ended_at=timezone.now())
    with pytest.raises(budgets.Over):
        budgets.hold(ended.pk, 7)
    assert (books(), HeldCall.objects.count()) == ((100, 0, 0), 0)
    way = Way(Route("http://127.0.0.1:1/v1", "large"))
    ModelPrice.objects.create(model="large", input_microusd=DOLLAR, cached_microusd=DOLLAR, output_microusd=DOLLAR)
    where = team.schema_name, ended.pk, ended.session_id, ended.swarm, ended.agent, ""
    with pytest.raises(Refused, match="live attempt token") as refused:
        spending.hold(Caller(*where, is_budgeted=True, ways=(way,)), b'{"max_tokens": 1}')
    assert refused.value.status == 401


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
    assert budgets.left(free.pk) is None


def test_what_is_left_counts_what_was_set_aside_for_it_alone(team: Team) -> None:
    budgets.set_limit("team", 100)
    mine, other = execution(), execution()
    budgets.reserve(mine, mine.budgets, 30)
    budgets.reserve(other, other.budgets, 50)
    assert budgets.left(mine.pk) == 50
    assert budgets.hold(mine.pk, 20) is None
    assert budgets.left(mine.pk) == 30
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
    assert Budget.objects.get().over_microusd == 990
    budgets.set_limit("team", 500)
    assert (books(), Budget.objects.get().over_microusd) == ((500, 0, 500), 500)
    budgets.set_limit("team", 1200)
    assert (books(), Budget.objects.get().over_microusd) == ((1200, 0, 1000), 0)


def test_what_was_charged_beyond_the_limit_is_spent_when_others_give_back_what_they_did_not_need(team: Team) -> None:
    budgets.set_limit("team", 10)
    dear, other = execution(), execution()
    assert budgets.reserve(dear, dear.budgets, 4) is None
    assert budgets.reserve(other, other.budgets, 6) is None
    assert budgets.hold(dear.pk, 4) is None
    budgets.spend(budgets.locked(dear.pk), 8, held=4)
    assert (books(), Budget.objects.get().over_microusd) == ((10, 6, 4), 4)
    budgets.settle(budgets.aside(other))
    assert (books(), Budget.objects.get().over_microusd) == ((10, 0, 8), 0)
    assert budgets.reserve(dear, dear.budgets, 3) == "team"


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


def test_a_budget_that_begins_while_a_call_is_booked_counts_it(committed_team: Team) -> None:
    early = execution()

    def begin() -> None:
        with in_schema(committed_team.schema_name):
            budgets.set_limit("team", 100)
        connection.close()

    beginner = threading.Thread(target=begin)
    with transaction.atomic():
        spend(early.pk, 70)
        beginner.start()
        beginner.join(0.3)
    beginner.join()
    assert books() == (100, 0, 70)


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
    Budget.objects.filter(subject="team").update(reserved_microusd=45, spent_microusd=55, over_microusd=20)
    assert budgets.release_orphans() == 1
    assert (books(), Budget.objects.get(subject="team").over_microusd) == ((100, 10, 75), 0)
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
