"""Several providers of a team with one model: who answers when the first does not, at whose price, who hears of it."""

import io
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import httpx
import pytest
import redis
from django.conf import settings as live_settings
from django.core.management import call_command
from django.db import IntegrityError, transaction
from django.test import Client
from hypothesis import given
from hypothesis import strategies as st

from agents import breakers, breakers_shown, budgets, credentials, routes
from agents.failover import Obstacle, Standing, ahead, because, told
from agents.models import Budget, Execution, ModelCall, ModelPrice, Provider
from agents.routes import Route
from sessions.models import Event
from swarms.replay.says import say
from tenants.context import in_schema
from tenants.models import Team
from tests.conftest import user_of
from tests.test_gateway import ASK, KEY, USAGE, Agent, answering, completions, kept, server, working
from tests.test_gateway import Provider as Upstream
from tests.test_providers import asks, laptop, web
from tests.web import Web, free_port, until

__all__ = ["laptop", "server", "web"]  # fixtures

USED = USAGE["prompt_tokens"] + USAGE["completion_tokens"]
ClientFor = Callable[..., Client]


@pytest.fixture(scope="module")
def servers(server: Upstream) -> Iterator[tuple[Upstream, Upstream, Upstream]]:
    """Two providers of a team, and the platform's."""
    with ExitStack() as stack:
        yield stack.enter_context(answering()), stack.enter_context(answering()), server


@pytest.fixture
def upstreams(servers: tuple[Upstream, Upstream, Upstream]) -> tuple[Upstream, Upstream, Upstream]:
    for each in servers:
        each.reset()
    redis.Redis.from_url(live_settings.STREAM_URL).flushdb()
    return servers


def add(upstream: Upstream, name: str, *serves: str) -> Provider:
    url = f"http://127.0.0.1:{upstream.port}/{name}/v1"
    return credentials.add(name=name, base_url=url, serves=serves or ["small"], key=f"sk-key-of-{name}", by="alice")


@pytest.fixture
def agent(committed_team: Team, upstreams: tuple[Upstream, Upstream, Upstream]) -> Agent:
    """An agent of a team with two providers of its model, the first and the second."""
    add(upstreams[0], "first")
    add(upstreams[1], "second")
    found = working(committed_team)
    asks(found, "small")
    return found


# Deciding

STANDINGS = st.lists(
    st.none() | st.builds(Obstacle, st.text(max_size=3), st.text(max_size=3), st.integers(0, 300), st.booleans())
)


@given(STANDINGS)
def test_all_are_asked_in_their_order_until_nobody_is_left(standings: list[Standing]) -> None:
    asked = []
    while (number := ahead(standings)) is not None:
        asked.append(number)
        standings[number] = Obstacle(str(number), "HTTP 503", 0, was_asked=True)
    assert asked == sorted(set(asked))
    assert all(standings)
    obstacles = [each for each in standings if each]
    if obstacles:
        chosen = told(obstacles)
        assert obstacles[chosen].was_asked == any(each.was_asked for each in obstacles)
        assert because(obstacles, chosen).count("; ") >= max(len(obstacles) - 2, 0)


def test_the_agent_hears_the_last_that_was_asked_or_who_may_be_tried_soonest() -> None:
    away, busy, unknown = Obstacle("a", "left alone", 9), Obstacle("b", "busy", 2), Obstacle("c", "no key")
    refused = Obstacle("d", "HTTP 503", 0, was_asked=True)
    assert told([away, busy, unknown]) == 1
    assert told([refused, away, busy]) == 0
    assert told([unknown, away]) == 1
    assert because([away, busy, None], 2) == "a: left alone; b: busy"
    assert because([away, busy], 0) == "b: busy"


# The gateway


@pytest.mark.parametrize("status", [500, 503, 429, 401, 402])
@pytest.mark.parametrize("stream", [False, True])
def test_who_does_not_answer_is_stood_in_for_at_once(
    web: Web, agent: Agent, upstreams: tuple[Upstream, Upstream, Upstream], status: int, stream: bool
) -> None:
    first, second, platforms = upstreams
    first.status = status
    answer = agent.post(web, ASK | {"stream": stream})
    assert answer.status_code == 200
    assert "hel" in answer.text
    (path, headers, body), (_, others, same) = first.asked[0], second.asked[0]
    assert (path, headers["authorization"]) == ("/first/v1/chat/completions", "Bearer sk-key-of-first")
    assert (others["authorization"], same) == ("Bearer sk-key-of-second", body)
    assert same["model"] == "small"
    assert platforms.asked == []
    call = kept()
    assert (call.provider, call.status, call.because) == ("second", 200, f"first: HTTP {status}")
    assert (call.input_tokens, call.output_tokens) == (USAGE["prompt_tokens"], USAGE["completion_tokens"])
    event = Event.objects.get(kind="model.called")
    assert (event.payload["provider"], event.payload["because"]) == ("second", f"first: HTTP {status}")
    first.status = 200
    redis.Redis.from_url(live_settings.STREAM_URL).flushdb()  # a 429 has sent the key to rest
    assert agent.post(web).status_code == 200
    until(lambda: ModelCall.objects.count() == 2)
    assert list(ModelCall.objects.order_by("at").values_list("provider", "because"))[1] == ("first", "")


def test_an_address_at_which_nobody_answers_is_stood_in_for(
    web: Web, committed_team: Team, upstreams: tuple[Upstream, Upstream, Upstream]
) -> None:
    add(Upstream(free_port()), "gone")
    add(upstreams[0], "there")
    agent = working(committed_team)
    asks(agent, "small")
    assert agent.post(web).status_code == 200
    call = kept()
    assert (call.provider, call.because) == ("there", "gone: cannot be reached (ConnectError)")


def test_a_request_that_is_wrong_is_wrong_everywhere(
    web: Web, agent: Agent, upstreams: tuple[Upstream, Upstream, Upstream]
) -> None:
    upstreams[0].status = 400
    assert agent.post(web).status_code == 400
    assert (kept().provider, upstreams[1].asked) == ("first", [])


def test_nobody_takes_over_in_the_middle_of_a_stream(
    web: Web, agent: Agent, upstreams: tuple[Upstream, Upstream, Upstream]
) -> None:
    upstreams[0].break_off = True
    answer = agent.post(web, ASK | {"stream": True})
    assert "hel" in answer.text
    assert "model_unreachable" in answer.text
    call = kept()
    assert (call.provider, call.because, upstreams[1].asked) == ("first", "", [])


def shut(agent: Agent, web: Web, *failing: Upstream) -> None:
    """Calls, until the breakers of these are open."""
    for each in failing:
        each.status = 503

    def left_alone() -> bool:
        before = [len(each.asked) for each in failing]
        agent.post(web)
        return before == [len(each.asked) for each in failing]

    until(left_alone)


def test_who_is_left_alone_is_not_asked_and_the_page_says_who_answers(
    web: Web,
    agent: Agent,
    committed_team: Team,
    upstreams: tuple[Upstream, Upstream, Upstream],
    client_for: ClientFor,
) -> None:
    first, second, _ = upstreams
    shut(agent, web, first)
    assert agent.post(web).status_code == 200
    until(lambda: ModelCall.objects.filter(because__contains="left alone").exists())
    call = ModelCall.objects.filter(because__contains="left alone").order_by("at")[0]
    assert call.provider == "second"
    assert call.because.startswith("first: left alone for ")
    assert call.because.endswith("s: the provider answered HTTP 503")
    assert call.because in say("model.called", Event.objects.filter(kind="model.called").last().payload).text
    calls = client_for(user_of("alice", "acme"), committed_team).get("/admin/agents/modelcall/").text
    assert "first: left alone for " in calls
    # No node waits for it: another one answers.
    schema = committed_team.schema_name
    breakers.forget()
    assert breakers.closed_until(schema, "small") is None
    (now,) = breakers_shown.substitutes(schema)
    assert (now.model, now.provider) == ("small", "second")
    page = client_for(user_of("alice", "acme"), committed_team).get("/agents/").text
    assert "Calls of <b>small</b> go to <b>second</b> now: first is left alone until" in page
    assert page.count("Model small at ") == 2
    # Once all are left alone work waits, until the one that opens first again.
    shut(agent, web, first, second)
    breakers.forget()
    waits = breakers.closed_until(schema, "small")
    assert waits is not None
    found = [breakers.shut_on(schema, route) for route in routes.routes_for("small", rehearsal=False)]
    assert waits.name == min((each for each in found if each), key=lambda each: each.wait).name
    assert [one.provider for one in breakers_shown.substitutes(schema)] == [""]
    page = client_for(user_of("alice", "acme"), committed_team).get("/agents/").text
    assert "No provider of <b>small</b> can be asked now" in page
    answer = agent.post(web)
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "provider_unavailable")
    assert "Nor do others that have the model answer: " in answer.json()["error"]["message"]
    assert 0 < int(answer.headers["retry-after"]) <= 12


def test_where_nobody_answers_the_agent_hears_the_last_that_was_asked(
    web: Web, agent: Agent, upstreams: tuple[Upstream, Upstream, Upstream]
) -> None:
    upstreams[0].status, upstreams[1].status = 503, 429
    answer = agent.post(web)
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "7")
    assert answer.json()["error"]["code"] == "rate_limited"
    call = kept()
    assert (call.provider, call.status, call.because) == ("second", 429, "first: HTTP 503")


def test_no_other_team_and_not_the_platform_stands_in(
    web: Web, committed_team: Team, upstreams: tuple[Upstream, Upstream, Upstream]
) -> None:
    first, others, platforms = upstreams
    globex = Team.objects.get(domains__slug="globex")
    with in_schema(globex.schema_name):
        add(others, "theirs", "large")
    add(first, "ours", "large")  # as the platform's own is called
    first.status = 503
    agent = working(committed_team)
    asks(agent, "large")
    assert agent.post(web).status_code == 503
    assert len(first.asked) == 1
    assert others.asked == platforms.asked == []
    with in_schema(globex.schema_name):
        theirs = working(globex)
        asks(theirs, "large")
    with theirs.calling() as client:
        assert client.post(completions(web, "globex"), json=ASK).status_code == 200
    assert [headers["authorization"] for _, headers, _ in others.asked] == ["Bearer sk-key-of-theirs"]
    assert KEY not in str([each.asked for each in (first, others)])


# Money


def priced(provider: str, microusd: int) -> None:
    """A million tokens of the model cost so much there."""
    row = Provider.objects.get(name=provider)
    prices = dict.fromkeys(("input_microusd", "cached_microusd", "output_microusd"), microusd)
    ModelPrice.objects.create(model="small", provider=row, **prices)


@pytest.fixture
def counted(agent: Agent) -> Agent:
    """The agent has a budget, and the second provider is three times as dear as the first."""
    Execution.objects.filter(pk=agent.execution.pk).update(budgets=["team"])
    budgets.set_limit("team", 1_000_000)
    priced("first", 1_000_000)
    priced("second", 3_000_000)
    return agent


def test_a_call_costs_what_it_costs_where_it_was_answered(
    web: Web, counted: Agent, upstreams: tuple[Upstream, Upstream, Upstream]
) -> None:
    ModelPrice.objects.create(model="small", input_microusd=9, cached_microusd=9, output_microusd=9)
    assert counted.post(web, ASK | {"max_tokens": 100}).status_code == 200
    assert kept().cost_microusd == USED
    upstreams[0].status = 503
    assert counted.post(web, ASK | {"max_tokens": 100}).status_code == 200
    until(lambda: ModelCall.objects.count() == 2)
    assert ModelCall.objects.order_by("at")[1].cost_microusd == 3 * USED
    books = Budget.objects.get(subject="team")
    counted.execution.refresh_from_db()
    assert (books.spent_microusd, counted.execution.held_microusd) == (4 * USED, 0)


def test_who_hangs_up_pays_the_price_of_who_answered(
    web: Web, counted: Agent, upstreams: tuple[Upstream, Upstream, Upstream]
) -> None:
    upstreams[0].go_on.clear()
    asked = ASK | {"stream": True, "max_tokens": 1000}
    with counted.calling() as client, client.stream("POST", completions(web), json=asked) as answer:
        next(answer.iter_bytes())
    upstreams[0].go_on.set()
    bytes_sent = len(httpx.Request("POST", "http://x", json=asked).content)
    cost = kept().cost_microusd
    assert cost is not None
    assert 1000 < cost < 1000 + 2 * bytes_sent, "not the threefold of what would have been asked next"


def test_where_money_is_counted_only_those_stand_in_that_have_a_price_and_can_be_paid(
    web: Web, counted: Agent, upstreams: tuple[Upstream, Upstream, Upstream]
) -> None:
    first, second, _ = upstreams
    budgets.set_limit("team", 1000)  # enough for the first, and not for the second
    assert counted.post(web, ASK | {"max_tokens": 300}).status_code == 200
    assert (kept().provider, kept().because) == ("first", "")
    budgets.set_limit("team", 4000)
    ModelPrice.objects.filter(provider__name="first").delete()
    assert counted.post(web, ASK | {"max_tokens": 300}).status_code == 200
    until(lambda: ModelCall.objects.count() == 2)
    call = ModelCall.objects.order_by("at")[1]
    assert call.provider == "second"
    assert call.because.startswith("first: A budget is set, and nobody knows the price of small.")
    ModelPrice.objects.all().delete()
    answer = counted.post(web, ASK)
    assert (answer.status_code, answer.json()["error"]["code"]) == (402, "model_unpriced")
    assert (len(first.asked), len(second.asked)) == (1, 1)


def test_a_model_has_one_price_at_a_provider_and_one_for_all(team: Team, upstreams: Any) -> None:
    add(upstreams[0], "first")
    for _ in range(2):
        words = {"model": "small", "input_microusd": 1, "cached_microusd": 1, "output_microusd": 1}
        if not ModelPrice.objects.filter(provider=None).exists():
            ModelPrice.objects.create(**words)
            priced("first", 2)
            continue
        for provider in (None, Provider.objects.get()):
            with pytest.raises(IntegrityError), transaction.atomic():
                ModelPrice.objects.create(provider=provider, **words)


# The order


def order() -> list[str]:
    return [row.name for row in routes.active()]


def test_the_team_sets_the_order(team: Team, upstreams: Any, client_for: ClientFor) -> None:
    for name in ("a", "b", "c"):
        add(upstreams[0], name, "small", f"of-{name}")
    assert (order(), routes.model_for("")) == (["a", "b", "c"], "small")
    alice = client_for(user_of("alice", "acme"), team)
    page = alice.post(f"/settings/providers/{Provider.objects.get(name='c').pk}/prefer/", follow=True).text
    assert order() == ["c", "a", "b"]
    assert "c is asked first from now on." in page
    assert "<b>small</b>: c, then a, then b." in page
    assert "of-a</b>:" not in page
    assert page.index("c</b>") < page.index("a</b>")
    assert [event.payload["what"] for event in credentials.history()][:1] == ["preferred"]
    out = io.StringIO()
    call_command("provider_key", "prefer", "b", "--team", "acme", stdout=out)
    assert (order(), out.getvalue()) == (["b", "c", "a"], "b is asked first.\n")
    call_command("provider_key", "prefer", "b", "--team", "acme", stdout=out)
    assert out.getvalue().endswith("It was the first already.\n")
    chosen = [str(Provider.objects.get(name=name).pk) for name in ("a", "c")]
    alice.post("/admin/agents/provider/", {"action": "prefer", "_selected_action": chosen})
    assert order() == ["c", "a", "b"], "they stay in their order among themselves"
    add(upstreams[0], "late")
    assert order()[-1] == "late"
    assert [route.provider for route in routes.routes_for("small", rehearsal=False)] == ["c", "a", "b", "late"]
    assert routes.route_for("of-b", rehearsal=False) == Route(
        f"http://127.0.0.1:{upstreams[0].port}/b/v1", "of-b", "b", Provider.objects.get(name="b").pk
    )
