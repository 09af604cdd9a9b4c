"""Budgets at the model gateway, in the real web process: what is refused, held, booked and freed."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from agents import budgets, spending
from agents.models import Budget, Execution, ModelCall, ModelPrice
from tenants.models import Team
from tests.test_gateway import USAGE, Agent, Provider, kept, provider, server, web, working
from tests.web import Web, serve, until

__all__ = ["provider", "server", "web"]  # fixtures
DOLLAR = 1_000_000
ASK = {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 100}


@pytest.fixture
def agent(committed_team: Team) -> Agent:
    """An agent whose team has a budget of a dollar and a price of $1 for a million tokens."""
    found = working(committed_team)
    Execution.objects.filter(pk=found.execution.pk).update(budgets=["team"])
    budgets.set_limit("team", DOLLAR)
    ModelPrice.objects.create(model="large", input_microusd=DOLLAR, cached_microusd=DOLLAR, output_microusd=DOLLAR)
    return found


def books() -> tuple[int, int]:
    found = Budget.objects.get(subject="team")
    return found.reserved_microusd, found.spent_microusd


def test_a_call_is_booked_where_its_execution_draws_from(web: Web, provider: Provider, agent: Agent) -> None:
    assert agent.post(web, ASK).status_code == 200
    call = kept()
    assert call.cost_microusd == USAGE["prompt_tokens"] + USAGE["completion_tokens"]
    agent.execution.refresh_from_db()
    assert books() == (agent.execution.reserved_microusd, call.cost_microusd)
    assert (agent.execution.spent_microusd, agent.execution.held_microusd) == (call.cost_microusd, 0)


def test_a_model_without_a_price_is_refused_where_a_budget_is_set(web: Web, provider: Provider, agent: Agent) -> None:
    ModelPrice.objects.all().delete()
    answer = agent.post(web, ASK)
    assert answer.status_code == 402
    assert answer.json()["error"]["code"] == "model_unpriced"
    assert "Model prices" in answer.json()["error"]["message"]
    assert provider.asked == []
    budgets.drop_limit("team")
    assert agent.post(web, ASK).status_code == 200


def test_a_call_that_could_cross_the_line_is_not_made(web: Web, provider: Provider, agent: Agent) -> None:
    budgets.set_limit("team", 150)
    answer = agent.post(web, ASK)
    assert answer.status_code == 402
    assert answer.json()["error"]["code"] == "budget_exhausted"
    assert "team" in answer.json()["error"]["message"]
    assert provider.asked == []
    assert books() == (0, 0)


def test_many_calls_at_once_stay_below_the_line(web: Web, provider: Provider, agent: Agent) -> None:
    budgets.set_limit("team", 6000)
    with ThreadPoolExecutor(8) as pool:
        codes = [answer.status_code for answer in pool.map(lambda _: agent.post(web, ASK), range(24))]
    assert set(codes) == {200, 402}
    # Each call may cost some 200 by its bound, and says 1,234: the books are full, and never more than full.
    until(lambda: ModelCall.objects.count() == codes.count(200))
    reserved, spent = books()
    assert spent + reserved <= 6000
    assert len(provider.asked) == codes.count(200)


def test_who_hangs_up_before_the_usage_is_told_pays_what_was_held(web: Web, provider: Provider, agent: Agent) -> None:
    provider.go_on.clear()
    asked = ASK | {"stream": True}
    with agent.calling() as client, client.stream("POST", completions_of(web), json=asked) as answer:
        next(answer.iter_bytes())
    call = kept()
    assert call.cost_microusd is not None
    assert call.cost_microusd > 100
    assert books()[1] == call.cost_microusd
    provider.go_on.set()


def completions_of(web: Web) -> str:
    return f"http://127.0.0.1:{web.port}/t/acme/model/v1/chat/completions"


def test_a_provider_that_refuses_costs_nothing(web: Web, provider: Provider, agent: Agent) -> None:
    provider.status = 400
    assert agent.post(web, ASK).status_code == 400
    assert kept().cost_microusd == 0
    reserved, spent = books()
    assert spent == 0
    agent.execution.refresh_from_db()
    assert (agent.execution.held_microusd, agent.execution.reserved_microusd) == (0, reserved)


def test_rehearsal_costs_nothing_and_needs_no_price(agent: Agent, tmp_path: Path, provider: Provider) -> None:
    ModelPrice.objects.all().delete()
    budgets.set_limit("team", 1)
    model = {
        "WAGGLE_MODEL_BASE_URL": f"http://127.0.0.1:{provider.port}/v1",
        "WAGGLE_MODEL_NAME": "rehearsal",
        "WAGGLE_MODEL_REHEARSAL": "1",
    }
    with serve("config.asgi:application", tmp_path, **model) as rehearsed:
        assert agent.post(rehearsed, ASK).status_code == 200
        assert kept().cost_microusd == 0
    assert books() == (0, 0)


@pytest.mark.parametrize(
    ("body", "output"),
    [
        (b'{"max_tokens": 50}', 50),
        (b'{"max_tokens": 50, "max_completion_tokens": 20}', 20),
        (b'{"max_tokens": 50, "n": 3}', 150),
        (b'{"max_tokens": "many"}', spending.MOST_OUTPUT),
        (b"{}", spending.MOST_OUTPUT),
    ],
)
def test_the_most_that_a_request_may_use(body: bytes, output: int) -> None:
    most = spending.most_tokens(body)
    assert (most.input_tokens, most.output_tokens) == (len(body), output)
