"""Decisions and their reasons: found by words, by who decided and where, page by page."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection
from django.test import Client

from sessions import decisions
from sessions.events import acting, publish, publish_all
from sessions.kinds import DECISIONS
from sessions.models import Event
from swarms.decided import Wanted, found
from swarms.models import Swarm
from tenants.context import in_schema
from tenants.models import Team
from tests.board_stage import Stage
from tests.conftest import user_of
from tests.test_api_swarms import Program, secret_of

ClientFor = Callable[..., Client]


@pytest.fixture
def stage(team: Team) -> Stage:
    """Two swarms with decisions: by the engine, by alice, by bob's answer, by the rules."""
    made = Stage(user_of("alice", "acme"))
    Event.objects.filter(kind__in=DECISIONS).delete()
    first, second = made.swarm.topic, made.proposed.topic
    alice, bob = (f"user:{user_of(name, 'acme').pk}" for name in ("alice", "bob"))
    publish(
        first, "decision.made", by="engine", what="try parser again", why="lost: its runner was silent", node="parser"
    )
    with acting(alice):
        publish(first, "decision.made", by=alice, what="pause", why="the provider is expensive tonight")
    with acting(bob):
        answer = {"approval": str(made.approval.pk), "kind": "plan", "title": "Plan 1", "verdict": "rejected"}
        publish(second, "approval.decided", **answer, by="Bob", automatic=False, because="Split the parsers first")
    publish(second, "plan.refused", plan="x", version=1, round=1, faults=["node docs depends on itself"])
    return made


def whats(**wanted: Any) -> list[str]:
    return [one.said.text for one in found(Wanted(**wanted), most=50)[0]]


ENGINE, ALICE = "Decision of the engine: try parser again", "Decision of a person: pause"
BOB, RULES = "Rejected by Bob: Plan 1", "Plan 1, round 1: sent back, 1 fault"


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ({}, [RULES, BOB, ALICE, ENGINE]),
        ({"words": "runner silent"}, [ENGINE]),
        ({"words": "parser"}, [BOB, ENGINE]),  # the stem: parsers, too
        ({"words": "parser -silent"}, [BOB]),
        ({"words": '"parsers first"'}, [BOB]),
        ({"words": '"first parsers"'}, []),
        ({"words": "depends"}, [RULES]),
        ({"words": "'; DROP TABLE x; --"}, []),
        ({"who": "engine"}, [ENGINE]),
        ({"who": "people"}, [BOB, ALICE]),
        ({"who": "rules"}, [RULES]),
        ({"who": "coordinator"}, []),
        ({"project": "textkit", "number": 1}, [ALICE, ENGINE]),
        ({"project": "textkit", "number": 2}, [RULES, BOB]),
        ({"project": "other"}, []),
        ({"words": "parser", "who": "people", "number": 2}, [BOB]),
    ],
)
def test_decisions_are_found(stage: Stage, wanted: dict[str, Any], expected: list[str]) -> None:
    assert whats(**wanted) == expected


def test_those_of_one_member_are_found(stage: Stage) -> None:
    assert whats(who=f"user:{user_of('alice', 'acme').pk}") == [ALICE]
    assert whats(who=f"user:{user_of('bob', 'acme').pk}") == [BOB]
    assert whats(who=f"user:{user_of('vera', 'acme').pk}") == []


def test_pages_follow_each_other_without_gap_and_without_doubles(stage: Stage) -> None:
    facts = [("decision.made", {"by": "engine", "what": f"w{n}", "why": ""}) for n in range(25)]
    publish_all(stage.swarm.topic, facts)  # all at the same moment
    seen: list[str] = []
    before, pages = None, 0
    while True:
        rows, before = found(Wanted(who="engine"), before=before, most=7)
        seen += [row.event.payload["what"] for row in rows]
        pages += 1
        if before is None:
            break
        publish(stage.swarm.topic, "decision.made", by="engine", what="late", why="")  # newer: on no later page
    assert seen == [f"w{n}" for n in reversed(range(25))] + ["try parser again"]
    assert pages == 4


def test_words_and_time_are_found_by_the_indexes_made_for_them(stage: Stage) -> None:
    facts = [("decision.made", {"by": "engine", "what": f"w{n}", "why": "again"}) for n in range(3000)]
    publish_all(stage.swarm.topic, facts)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE agent_sessions_event")
    assert "decision_time" in decisions.found()[:50].explain()
    assert "decision_words" in decisions.found(words="parser silent")[:50].explain()


def test_the_page_shows_filters_and_leads_on(stage: Stage, team: Team, client_for: ClientFor) -> None:
    vera = client_for(user_of("vera", "acme"), team)
    page = vera.get("/decisions/").text
    for text in (ENGINE, ALICE, BOB, RULES, "the provider is expensive tonight", "node docs depends on itself"):
        assert text in page
    assert f'href="/approvals/{stage.approval.pk}/"' in page
    assert 'href="/projects/textkit/swarms/1/nodes/parser/"' in page
    made = Event.objects.get(subject=stage.swarm.topic, payload__what="try parser again")
    address = f"/projects/textkit/swarms/1/replay/?at={made.seq}"
    assert f'href="{address}"' in page
    assert str(made.pk) in vera.get(address).text
    page = vera.get("/decisions/", {"q": "silent", "project": "textkit", "swarm": "1"}).text
    assert ENGINE in page
    assert ALICE not in page
    assert 'value="silent"' in page
    assert 'href="/decisions/?project=textkit&amp;swarm=1"' in vera.get("/projects/textkit/swarms/1/").text


def test_the_page_says_what_is_missing(team: Team, stage: Stage, client_for: ClientFor) -> None:
    vera = client_for(user_of("vera", "acme"), team)
    assert "No decision is like that" in vera.get("/decisions/?q=zebra").text
    Event.objects.filter(kind__in=DECISIONS).delete()
    assert "Nothing was decided yet" in vera.get("/decisions/").text
    for wrong in ("?before=x", "?swarm=x", "?swarm=99999999999999"):
        assert vera.get(f"/decisions/{wrong}").status_code == 404
    assert vera.get("/decisions/?q=%00").status_code == 400


def test_older_ones_are_behind_a_link(stage: Stage, team: Team, client_for: ClientFor) -> None:
    publish_all(stage.swarm.topic, [("decision.made", {"by": "engine", "what": f"w{n}", "why": ""}) for n in range(60)])
    vera = client_for(user_of("vera", "acme"), team)
    first = vera.get("/decisions/?who=engine").text
    link = re.search(r'href="(\?who=engine&amp;before=[0-9a-f-]+)"', first)[1].replace("&amp;", "&")
    second = vera.get(f"/decisions/{link}").text
    shown = [re.findall(r"engine: (w\d+)<", page) for page in (first, second)]
    assert shown[0] + shown[1] == [f"w{n}" for n in reversed(range(60))]
    assert "Older ones" not in second


def test_programs_get_them_as_json(stage: Stage, team: Team) -> None:
    bob = Program(secret_of("bob", team))
    answer = bob.get("/decisions?who=people&limit=1").json()
    (told,) = answer["decisions"]
    assert told["by"] == f"user:{user_of('bob', 'acme').pk}"
    assert (told["kind"], told["what"], told["why"]) == ("approval.decided", BOB, "Split the parsers first")
    assert (told["project"], told["number"], told["swarm"]) == ("textkit", 2, str(stage.proposed.pk))
    assert told["approval"] == str(stage.approval.pk)
    rest = bob.get(f"/decisions?who=people&before={answer['next']['before']}").json()
    assert [one["what"] for one in rest["decisions"]] == [ALICE]
    assert rest["next"] is None
    for wrong in ("limit=x", "before=x", "number=x"):
        assert bob.get(f"/decisions?{wrong}").status_code == 422
    assert Program("wg_wrong").get("/decisions").status_code == 404


def test_a_team_finds_its_own_only(stage: Stage, globex: Team, client_for: ClientFor) -> None:
    assert ENGINE not in client_for(user_of("alice", "globex"), globex).get("/decisions/").text
    with in_schema(globex.schema_name):
        assert whats() == []
        assert not Swarm.objects.exists()
