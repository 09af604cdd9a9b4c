"""Why a node does not run: each reason by hand, and what people and programs are told of a real swarm."""

import json
from dataclasses import replace
from datetime import timedelta
from html import unescape
from io import StringIO
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from agents import breakers, hosting, routes
from agents.contracts import PlanNode, PlanProposal
from agents.models import Agent, Execution
from sessions.transitions import move
from swarms import conditions, dispatch, engine, goals, operations
from swarms.models import Approval, Edge, Node, Swarm
from swarms.why import Facts, Surroundings, Unmet, Waiting, Whole, unmet, unmet_of
from tenants import turns
from tenants.models import Runner, Team, TeamShare, Ticket
from tests.conftest import user_of
from tests.milestones import adopted
from tests.replan_stage import make_project, node, plan, text
from tests.test_api_swarms import Program, secret_of
from tests.test_hosting import enrolled
from tests.turn_stage import make_runner

NOW = timezone.now()
AROUND = Surroundings(now=NOW, runners=1, free_slots=2, cap=16)
TRUSTED = replace(AROUND, trusted=1)


def ready(**ticket: object) -> Facts:
    return Facts("ready", not_before=NOW, ticket=Waiting(NOW, NOW, **ticket))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("facts", "around", "kind", "text"),
    [
        (Facts("blocked", NOW, open_parents=["a (running)"]), AROUND, "dependency", "waits for a (running)"),
        (Facts("awaiting_approval", NOW, asked_at=NOW), AROUND, "approval", "a person must decide"),
        (Facts("ready", NOW), AROUND, "turn", "it has no ticket yet"),
        (ready(parked="breaker:gpt"), AROUND, "breaker", "the provider of its model does not answer (gpt)"),
        (ready(parked="budget:team"), AROUND, "budget", "a budget has no room for it (team)"),
        (ready(), Surroundings(now=NOW), "capacity", "no runner is connected"),
        (ready(), Surroundings(now=NOW, runners=2, cap=9), "capacity", "all slots of 2 runners are taken"),
        (ready(ahead=3), AROUND, "turn", "its turn comes next; 3 of the team go before it"),
        (ready(lane="control"), Surroundings(now=NOW), "turn", "a worker of the control plane takes it"),
        (
            ready(lane="git", ahead=2),
            Surroundings(now=NOW, runners=1, placed=9, cap=9),
            "turn",
            "a worker of the control plane takes it; 2 of the team go before it",
        ),
        (Facts("blocked", NOW), AROUND, "decision", "nothing stands before it any more"),
        (Facts("running", NOW, asked_at=NOW), AROUND, "approval", "a person must decide whether its agent may use"),
        (Facts("verifying", NOW, checks_since=NOW), AROUND, "checks", "no runner is connected that may run checks"),
        (Facts("merging", NOW, checks_since=NOW), TRUSTED, "checks", "its checks wait for a free runner"),
        (
            Facts("verifying", NOW, checks_since=NOW),
            replace(TRUSTED, placed=16),
            "checks",
            "its checks wait: the team has 16 of the 16 executions",
        ),
        (ready(), replace(AROUND, cap=0), "quota", "the team has 0 of the 0 executions that it may have at once"),
        (Facts("merging", NOW, merges_ahead=2), AROUND, "merge_queue", "2 before it in the merge queue"),
    ],
)
def test_each_reason_is_told_with_a_remedy(facts: Facts, around: Surroundings, kind: str, text: str) -> None:
    [reason] = unmet(facts, around)
    assert reason.kind == kind
    assert reason.text.startswith(text)
    assert reason.remedy.endswith(".")


def test_a_team_at_its_cap_and_a_node_that_waits_for_its_time_say_so() -> None:
    [quota] = unmet(ready(), Surroundings(now=NOW, runners=1, free_slots=1, placed=4, cap=4))
    assert quota == Unmet(
        "quota",
        "the team has 4 of the 4 executions that it may have at once",
        NOW,
        "Wait, or have the operator raise the team's cap.",
    )
    later = Facts("ready", NOW, ticket=Waiting(NOW, NOW + timedelta(minutes=1)))
    assert [reason.kind for reason in unmet(later, AROUND)] == ["not_before"]


@pytest.mark.parametrize("state", ["running", "succeeded", "failed", "skipped", "cancelled"])
def test_what_runs_or_has_ended_waits_for_nothing(state: str) -> None:
    assert unmet(Facts(state, NOW), AROUND) == []


@pytest.mark.parametrize(
    ("whole", "around", "kind", "text"),
    [
        (Whole(asked=[("Land it", NOW)]), AROUND, "approval", "a person must decide: Land it"),
        (Whole(needs_help=True), AROUND, "plan", "it has no plan that can be carried out"),
        (Whole(plan_ticket=Waiting(NOW, NOW)), Surroundings(now=NOW), "capacity", "its coordinator: no runner is"),
        (
            Whole(plan_ticket=Waiting(NOW, NOW, parked="breaker:gpt")),
            AROUND,
            "breaker",
            "its coordinator: the provider of its model does not answer (gpt)",
        ),
        (Whole(checks_since=NOW), AROUND, "checks", "no runner is connected that may run checks"),
        (Whole(checks_since=NOW), TRUSTED, "checks", "its checks wait for a free runner"),
        (Whole(stopping=2), replace(AROUND, swarm_state="cancelling"), "stopping", "2 executions have not stopped yet"),
        (Whole(), replace(AROUND, swarm_state="rollback_paused"), "paused", "its rollback is paused"),
    ],
)
def test_each_reason_of_a_swarm_is_told_with_a_remedy(whole: Whole, around: Surroundings, kind: str, text: str) -> None:
    [reason] = unmet_of(whole, around)
    assert reason.kind == kind
    assert reason.text.startswith(text)
    assert reason.remedy.endswith(".")
    assert unmet_of(Whole(), AROUND) == []


@pytest.fixture
def swarm(team: Team) -> Swarm:
    """`b` waits for `a`, which an agent should do."""
    agent = PlanNode(key="a", title="a", role="developer", instructions="a", writes=("a",))
    return adopted(
        PlanProposal(summary="s", nodes=(agent, PlanNode(key="b", title="b", kind="noop", depends_on=("a",))))
    )


def kinds(swarm: Swarm) -> dict[str, list[str]]:
    swarm.refresh_from_db()
    nodes = list(Node.objects.filter(swarm=swarm).order_by("key"))
    found = conditions.of_nodes(swarm, nodes)
    return {node.key: [why.kind for why in found.get(node.pk, [])] for node in nodes}


def test_the_reasons_follow_the_rows(swarm: Swarm, team: Team) -> None:
    Runner.objects.all().delete()
    assert kinds(swarm) == {"a": ["capacity"], "b": ["dependency"]}
    Ticket.objects.filter(kind="node").update(parked="budget:team", not_before=timezone.now() + timedelta(hours=1))
    assert kinds(swarm) == {"a": ["budget"], "b": ["dependency"]}
    before = timezone.now()
    operations.pause(swarm, by=user_of("alice", "acme"))
    assert kinds(swarm) == {"a": ["paused"], "b": ["paused", "dependency"]}
    [reason] = [why for why in conditions.of_node(Node.objects.get(key="a")) if why.kind == "paused"]
    assert reason.since is not None
    assert before <= reason.since <= timezone.now()
    assert TeamShare.objects.get(team=team).cap > 0


def test_a_node_that_was_added_later_waits_since_then(swarm: Swarm) -> None:
    Swarm.objects.update(started_at=timezone.now() - timedelta(hours=2))
    swarm.refresh_from_db()
    before = timezone.now()
    old, parent = Node.objects.get(key="b"), Node.objects.get(key="a")
    new = Node.objects.create(swarm=swarm, plan=old.plan, key="new", kind="noop", parents=1, deps_left=1)
    Edge.objects.create(parent=parent, child=new)
    told = conditions.of_nodes(swarm, [old, new])
    for one in (old, new):
        [reason] = told[one.pk]
        assert reason.since is not None
        assert before - timedelta(minutes=1) <= reason.since <= timezone.now()


def test_what_is_parked_says_since_when_that_is_so(swarm: Swarm) -> None:
    ticket = Ticket.objects.get(kind="node")
    Ticket.objects.update(created_at=timezone.now() - timedelta(hours=2))

    def since() -> Any:
        [reason] = conditions.of_node(Node.objects.get(key="a"))
        return reason.since

    before = timezone.now()
    turns.park([ticket.pk], "agent:one is busy", timedelta(seconds=30))
    parked = since()
    assert before <= parked <= timezone.now()
    turns.park([ticket.pk], "agent:two are busy", timedelta(seconds=30))
    assert since() == parked
    turns.park([ticket.pk], "breaker:gpt", timedelta(seconds=30))
    assert since() > parked
    Ticket.objects.update(parked="", not_before=timezone.now())
    assert since() < before


def everywhere(swarm: Swarm, key: str, client_for: Any) -> dict[str, Any]:
    """The one reason of a node, as its page, programs and the command line tell it: all the same."""
    acme = Team.objects.get(domains__slug="acme")
    nodes = Program(secret_of("alice", acme)).get(f"/swarms/{swarm.pk}/nodes").json()["nodes"]
    [reason] = next(one["unmet"] for one in nodes if one["key"] == key)
    out = StringIO()
    call_command("why", f"plain#{swarm.number}/{key}", "--team", "acme", stdout=out)
    page = client_for(user_of("alice", "acme"), acme)
    body = unescape(page.get(f"/projects/plain/swarms/{swarm.number}/nodes/{key}/").content.decode())
    for words in (reason["text"], reason["remedy"]):
        assert words in out.getvalue()
        assert words[1:] in body  # with a capital
    assert f"(since {reason['since'][:10]}" in out.getvalue()
    return dict(reason)


def test_what_keeps_a_ready_node_is_told_everywhere_since_when_and_with_a_remedy(
    swarm: Swarm, team: Team, client_for: Any, settings: Any, broker: object
) -> None:
    settings.LOCAL_SERVERS = True
    runner = make_runner("near")
    Runner.objects.filter(pk=runner.pk).update(boot=uuid4())
    runner.refresh_from_db()
    row = enrolled(shared_with={str(runner.pk): str(runner.boot)})
    Agent.objects.create(name="builder", roles=["developer"], server="any")

    def dispatched() -> dict[str, Any]:
        Ticket.objects.update(not_before=timezone.now())
        dispatch.dispatch()
        assert not Execution.objects.exists()
        return everywhere(swarm, "a", client_for)

    for state in ("quarantined", "trusted", "draining"):
        if row.state != state:
            assert move(row, state, because="test")
        if state != "trusted":
            told = dispatched()
            assert told["kind"] == "agent"
            assert f"(developer: builder has no server: box is {state}), looked at again at" in told["text"]
            assert "servers" in told["remedy"]
    since = told["since"]
    assert move(row, "trusted", because="test")
    breakers.rest(hosting.breaker(row), "the server answered nothing", timedelta(seconds=60))
    told = dispatched()
    assert "box is left alone: the server answered nothing" in told["text"]
    assert told["since"] == since
    Agent.objects.update(server="", state="draining")
    assert "builder is draining" in dispatched()["text"]
    Agent.objects.update(state="active", model="big")
    settings.MODEL_BASE_URL = "https://api.example:444/v1"
    settings.MODEL_REHEARSAL = False
    _, endpoint = breakers.of_route(team.schema_name, routes.routes_for("big", rehearsal=False)[0])
    breakers.rest(endpoint, "no answer", timedelta(seconds=40))
    told = dispatched()
    assert told["kind"] == "breaker"
    assert "builder" in told["text"]
    assert "no answer" in told["text"]
    breakers.forget()
    Ticket.objects.update(parked="", not_before=timezone.now())
    Runner.objects.update(capacity=0)
    told = everywhere(swarm, "a", client_for)
    assert (told["kind"], told["text"]) == (
        "capacity",
        "the one runner that is connected is about to stop, and there is no other",
    )


def test_a_turn_that_could_not_begin_says_so(swarm: Swarm, client_for: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    make_runner("near")

    def broken(*words: Any) -> None:
        raise OSError("the disk is gone: /var/secret")

    monkeypatch.setitem(dispatch.BEGIN, "node", broken)
    Swarm.objects.update(trace="c0ffee" * 5)
    dispatch.dispatch()
    told = everywhere(swarm, "a", client_for)
    assert told["kind"] == "broken"
    assert told["text"].startswith("the platform could not begin it (trace c0ffee")
    assert "secret" not in told["text"]


def test_what_goes_before_a_ticket_is_what_has_its_turn_before_it(swarm: Swarm, team: Team) -> None:
    make_runner("near")
    mine = Ticket.objects.get(kind="node")

    def before(**fields: Any) -> str:
        other = Ticket.objects.create(team=team, kind="node", subject=uuid4(), **fields)
        Ticket.objects.filter(pk=other.pk).update(created_at=fields.get("created_at", timezone.now()))
        [reason] = conditions.of_node(Node.objects.get(pk=mine.subject))
        other.delete()
        return reason.text

    assert "1 of the team go before it" in before(priority=5)
    assert "go before" not in before(priority=5, not_before=timezone.now() + timedelta(hours=1))
    # Less urgent by one, and waits for an hour: with age it is more urgent.
    assert "1 of the team go before it" in before(priority=-1, created_at=timezone.now() - timedelta(hours=1))


def test_a_question_about_money_is_none_about_the_plan(swarm: Swarm) -> None:
    node = Node.objects.get(key="a")
    asked = {"swarm": swarm, "node": node, "subject": {}, "expires_at": timezone.now() + timedelta(days=1)}
    Approval.objects.create(kind="budget", title="money", **asked)
    move(node, "running", because="test")
    move(node, "verifying", because="test")
    assert conditions.of_node(node) == []
    Approval.objects.create(kind="plan", title="plan", **asked)
    assert [why.text for why in conditions.of_node(node)] == ["a person must decide about its plan"]


def test_the_command_says_why_to_people_and_programs(swarm: Swarm) -> None:
    out = StringIO()
    call_command("why", f"{swarm}/b".replace(" ", ""), "--team", "acme", stdout=out)
    assert "waits for a (ready)" in out.getvalue()
    assert "It starts when they have succeeded." in out.getvalue()
    out = StringIO()
    call_command("why", str(Node.objects.get(key="b").pk), "--json", stdout=out)
    told = json.loads(out.getvalue())
    assert (told["key"], told["state"]) == ("b", "blocked")
    assert [reason["kind"] for reason in told["unmet"]] == ["dependency"]
    with pytest.raises(CommandError, match="No node 'nothing#1/b'"):
        call_command("why", "nothing#1/b")


def test_a_swarm_says_what_its_coordinator_waits_for(
    team: Team, settings: Any, tmp_path: Path, broker: object, client_for: Any
) -> None:
    Runner.objects.all().delete()
    alice = user_of("alice", "acme")
    made = goals.state_goal(make_project(tmp_path, settings), "Write the files", by=alice)

    def reasons() -> list[str]:
        made.refresh_from_db()
        return [f"{one.kind}: {one.text}" for one in conditions.of_swarm(made)]

    assert reasons() == ["capacity: its coordinator: no runner is connected"]
    body = client_for(alice, team).get("/projects/files/swarms/1/").content.decode()
    assert "Its coordinator: no runner is connected (for " in body
    told = Program(secret_of("alice", team)).get(f"/swarms/{made.pk}").json()["unmet"]
    assert [(one["kind"], bool(one["since"])) for one in told] == [("capacity", True)]
    for name in ("files#1", str(made.pk)):
        out = StringIO()
        call_command("why", name, stdout=out)
        assert "files #1 is planning" in out.getvalue()
        assert "- its coordinator: no runner is connected (since " in out.getvalue()
    out = StringIO()
    call_command("why", "files#1", "--json", stdout=out)
    assert json.loads(out.getvalue())["unmet"][0]["remedy"].startswith("Start a runner")
    with pytest.raises(CommandError, match="No node 'files#1/nothing'"):
        call_command("why", "files#1/nothing")

    move(made.plans.get(), "invalid", because="no")
    assert reasons() == ["plan: it has no plan that can be carried out"]
    goals.give_plan(made, text(plan(node("a"))), by=alice)
    assert reasons() == ["approval: a person must decide: Plan 2 of files #1"]
    operations.cancel(made, by=alice)
    engine.advance(made.pk)
    assert reasons() == []
    out = StringIO()
    call_command("why", "files#1", stdout=out)
    assert "It has ended." in out.getvalue()
