"""Placement: who takes a piece of work, where it goes, and why nobody does; then the same with real rows and turns."""

import itertools
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from agents import breakers, executions, placing, registry
from agents.contracts import PlanNode, PlanProposal
from agents.models import Agent, Execution
from agents.placement import Candidate, Chosen, Nobody, Place, Seen, Why, choose, health, prefer
from agents.registry import Terms
from agents.states import LIVE
from swarms import conditions, crew, dispatch
from swarms.models import Node, Swarm
from tenants.context import in_schema
from tenants.models import Team, Ticket
from tests.milestones import adopted
from tests.test_why import NOW
from tests.turn_stage import make_runner

DEFAULT = [Candidate("developer", is_registered=False)]


def chosen(*candidates: Candidate, live: tuple[str, ...] = (), **more: Any) -> Chosen:
    found = choose("developer", candidates, runner="local", live=live, **more)
    assert isinstance(found, Chosen)
    return found


def nobody(*candidates: Candidate, live: tuple[str, ...] = (), **more: Any) -> Nobody:
    found = choose("developer", candidates, runner="local", live=live, **more)
    assert isinstance(found, Nobody)
    return found


def test_executions_of_an_agent_with_room_for_several_take_the_lowest_free_number() -> None:
    assert chosen(*DEFAULT).name == "developer-1"
    assert chosen(*DEFAULT, live=("developer-1", "developer-3", "developer-x-2")).name == "developer-2"
    assert chosen(Candidate("anna", capacity=1)).name == "anna"


def test_the_agent_with_the_most_room_takes_it_and_one_that_knows_the_matter_goes_first() -> None:
    anna, ben = Candidate("anna", capacity=4), Candidate("ben", capacity=4, skills=("css", "c++"))
    assert chosen(anna, ben, live=("anna-1",)).agent == "ben"
    assert chosen(anna, ben, live=("ben-1",)).agent == "anna"
    known = chosen(anna, ben, live=("ben-1", "ben-2"), text="Port the parser to C++, please.")
    assert (known.agent, known.because) == ("ben", "ben takes the role developer, knows c++")


def test_the_choice_says_what_drives_the_agent() -> None:
    found = chosen(Candidate("anna", runtime="opencode", model="large"))
    assert (found.runtime, found.model, found.facts["registered"]) == ("opencode", "large", True)


def test_each_agent_that_does_not_fit_says_why() -> None:
    found = nobody(
        Candidate("anna", state="draining"),
        Candidate("ben", capacity=2),
        Candidate("cleo", model="large"),
        Candidate("dora", runner="far"),
        live=("ben-1", "ben-2"),
        shut={"large": "it answered HTTP 500"},
    )
    assert [misfit.why for misfit in found.misfits] == [Why.STATE, Why.FULL, Why.BREAKER, Why.ELSEWHERE]
    assert found.elsewhere == ("far",)
    assert found.text == (
        "developer: anna is draining; ben has 2 of the 2 executions that it may have; the model of cleo is left alone:"
        " it answered HTTP 500; dora works on the runner far only, and that has no room or is away"
    )


def test_whoever_is_chosen_fits_whatever_the_agents_are() -> None:
    grid = itertools.product(("active", "draining", "disabled"), (None, 1, 2), ("", "local", "far"), ("", "large"))
    every = [Candidate(f"a{n}", s, "", m, c, r) for n, (s, c, r, m) in enumerate(grid)]
    for size in (1, 2, 7, len(every)):
        for start in range(0, len(every), size):
            some = every[start : start + size]
            live = {f"{one.name}-1" for one in some[::2]}
            found = choose("developer", some, runner="local", live=live, shut={"large": "down"})
            fit = {
                one.name
                for one in some
                if one.state == "active"
                and one.model != "large"
                and one.runner in ("", "local")
                and (one.capacity is None or (f"{one.name}-1" in live) < one.capacity)
            }
            if fit:
                assert isinstance(found, Chosen)
                assert found.agent in fit
                assert found.name not in live
            else:
                assert isinstance(found, Nobody)
                assert len(found.misfits) == len(some)


@pytest.mark.parametrize(
    ("held", "warm", "expected"),
    [
        ({"a": 0, "b": 0}, [], "a"),
        ({"a": 0, "b": 2}, ["b"], "b"),
        ({"a": 0, "b": 3}, ["b"], "a"),
        ({"a": 3, "b": 3}, ["b"], "b"),
        ({"a": 3, "b": 2}, ["gone"], "b"),
        ({"a": 1, "b": 0, "c": 1}, ["c", "a"], "c"),
    ],
)
def test_the_cache_of_a_project_counts_until_its_runner_is_full(
    held: dict[str, int], warm: list[str], expected: str
) -> None:
    assert prefer([Place(name, count, 4) for name, count in held.items()], warm).name == expected


@pytest.mark.parametrize(
    ("runner", "state", "why"),
    [
        (Seen("a", False, None), "away", "it was never connected"),
        (Seen("a", False, 70), "away", "its connection ended"),
        (Seen("a", True, 31), "silent", "it missed 3 heartbeats or more, and gets no new work"),
        (Seen("a", True, 2, held=2, capacity=2), "connected", "all 2 slots are taken"),
        (Seen("a", True, 2, held=1, capacity=2), "connected", ""),
    ],
)
def test_a_runners_health_has_a_reason(runner: Seen, state: str, why: str) -> None:
    assert health(runner, beat=10, missed=3) == (state, why)


def node(key: str, **more: Any) -> PlanNode:
    return PlanNode(key=key, title=key, role="developer", instructions=more.pop("says", key), writes=(key,), **more)


@pytest.fixture
def swarm(team: Team, broker: object) -> Swarm:
    """Three nodes whose turn has come."""
    return adopted(PlanProposal(summary="s", nodes=tuple(node(key) for key in "abc")))


def live() -> list[Execution]:
    """Agents' executions under way; checks are Waggle's own."""
    rows = Execution.objects.filter(state__in=LIVE).exclude(kind="check")
    return list(rows.select_related("runner").order_by("created_at"))


def test_without_a_registry_everything_is_as_it_was(swarm: Swarm) -> None:
    make_runner()
    dispatch.dispatch()
    assert [each.agent for each in live()] == ["developer-1", "developer-2", "developer-3"]
    assert {each.placed["registered"] for each in live()} == {False}
    assert {each.assignment["runtime"] for each in live()} == {"builtin"}


def test_an_agent_with_room_for_one_does_one_after_the_other_and_the_rest_say_why(swarm: Swarm, settings: Any) -> None:
    settings.MODEL_NAME = "usual"
    registry.add(Terms("anna", ["developer"], runtime="opencode", model="large", capacity=1))
    make_runner()
    dispatch.dispatch()
    (mine,) = live()
    assert (mine.agent, mine.runtime, mine.model, mine.placed["agent"]) == ("anna", "opencode", "large", "anna")
    waiting = Node.objects.filter(swarm=swarm, state="ready")
    reasons = {why.text for found in conditions.of_nodes(swarm, waiting).values() for why in found}
    assert all("anna has 1 of the 1 executions that it may have" in reason for reason in reasons), reasons
    assert Ticket.objects.filter(parked__startswith="agent:developer").count() == waiting.count() == 2
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(placing.transaction, "on_commit", lambda act, robust=False: act())
        executions.end(mine.pk, "lost", reason="released", because="test")
    assert not Ticket.objects.filter(parked__startswith="agent:").exists()
    dispatch.dispatch()
    assert [each.agent for each in live()] == ["anna"]


def test_all_that_wait_for_the_same_role_are_put_off_together(swarm: Swarm, monkeypatch: pytest.MonkeyPatch) -> None:
    parked: list[Ticket] = []
    park = crew.park
    monkeypatch.setattr(crew, "park", lambda ticket, nobody: (parked.append(ticket), park(ticket, nobody)))
    registry.disable(registry.add(Terms("anna", ["developer"])), because="test")
    make_runner()
    dispatch.dispatch()
    assert len(parked) == 1
    assert Ticket.objects.filter(parked__startswith="agent:developer").count() == 3


def test_nobody_in_a_role_is_told_and_enabling_somebody_wakes_what_waits(swarm: Swarm) -> None:
    anna = registry.add(Terms("anna", ["developer"]))
    registry.disable(anna, because="test")
    make_runner()
    dispatch.dispatch()
    assert live() == []
    [(_, [why])] = list(conditions.of_nodes(swarm, Node.objects.filter(swarm=swarm, key="a")).items())
    assert (why.kind, "anna is disabled" in why.text) == ("agent", True)
    registry.enable(anna, because="test")
    dispatch.dispatch()
    assert [each.agent for each in live()] == ["anna-1", "anna-2", "anna-3"]


def test_an_agent_of_one_runner_gets_its_work_there(swarm: Swarm) -> None:
    make_runner("near", capacity=100)
    make_runner("far", capacity=2)
    registry.add(Terms("anna", ["developer"], runner="far"))
    dispatch.dispatch()
    assert [(each.agent, each.runner.name) for each in live()] == [("anna-1", "far"), ("anna-2", "far")]
    [parked] = Ticket.objects.all()
    assert "anna works on the runner far only" in parked.parked


def test_work_goes_where_its_projects_cache_is(swarm: Swarm) -> None:
    make_runner("b-warm", capacity=8)
    dispatch.dispatch()
    for execution in live():
        executions.end(execution.pk, "lost", reason="released", because="test")
    make_runner("a-cold", capacity=8)
    Ticket.objects.update(not_before=NOW)
    Node.objects.update(not_before=NOW)
    dispatch.dispatch()
    assert len(live()) == 3
    assert {each.runner.name for each in live()} == {"b-warm"}


def test_a_placement_asks_the_database_once_about_agents_however_many_there_are(swarm: Swarm, acme: Team) -> None:
    runner = make_runner()
    for number in range(30):
        registry.add(Terms(f"agent-x{number}y", ["developer"], capacity=1, skills=["a"]))
    breakers.closed_until(acme.schema_name)  # as who dispatches does first
    with CaptureQueriesContext(connection) as asked:
        placing.chosen("developer", runner, "a")
    assert len([each for each in asked if "search_path" not in each["sql"]]) == 1


def test_a_silent_runner_gets_nothing(swarm: Swarm) -> None:
    runner = make_runner()
    runner.seen_at = timezone.now() - timezone.timedelta(minutes=5)
    runner.save()
    dispatch.dispatch()
    assert live() == []


def test_agents_of_one_team_take_no_work_of_another(swarm: Swarm, globex: Team) -> None:
    with in_schema(globex.schema_name):
        registry.add(Terms("anna", ["developer"]))
    make_runner()
    dispatch.dispatch()
    assert {each.placed["agent"] for each in live()} == {"developer"}
    assert not Agent.objects.exists()
