"""The registry: verbs, states, what is refused, and the command, pages and administration over it."""

import json
from io import StringIO
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.core.management import CommandError, call_command
from django.db import IntegrityError, transaction

from agents import executions, registry
from agents.contracts import PlanNode, PlanProposal
from agents.models import Agent, Execution
from agents.registry import Terms
from agents.states import LIVE
from sessions.models import Event
from swarms import dispatch
from swarms.models import Node, Swarm
from tenants.context import PUBLIC, in_schema
from tenants.models import Team
from tests.conftest import user_of
from tests.milestones import adopted
from tests.turn_stage import make_runner


@pytest.fixture
def swarm(team: Team, broker: object) -> Swarm:
    """A node whose turn has come."""
    node = PlanNode(key="a", title="a", role="developer", instructions="a", writes=("a",))
    return adopted(PlanProposal(summary="s", nodes=(node,)))


def begun() -> Execution:
    make_runner()
    dispatch.dispatch()
    return at_work()


def at_work() -> Execution:
    """The one execution of an agent."""
    return Execution.objects.exclude(kind="check").get(state__in=LIVE)


def test_a_fresh_team_has_an_agent_for_each_role_and_a_registered_one_takes_its_place(team: Team) -> None:
    assert [each.name for each in registry.defaults()] == ["coordinator", "developer", "writer", "reviewer"]
    anna = registry.add(Terms("anna", ["writer", "developer"], skills=["Docs", "docs"]))
    assert (anna.roles, anna.skills) == (["developer", "writer"], ["docs"])
    assert [each.name for each in registry.defaults()] == ["coordinator", "reviewer"]
    registry.remove(anna)
    assert len(registry.defaults()) == 4
    told = Event.objects.filter(kind="agent.changed").order_by("seq").values_list("payload", flat=True)
    assert [(each["agent"], each["what"]) for each in told] == [("anna", "added"), ("anna", "removed")]


@pytest.mark.parametrize(
    ("field", "given"),
    [
        ("name", {"name": "Anna"}),
        ("name", {"name": "developer-2"}),
        ("name", {"name": "checks"}),
        ("name", {"name": "<b>x</b>"}),
        ("name", {"name": "a" * 41}),
        ("roles", {"roles": []}),
        ("roles", {"roles": ["king"]}),
        ("runtime", {"runtime": "magic"}),
        ("model", {"model": "a\nb"}),
        ("capacity", {"capacity": 0}),
        ("runner", {"runner": "nowhere"}),
        ("skills", {"skills": ["two words"]}),
        ("skills", {"skills": [f"s{n}" for n in range(21)]}),
    ],
)
def test_what_makes_no_agent_is_refused_with_the_field(team: Team, field: str, given: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as refused:
        registry.add(Terms(**({"name": "anna", "roles": ["developer"]} | given)))
    assert list(refused.value.message_dict) == [field]
    assert not Agent.objects.exists()


def test_two_agents_never_have_one_name(team: Team) -> None:
    registry.add(Terms("anna", ["developer"]))
    ben = registry.add(Terms("ben", ["developer"]))
    with pytest.raises(ValidationError, match="There is an agent anna"):
        registry.add(Terms("anna", ["writer"]))
    with pytest.raises(ValidationError, match="There is an agent anna"):
        registry.change(ben, Terms("anna", ["writer"]))
    with pytest.raises(IntegrityError), transaction.atomic():
        Agent.objects.create(name="anna", roles=["writer"])


def test_a_draining_agent_finishes_what_it_has_and_is_disabled_then(
    swarm: Swarm, acme: Team, django_capture_on_commit_callbacks: Any
) -> None:
    anna = registry.add(Terms("anna", ["developer"]))
    execution = begun()
    assert registry.drain(anna, because="holiday")
    assert anna.state == "draining"
    with pytest.raises(ValidationError, match="is at work"):
        registry.remove(anna)
    with in_schema(PUBLIC), django_capture_on_commit_callbacks(execute=True), in_schema(acme.schema_name):
        executions.end(execution.pk, "failed", reason="", because="test")
    anna.refresh_from_db()
    assert (anna.state, anna.because) == ("disabled", "it has finished what it had")


def test_one_that_has_nothing_to_finish_is_drained_at_once(team: Team) -> None:
    anna = registry.add(Terms("anna", ["developer"]))
    registry.drain(anna, because="test")
    assert anna.state == "disabled"
    assert registry.enable(anna, because="test")
    assert anna.state == "active"


def test_a_disabled_agent_loses_its_work_to_another(swarm: Swarm) -> None:
    anna = registry.add(Terms("anna", ["developer"]))
    registry.add(Terms("zoe", ["developer"]))
    taken = begun()
    assert taken.agent == "anna-1"
    registry.disable(anna, because="test")
    taken.refresh_from_db()
    assert (taken.state, taken.reason) == ("lost", "released")
    assert Node.objects.get().state == "ready"
    dispatch.dispatch()
    assert at_work().agent == "zoe-1"


def test_an_agent_at_work_keeps_its_name_and_may_change_all_else(swarm: Swarm) -> None:
    anna = registry.add(Terms("anna", ["developer"]))
    begun()
    with pytest.raises(ValidationError, match="is at work"):
        registry.change(anna, Terms("berta", ["developer"]))
    registry.change(anna, Terms("anna", ["developer"], model="large", capacity=3))
    assert (anna.model, anna.capacity) == ("large", 3)


def agents(*words: str) -> str:
    out = StringIO()
    call_command("agents", *words, "--team", "acme", stdout=out)
    return out.getvalue()


def test_the_command_does_all_that_the_page_does(team: Team) -> None:
    assert "developer" in agents("list")
    agents("add", "anna", "--role", "developer", "--runtime", "opencode", "--capacity", "2", "--skill", "css")
    (anna,) = Agent.objects.all()
    assert (anna.runtime, anna.capacity, anna.skills) == ("opencode", 2, ["css"])
    agents("change", "anna", "--model", "large", "--capacity", "any")
    anna.refresh_from_db()
    assert (anna.runtime, anna.model, anna.capacity, anna.skills) == ("opencode", "large", None, ["css"])
    for verb, state in (("drain", "disabled"), ("enable", "active"), ("disable", "disabled")):
        agents(verb, "anna")
        anna.refresh_from_db()
        assert anna.state == state
    (listed,) = [each for each in json.loads(agents("list", "--json")) if each["name"] == "anna"]
    assert (listed["state"], listed["busy"], listed["roles"]) == ("disabled", 0, ["developer"])
    agents("remove", "anna")
    assert not Agent.objects.exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["enable", "nobody"], "There is no agent nobody"),
        (["add", "anna"], "--role"),
        (["add", "Anna", "--role", "developer"], "Use a-z"),
        (["drain"], "name"),
    ],
)
def test_the_command_says_what_is_wrong(team: Team, words: list[str], said: str) -> None:
    with pytest.raises(CommandError, match=said):
        agents(*words)


def test_the_page_adds_changes_drains_enables_disables_and_removes(team: Team, client_for: Any) -> None:
    client = client_for(user_of("alice", "acme"), team)
    form = {
        "name": "anna",
        "roles": ["developer"],
        "runtime": "",
        "model": "",
        "capacity": "",
        "runner": "",
        "skills": "",
    }
    assert client.post("/agents/new/", form | {"name": "Anna!"}).status_code == 422
    assert client.post("/agents/new/", form).headers["Location"] == "/agents/anna/"
    refused = client.post("/agents/anna/change/", form | {"skills": "two-words"})
    assert (refused.status_code, "A skill is one word" in refused.text) == (422, True)
    client.post("/agents/anna/change/", form | {"capacity": "3", "skills": "css, docs"})
    anna = Agent.objects.get()
    assert (anna.capacity, anna.skills) == (3, ["css", "docs"])
    for verb, state in (("drain", "disabled"), ("enable", "active"), ("disable", "disabled")):
        client.post(f"/agents/anna/{verb}/")
        anna.refresh_from_db()
        assert anna.state == state
    page = client.get("/agents/anna/").text
    assert "active → disabled" in page
    assert client.get("/agents/").text.count("by default, since no agent has this role") == 3
    client.post("/agents/anna/remove/")
    assert not Agent.objects.exists()


def test_the_administration_uses_the_verbs_of_the_registry(team: Team, client_for: Any) -> None:
    client = client_for(user_of("alice", "acme"), team)
    form = {"name": "anna", "roles": ["developer"], "runtime": "opencode", "model": "", "capacity": "2", "runner": ""}
    refused = client.post("/admin/agents/agent/add/", form | {"name": "Anna!", "skills": ""})
    assert (refused.status_code, "Use a-z" in refused.text) == (200, True)
    assert client.post("/admin/agents/agent/add/", form | {"skills": "css"}).status_code == 302
    anna = Agent.objects.get()
    assert (anna.runtime, anna.capacity, anna.skills) == ("opencode", 2, ["css"])
    client.post(f"/admin/agents/agent/{anna.pk}/change/", form | {"runtime": "", "skills": "css docs"})
    client.post("/admin/agents/agent/", {"action": "disable_at_once", "_selected_action": [str(anna.pk)]})
    anna.refresh_from_db()
    assert (anna.name, anna.runtime, anna.skills, anna.state) == ("anna", "", ["css", "docs"], "disabled")
    told = Event.objects.filter(kind__startswith="agent.").order_by("seq").values_list("kind", "actor")
    alice = f"user:{user_of('alice', 'acme').pk}"
    assert list(told) == [("agent.changed", alice), ("agent.changed", alice), ("agent.moved", alice)]
    assert client.post(f"/admin/agents/agent/{anna.pk}/delete/", {"post": "yes"}).status_code == 302
    assert not Agent.objects.exists()


def test_viewers_see_agents_and_change_none(team: Team, client_for: Any) -> None:
    registry.add(Terms("anna", ["developer"]))
    client = client_for(user_of("vera", "acme"), team)
    assert "<form" not in client.get("/agents/anna/").text.partition("<main")[2]
    assert client.post("/agents/anna/disable/").status_code == 403
    assert client.get("/admin/agents/agent/add/").status_code == 403
    assert Agent.objects.get().state == "active"
