"""The API for members' programs: their tokens, swarms and what may be done to them, and goals that are stated once."""

import json
import re
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection
from django.http import HttpResponse
from django.test import Client
from django.utils import timezone

from agents.models import Execution, Steer
from sessions import frames
from sessions.models import Event, Part
from sessions.relay import number
from swarms import projects
from swarms.api import events
from swarms.models import Approval, Goal, Node, Project, Swarm
from swarms.workspace.git import environment
from tenants import members, programs
from tenants.context import in_schema
from tenants.models import Membership, Team, TeamShare, Ticket, Token
from tenants.roles import Permission, Role, may
from tests.board_stage import Stage
from tests.conftest import user_of
from tests.test_steering import asked

ClientFor = Callable[..., Client]


class Program:
    """A program with the token of a member."""

    def __init__(self, secret: str, team: str = "acme") -> None:
        self.client, self.secret, self.root = Client(headers={"host": "127.0.0.1:8000"}), secret, f"/t/{team}/api/v1"

    def get(self, path: str) -> HttpResponse:
        return self.client.get(self.root + path, headers={"authorization": f"Bearer {self.secret}"})

    def patch(self, path: str, body: Any) -> HttpResponse:
        return self.client.patch(
            self.root + path,
            body,
            content_type="application/json",
            headers={"authorization": f"Bearer {self.secret}"},
        )

    def post(self, path: str, body: Any = None, **headers: str) -> HttpResponse:
        return self.client.post(
            self.root + path,
            {} if body is None else body,
            content_type="application/json",
            headers={"authorization": f"Bearer {self.secret}"} | headers,
        )


def secret_of(name: str, team: Team) -> str:
    member = Membership.objects.select_related("team", "user").get(user=user_of(name, team.slug), team=team)
    return programs.issue(member, name="tests", days=1)[1]


@pytest.fixture
def stage(team: Team) -> Stage:
    return Stage(user_of("alice", "acme"))


@pytest.fixture
def bob(team: Team) -> Program:
    return Program(secret_of("bob", team))


def test_a_member_makes_a_token_on_a_page_that_shows_it_once(team: Team, client_for: ClientFor, stage: Stage) -> None:
    client = client_for(user_of("bob", "acme"), team)
    made = client.post("/programs/new/", {"name": "nightly <goals>", "days": "7"})
    secret = re.search(r"<code data-token>(wg_[\w-]+)</code>", made.text)[1]
    assert Program(secret).get("/swarms").status_code == 200
    page = client.get("/programs/")
    assert secret not in page.text
    assert "nightly &lt;goals&gt;" in page.text
    assert not Token.objects.filter(hash__contains=secret).exists()
    token = Token.objects.get(kind="api")
    assert timedelta(days=6) < token.expires_at - timezone.now() <= timedelta(days=7)
    assert client_for(user_of("alice", "acme"), team).post(f"/programs/{token.pk}/revoke/").status_code == 404
    assert client.post(f"/programs/{token.pk}/revoke/").status_code == 302
    assert Program(secret).get("/swarms").status_code == 404
    assert client.post("/programs/new/", {"name": "x", "days": "0"}).status_code == 422


@pytest.mark.parametrize("role", list(Role))
def test_a_program_may_what_its_member_may_at_this_moment(team: Team, stage: Stage, role: Role) -> None:
    program = Program(secret_of("vera", team))
    Membership.objects.filter(user=user_of("vera", "acme")).update(role=role)
    assert program.get("/swarms").status_code == 200
    answer = program.post(f"/swarms/{stage.swarm.pk}/pause")
    allowed = may(role, Permission.STATE_GOAL)
    assert answer.status_code == (200 if allowed else 403)
    assert allowed or "To state goals" in answer.json()["error"]
    assert Swarm.objects.get(pk=stage.swarm.pk).state == ("paused" if allowed else "running")


def test_a_stranger_learns_nothing(team: Team, globex: Team, stage: Stage, bob: Program) -> None:
    theirs = Program(secret_of("bob", globex))
    missing = Client(headers={"host": "127.0.0.1:8000"}).get("/t/no-such-team/api/v1/swarms")
    gone = Program(secret_of("vera", team))
    vera = Membership.objects.get(user=user_of("vera", "acme"), team=team)
    members.remove_member(vera, by=Membership.objects.get(user=user_of("alice", "acme"), team=team))
    late = Program(secret_of("alice", team))
    Token.objects.filter(user=user_of("alice", "acme")).update(expires_at=timezone.now())
    members.add_member(team, user_of("vera", "acme"), Role.VIEWER)  # comes back: the old token does not
    for program in (Program(""), Program("wg_nothing"), Program(theirs.secret), gone, late):
        for answer in (program.get("/swarms"), program.post(f"/swarms/{stage.swarm.pk}/cancel")):
            assert (answer.status_code, answer.json()) == (missing.status_code, missing.json())
    assert theirs.get(f"/swarms/{stage.swarm.pk}").status_code == 404
    assert bob.get("/swarms/00000000-0000-7000-8000-000000000000").status_code == 404


def test_cookies_open_nothing(team: Team, stage: Stage, client_for: ClientFor) -> None:
    client = client_for(user_of("alice", "acme"), team)
    assert client.get("/t/acme/api/v1/swarms").status_code == 404


def test_swarms_are_listed_newest_first_in_pages(stage: Stage, bob: Program) -> None:
    first = bob.get("/swarms?limit=1").json()
    assert [one["number"] for one in first["swarms"]] == [2]
    rest = bob.get(f"/swarms?limit=1&before={first['next']['before']}").json()
    assert ([one["number"] for one in rest["swarms"]], rest["next"]) == ([1], None)
    assert [one["number"] for one in bob.get("/swarms?state=proposed&project=textkit").json()["swarms"]] == [2]
    assert [one["number"] for one in bob.get("/swarms?state=live").json()["swarms"]] == [2, 1]
    assert bob.get("/swarms?project=other").json() == {"swarms": [], "next": None}
    for wrong in ("state=happy", "limit=many", "before=yesterday"):
        answer = bob.get(f"/swarms?{wrong}")
        assert answer.status_code == 422
        assert wrong.partition("=")[0] in answer.json()["error"]


def test_a_swarm_and_its_nodes_are_told(stage: Stage, bob: Program) -> None:
    by_id, by_number = bob.get(f"/swarms/{stage.swarm.pk}"), bob.get("/projects/textkit/swarms/1")
    assert by_id.json() == by_number.json()
    found = by_id.json()
    assert found["state"] == "running"
    assert found["can"] == ["cancel", "drain", "pause"]
    assert found["nodes"] == {"succeeded": 1, "running": 1, "awaiting_approval": 1}
    nodes = {node["key"]: node for node in bob.get(f"/swarms/{stage.swarm.pk}/nodes").json()["nodes"]}
    assert set(nodes) == {"parser", "printer", "docs"}
    assert nodes["docs"]["can"] == ["priority", "skip"]
    assert nodes["printer"]["depends_on"] == [edge.parent.key for edge in stage.nodes["printer"].edges_in.all()]


def test_what_happened_is_read_by_pages_in_the_words_of_the_stream(
    stage: Stage, bob: Program, team: Team, globex: Team
) -> None:
    number(team.pk)
    topic = stage.swarm.topic
    wanted = list(Event.objects.filter(subject__in=[topic, "team"], position__isnull=False).order_by("position"))
    assert len(wanted) > 10
    found: list[Any] = []
    after: int | None = 0
    while after is not None:
        answer = bob.get(f"/events?topic={topic}&topic=team&after={after}&limit=7").json()
        assert len(answer["events"]) <= 7
        found += answer["events"]
        after = (answer["next"] or {}).get("after")
    assert found == [json.loads(frames.told(event)) for event in wanted]
    assert (found[0]["topic"], found[0]["id"], found[0]["position"]) == (topic, str(wanted[0].pk), wanted[0].position)
    last = found[-1]["position"]
    assert bob.get(f"/events?topic={topic}&after={last}").json() == {"events": [], "next": None}
    for wrong in ("", "topic=", "topic=swarm:1", f"topic=swarm:{uuid4()}", f"topic=agent:{uuid4()}"):
        answer = bob.get(f"/events?{wrong}")
        assert (answer.status_code, answer.json()) == (404, {"error": "not found"}), wrong
    for wrong in ("after=x", "after=-1", "limit=many", "after=" + "9" * 30):
        assert bob.get(f"/events?topic=team&{wrong}").status_code == 422
    theirs = Program(secret_of("bob", globex), "globex")
    assert theirs.get(f"/events?topic={topic}").status_code == 404
    assert Program(bob.secret, "globex").get("/events?topic=team").status_code == 404
    assert theirs.get("/events?topic=team").json()["events"] == []


def test_a_long_answer_is_cut_and_goes_on(
    stage: Stage, bob: Program, team: Team, monkeypatch: pytest.MonkeyPatch
) -> None:
    number(team.pk)
    whole = bob.get(f"/events?topic={stage.swarm.topic}").json()
    assert whole["next"] is None
    monkeypatch.setattr(events, "LONGEST", 0)
    found: list[Any] = []
    after: int | None = 0
    while after is not None:
        answer = bob.get(f"/events?topic={stage.swarm.topic}&after={after}").json()
        assert len(answer["events"]) == 1
        found += answer["events"]
        after = (answer["next"] or {}).get("after")
    assert found == whole["events"]


def test_a_program_talks_to_an_agent_as_its_member(stage: Stage, bob: Program) -> None:
    session, key = stage.live.session_id, str(uuid4())
    listed = bob.get(f"/swarms/{stage.swarm.pk}/sessions").json()["sessions"]
    assert str(session) in {one["id"] for one in listed}
    for _ in range(2):
        said = bob.post(f"/sessions/{session}/say", {"text": "Mind the vowels.", "key": key})
        assert (said.status_code, said.json()["id"], said.json()["by"]) == (201, key, "Bob")
    assert bob.post(f"/sessions/{session}/interrupt", {"text": "Stop."}).json()["kind"] == "interrupt"
    found = bob.get(f"/sessions/{session}").json()
    assert [one["text"] for one in found["unheard"]][-2:] == ["Mind the vowels.", "Stop."]
    assert found["hears"]
    assert Steer.objects.filter(execution=stage.live, by=user_of("bob", "acme").pk).count() == 2
    Execution.objects.filter(pk=stage.live.pk).update(assignment={"runtime": "opencode"})
    assert bob.post(f"/sessions/{session}/unrevert").status_code == 409
    assert bob.post(f"/sessions/{session}/revert").status_code == 201
    assert bob.get(f"/sessions/{session}").json()["is_reverted"]
    assert bob.post(f"/sessions/{session}/unrevert").status_code == 201
    for path, body, status in (
        ("say", {"text": " "}, 422),
        ("say", {}, 422),
        ("say", {"text": "x", "key": "mine"}, 422),
        ("shout", {"text": "x"}, 404),
        (f"questions/{uuid4()}/answer", {"text": "x"}, 409),
    ):
        assert bob.post(f"/sessions/{session}/{path}", body).status_code == status, (path, body)
    Execution.objects.filter(pk=stage.live.pk).update(state="failed", ended_at=timezone.now())
    assert bob.post(f"/sessions/{session}/say", {"text": "x"}).status_code == 409
    assert not bob.get(f"/sessions/{session}").json()["hears"]


def test_a_program_answers_what_its_member_may_answer(stage: Stage, bob: Program, team: Team) -> None:
    question, permission = asked(stage.live.session), asked(stage.live.session, about="permission")
    vera, path = Program(secret_of("vera", team)), f"/sessions/{stage.live.session_id}/questions"
    shown = {one["id"]: one["about"] for one in bob.get(f"/sessions/{stage.live.session_id}").json()["questions"]}
    assert shown.items() >= {str(question.pk): "", str(permission.pk): "permission"}.items()
    assert vera.post(f"{path}/{question.pk}/answer", {"text": "This."}).status_code == 403
    assert bob.post(f"{path}/{permission.pk}/answer", {"text": "Yes."}).status_code == 403
    assert bob.post(f"{path}/{question.pk}/answer", {"text": "That."}).status_code == 201
    assert bob.post(f"{path}/{question.pk}/answer", {"text": "This."}).status_code == 409
    Membership.objects.filter(user=user_of("vera", "acme")).update(role=Role.APPROVER)
    assert vera.post(f"{path}/{permission.pk}/answer", {"text": "Yes."}).status_code == 201
    assert Part.objects.get(pk=question.pk).output == "Bob: That."


def test_agents_of_another_team_are_like_none(stage: Stage, globex: Team) -> None:
    theirs, mine = Program(secret_of("alice", globex), "globex"), asked(stage.live.session)
    asks = Approval.objects.filter(state="pending").earliest("pk")
    for session, question in ((stage.live.session_id, mine.pk), (uuid4(), uuid4())):
        for answer in (
            theirs.get(f"/sessions/{session}"),
            theirs.get(f"/swarms/{stage.swarm.pk}/sessions"),
            *(theirs.post(f"/sessions/{session}/{verb}", {"text": "x"}) for verb in ("say", "interrupt")),
            *(theirs.post(f"/sessions/{session}/{verb}") for verb in ("revert", "unrevert")),
            theirs.post(f"/sessions/{session}/questions/{question}/answer", {"text": "x"}),
            theirs.get(f"/approvals/{asks.pk}"),
            *(theirs.post(f"/approvals/{asks.pk}/{verb}", {"because": "x"}) for verb in ("approve", "reject")),
        ):
            assert (answer.status_code, answer.json()) == (404, {"error": "not found"})
    assert not Steer.objects.filter(execution=stage.live, text="x").exists()


def test_verbs_act_as_the_member_and_say_what_is_in_the_way(stage: Stage, bob: Program) -> None:
    swarm = f"/swarms/{stage.swarm.pk}"
    assert bob.post(f"{swarm}/pause").json()["state"] == "paused"
    again = bob.post(f"{swarm}/pause")
    assert again.status_code == 409
    assert again.json()["error"] == "The swarm is paused; that is possible only while it is running or rolling back."
    assert bob.post(f"{swarm}/resume").json()["state"] == "running"
    moved = Event.objects.filter(kind="swarm.moved", subject=stage.swarm.topic).order_by("-seq")[0]
    assert moved.actor == f"user:{user_of('bob', 'acme').pk}"
    assert bob.post(f"{swarm}/priority", {"priority": 5}).json()["priority"] == 5
    assert bob.post(f"{swarm}/priority", {"priority": 500}).status_code == 422
    at = (timezone.now() + timedelta(hours=1)).isoformat()
    assert bob.post(f"{swarm}/deadline", {"at": at}).json()["deadline_at"][:16] == at[:16]
    assert bob.post(f"{swarm}/deadline", {"at": None}).json()["deadline_at"] is None
    assert bob.post(f"{swarm}/deadline", {"at": "2020-01-01T00:00:00Z"}).status_code == 422
    assert bob.post(f"{swarm}/deadline", {"at": "2099-01-01T00:00:00"}).json()["faults"]
    skipped = bob.post(f"{swarm}/nodes/docs/skip", {"because": "no need"}).json()
    assert (skipped["state"], skipped["because"]) == ("skipped", "skipped by Bob: no need")
    assert bob.post(f"{swarm}/nodes/printer/skip").status_code == 409
    assert bob.post(f"{swarm}/nodes/parser/priority", {"priority": 1}).status_code == 409
    assert bob.post(f"{swarm}/drain").json()["state"] == "draining"
    assert bob.post(f"{swarm}/cancel", {"because": "x" * 501}).status_code == 422
    stopped = bob.post(f"{swarm}/cancel", {"because": "too dear"}).json()
    assert (stopped["state"], stopped["because"]) == ("cancelling", "cancelled by Bob: too dear")
    for path in (f"{swarm}/explode", f"{swarm}/nodes/docs/explode", f"{swarm}/nodes/nothing/skip"):
        assert bob.post(path).status_code == 404


@pytest.mark.parametrize(
    ("body", "says"),
    [("{", "not JSON"), ("[]", "body:"), ('{"priority": "high"}', "priority:"), ('{"priority": 1, "x": 2}', "x:")],
)
def test_a_wrong_body_is_refused_with_its_faults(stage: Stage, bob: Program, body: str, says: str) -> None:
    answer = bob.post(f"/swarms/{stage.swarm.pk}/priority", body)
    assert answer.status_code == 422
    assert says in answer.text
    assert bob.get(f"/swarms/{stage.swarm.pk}/pause").status_code == 405
    assert bob.client.get(f"{bob.root}/swarms/{stage.swarm.pk}/pause").status_code == 404


def test_a_text_that_cannot_be_kept_is_refused_wherever_it_stands(
    stage: Stage, bob: Program, team: Team, client_for: ClientFor
) -> None:
    swarm = f"/swarms/{stage.swarm.pk}"
    for path, body in (
        (f"{swarm}/nodes/parser/skip", {"because": "a\0b"}),
        (f"{swarm}/change", {"note": "a\0b"}),
        ("/projects/textkit/goals", {"text": "a\0b"}),
    ):
        answer = bob.post(path, body)
        assert (answer.status_code, answer.json()["error"]) == (422, "A text has a NUL character (\\0). Take it out.")
    assert bob.post(f"{swarm}/priority", "[" * 100_000).status_code == 422
    assert bob.get("/swarms?project=a%00b").status_code == 400
    assert bob.get("/swarms?project=a%2500b").status_code == 200
    page = f"/projects/textkit/swarms/{stage.swarm.number}/"
    people = client_for(user_of("alice", "acme"), team)
    for path in ("nodes/parser/skip/", "plan/ask/"):
        assert people.post(page + path, {"because": "a\0b", "note": "a\0b"}).status_code == 400
    assert people.get("/swarms/?project=a%00b").status_code == 400
    assert client_for(None, team).get("/projects/a%00b/").status_code == 400
    assert Program("wg_nobody").get("/swarms?project=a%00b").status_code == 400
    assert Program("wg_nobody", team="nobody").get("/swarms?project=a%00b").status_code == 400


def test_a_goal_with_a_key_is_stated_once(stage: Stage, bob: Program) -> None:
    path = "/projects/textkit/goals"
    first = bob.post(path, {"text": "Add stats"}, **{"Idempotency-Key": "k1"})
    assert first.status_code == 201
    swarm = Swarm.objects.get(pk=first.json()["id"])
    assert (swarm.number, swarm.goal.created_by) == (3, user_of("bob", "acme"))
    again = bob.post(path, {"text": "Add stats"}, **{"Idempotency-Key": "k1"})
    assert (again.status_code, again.content) == (first.status_code, first.content)
    other = bob.post(path, {"text": "Something else"}, **{"Idempotency-Key": "k1"})
    assert other.status_code == 422
    assert "goal #3" in other.json()["error"]
    assert bob.post(path, {"text": "Add stats"}).json()["number"] == 4
    huge = bob.post(path, '{"text": ' + "9" * 5000 + "}")
    assert (huge.status_code, huge.json()["error"][:24]) == (422, "The body is not JSON: Ex")
    assert bob.post(path, {"text": " "}).json()["error"] == "text: Say what you want, in a sentence or more."
    assert bob.post(path, {"text": "x"}, **{"Idempotency-Key": "k" * 201}).status_code == 422
    assert bob.post("/projects/nothing/goals", {"text": "x"}).status_code == 404
    assert Goal.objects.count() == 4


def test_beyond_the_teams_share_a_program_is_told_when_to_come_again(stage: Stage, bob: Program, team: Team) -> None:
    path, once = "/projects/textkit/goals", {"Idempotency-Key": "k"}
    first = bob.post(path, {"text": "Add stats"}, **once)
    TeamShare.objects.filter(team=team).update(max_swarms=3)
    answer = bob.post(path, {"text": "More"})
    assert answer.status_code == 429
    assert int(answer.headers["Retry-After"]) > 0
    assert "3 swarms that have not ended, and may have 3" in answer.json()["error"]
    assert bob.post(path, {"text": "Add stats"}, **once).content == first.content
    for state in ("failing", "failed"):
        Swarm.objects.filter(pk=stage.swarm.pk).update(state=state, started_at=timezone.now())
    TeamShare.objects.filter(team=team).update(max_swarms=2)
    assert bob.post(f"/swarms/{stage.swarm.pk}/retry").status_code == 429
    assert Swarm.objects.get(pk=stage.swarm.pk).state == "failed"


@pytest.fixture
def project(committed_team: Team, broker: object, settings: Any, tmp_path: Path) -> Project:
    settings.DATA_DIR, settings.LOCAL_SOURCES = tmp_path / "data", True
    folder = tmp_path / "source"
    folder.mkdir()
    (folder / "a.txt").write_text("a\n")
    for args in (["init", "-q", "-b", "main"], ["add", "."], ["commit", "-q", "-m", "begin"]):
        subprocess.run(["git", *args], cwd=folder, env=environment(), check=True)
    made = projects.add_project(name="Kit", slug="kit", source=str(folder), checks=[], by=user_of("alice", "acme"))
    projects.fetch(made.pk)
    return made


def test_fifty_requests_with_one_key_at_once_make_one_swarm(project: Project, committed_team: Team) -> None:
    secret = secret_of("bob", committed_team)

    def call(number: int) -> tuple[int, bytes]:
        try:
            answer = Program(secret).post("/projects/kit/goals", {"text": "Go"}, **{"Idempotency-Key": "same"})
            return answer.status_code, answer.content
        finally:
            connection.close()

    with ThreadPoolExecutor(8) as threads:
        answers = set(threads.map(call, range(50)))
    assert len(answers) == 1, answers
    assert answers.pop()[0] == 201
    with in_schema(committed_team.schema_name):
        assert Swarm.objects.count() == Goal.objects.count() == 1
        assert Node.objects.count() == 0
        assert Ticket.objects.filter(kind="plan").count() == 1
