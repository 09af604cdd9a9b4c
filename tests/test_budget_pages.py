"""Budgets and prices on the pages: seen by every role, set by owners and admins."""

from collections.abc import Callable
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.test import Client

from agents.models import Budget, ModelPrice
from sessions.models import Event
from swarms import allowances, approvals
from swarms import budgets as of_swarms
from swarms.models import Approval
from tenants.members import add_member
from tenants.models import Team, User
from tenants.roles import Permission, Role, may
from tests.board_stage import Stage
from tests.conftest import user_of
from tests.test_policy_pages import Program

ClientFor = Callable[..., Client]
SWARM = "/projects/textkit/swarms/1/"


@pytest.fixture
def stage(team: Team) -> Stage:
    return Stage(user_of("alice", "acme"))


@pytest.fixture
def boss(stage: Stage, team: Team, client_for: ClientFor) -> Client:
    return client_for(user_of("alice", "acme"), team)


@pytest.mark.parametrize("role", list(Role))
def test_only_owners_and_admins_set_budgets(stage: Stage, team: Team, client_for: ClientFor, role: Role) -> None:
    user = User.objects.create_user(f"{role}@acme.example", None)
    add_member(team, user, role)
    client = client_for(user, team)
    allowed = may(role, Permission.SPEND)
    assert allowed == (role in (Role.OWNER, Role.ADMIN))
    answer = client.post("/budgets/", {"limit": "7.5", "soft_percent": "60"})
    assert answer.status_code == (302 if allowed else 403)
    budget = Budget.objects.get(subject="team")
    assert (budget.limit_microusd, budget.soft_percent) == ((7_500_000, 60) if allowed else (5_000_000, 80))
    page = client.get("/budgets/")
    assert page.status_code == 200
    assert ('name="limit"' in page.text) == allowed


@pytest.mark.parametrize("place", ["/projects/textkit/", SWARM, f"{SWARM}nodes/parser/"])
def test_a_budget_is_set_and_taken_away_on_each_page(boss: Client, stage: Stage, place: str) -> None:
    Budget.objects.exclude(subject="team").delete()
    assert "No limit" in boss.get(f"{place}budget/").text
    assert boss.post(f"{place}budget/", {"limit": "2", "soft_percent": "80"}).status_code == 302
    budget = Budget.objects.exclude(subject="team").get()
    assert budget.limit_microusd == 2_000_000
    assert "$0.00 of $2.00" in boss.get(f"{place}budget/").text
    assert Event.objects.filter(kind="budget.set").get().payload["budget"] == budget.subject
    assert boss.post(f"{place}budget/", {"limit": "", "soft_percent": "80"}).status_code == 302
    assert not Budget.objects.exclude(subject="team").exists()


def test_a_limit_below_what_is_spent_is_refused_at_its_field_and_nothing_typed_is_lost(boss: Client) -> None:
    answer = boss.post("/budgets/", {"limit": "1.10", "soft_percent": "70"})
    assert answer.status_code == 422
    assert "cannot be lower" in answer.text
    assert 'value="1.10"' in answer.text
    assert 'value="70"' in answer.text
    assert Budget.objects.get(subject="team").limit_microusd == 5_000_000


def test_spent_stands_against_the_limit_where_people_look(boss: Client, stage: Stage) -> None:
    assert "$1.90 of $2.00" in boss.get(SWARM).text
    assert "$1.90 of $2.00" in boss.get(f"{SWARM}regions/header/").text
    assert "no limit" in boss.get("/projects/textkit/").text
    listed = boss.get("/budgets/").text
    assert "$1.25 of $5.00" in listed
    assert "$1.90 of $2.00" in listed
    assert "/budgets/" in boss.get("/settings/").text


def test_a_request_for_money_shows_its_numbers(boss: Client, stage: Stage) -> None:
    budget = Budget.objects.get(subject=f"swarm:{stage.swarm.pk}")
    asked = allowances.ask(stage.swarm, budget, "hard")
    assert asked is not None
    for page in (f"/approvals/{asked.pk}/", f"/admin/swarms/approval/{asked.pk}/change/"):
        text = boss.get(page).text
        assert "$2.00" in text, page
        assert "$4.00" in text, page
        assert "budget_exceeded" in text, page
    answer = boss.post(f"/approvals/{asked.pk}/decide/", {"verdict": "approve", "because": ""})
    assert answer.status_code == 302
    budget.refresh_from_db()
    assert budget.limit_microusd == 4_000_000
    assert Approval.objects.get(pk=asked.pk).state == "approved"


def test_a_request_is_outdated_once_a_member_set_another_limit(boss: Client, stage: Stage) -> None:
    budget = Budget.objects.get(subject=f"swarm:{stage.swarm.pk}")
    asked = allowances.ask(stage.swarm, budget, "hard")
    assert asked is not None
    boss.post(f"{SWARM}budget/", {"limit": "3", "soft_percent": "80"})
    asked.refresh_from_db()
    assert asked.state == "void"
    with pytest.raises(approvals.NotDecidable):
        approvals.approve(asked, by=user_of("alice", "acme"))
    assert of_swarms.pending([budget.subject]).count() == 0


@pytest.mark.parametrize(("name", "allowed"), [("alice", True), ("bob", False), ("vera", False)])
def test_prices_of_models_are_set_in_the_administration(
    stage: Stage, team: Team, client_for: ClientFor, name: str, allowed: bool
) -> None:
    client = client_for(user_of(name, "acme"), team)
    given = {"model": "at-home", "input": "0.15", "cached": "0.075", "output": "0"}
    answer = client.post("/admin/agents/modelprice/add/", given)
    assert answer.status_code == (302 if allowed else 403)
    assert ModelPrice.objects.filter(model="at-home").exists() == allowed
    if allowed:
        price = ModelPrice.objects.get(model="at-home")
        assert (price.input_microusd, price.cached_microusd, price.output_microusd) == (150_000, 75_000, 0)
        page = client.get(f"/admin/agents/modelprice/{price.pk}/change/")
        assert 'value="0.15' in page.text


def test_programs_see_set_and_take_away_budgets(stage: Stage, team: Team) -> None:
    owner = Program(user_of("alice", "acme"), team)
    assert [one["of"] for one in owner.get("budgets").json()["budgets"]][:1] == [""]
    for name in ("", "textkit", "textkit#1", "textkit#1/parser"):
        told = owner.post("budgets/set", of=name, limit_usd="2.50", soft_percent=60).json()["budget"]
        assert (told["of"], told["limit_usd"], told["soft_percent"]) == (name, "2.5", 60)
        assert name in [one["of"] for one in owner.get("budgets").json()["budgets"]]
        assert owner.post("budgets/set", of=name, limit_usd=None).json() == {"budget": None}
        assert name not in [one["of"] for one in owner.get("budgets").json()["budgets"]]


@pytest.mark.parametrize(
    "body",
    [
        {"of": "nowhere", "limit_usd": "1"},
        {"of": "textkit#99", "limit_usd": "1"},
        {"of": "textkit#1/nobody", "limit_usd": "1"},
        {"of": "textkit/parser", "limit_usd": "1"},
        {"of": "textkit#x", "limit_usd": "1"},
        {"limit_usd": "-1"},
        {"limit_usd": "NaN"},
        {"limit_usd": "1e20"},
        {"limit_usd": "0.0000001"},
        {"limit_usd": "1", "soft_percent": 0},
        {},
    ],
)
def test_a_budget_that_cannot_be_is_refused(stage: Stage, team: Team, body: dict[str, object]) -> None:
    before = list(Budget.objects.order_by("subject").values_list("subject", "limit_microusd"))
    assert Program(user_of("alice", "acme"), team).post("budgets/set", **body).status_code == 422
    assert list(Budget.objects.order_by("subject").values_list("subject", "limit_microusd")) == before


def test_programs_of_developers_only_look(stage: Stage, team: Team) -> None:
    developer = Program(user_of("bob", "acme"), team)
    assert developer.get("budgets").status_code == 200
    assert developer.post("budgets/set", limit_usd="1").status_code == 403


def test_the_operator_sets_budgets_by_command(stage: Stage, team: Team) -> None:
    def said(*words: str) -> str:
        out = StringIO()
        call_command("budgets", *words, team="acme", stdout=out)
        return out.getvalue().strip()

    assert said("set", "textkit#1/parser", "--limit", "2.5", "--soft", "60").endswith(": $2.5, asks at 60 %")
    assert "textkit#1/parser  limit $2.5  spent $0" in said("list")
    assert said("set", "team", "--limit", "none") == "the team: no limit"
    assert "team  limit" not in said("list")
    assert Event.objects.filter(kind="budget.set").order_by("at").last().actor == "system"
    for words, fault in (
        (["set", "textkit#1"], "say how much"),
        (["set", "textkit#1", "--limit", "much"], "is no amount"),
        (["set", "textkit#1", "--limit", "-1"], "a limit is from 0"),
        (["set", "textkit#7", "--limit", "1"], "there is no textkit#7 in this team"),
    ):
        with pytest.raises(CommandError, match=fault):
            said(*words)
