"""Deleting a team: all of it goes, what is others' stays, and a line tells of it."""

from collections.abc import Callable, Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import redis
from django.core.files.base import ContentFile
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import Client
from django.utils import timezone

from agents.models import Execution
from sessions.artifacts import contents
from sessions.models import Session
from sessions.topics import stream_key
from swarms import removal
from swarms.models import Project
from swarms.refusals import NotNow
from swarms.workspace import repos
from tenants import provisioning, runners, signup, tokens
from tenants import removal as doors
from tenants.context import in_schema
from tenants.models import Domain, Membership, Removal, Runner, Team, Token, User
from tests.board_stage import Stage
from tests.conftest import user_of
from tests.stage_parts import repository

ClientFor = Callable[..., Client]
BY = "charlie@nowhere.example"


@pytest.fixture
def shared(settings: Any) -> Iterator["redis.Redis"]:
    with redis.Redis.from_url(settings.STREAM_URL) as client:
        yield client


def keys_of(team: Team) -> tuple[str, ...]:
    return stream_key(team.schema_name), f"present:{team.schema_name}:swarm:x"


def fill(team: Team, shared: "redis.Redis") -> None:
    """Something of the team in every place that a team has."""
    with in_schema(team.schema_name):
        by = User.objects.get(email=BY)
        project = Project.objects.create(slug="kit", name="Kit", source="/srv/kit", state="ready", created_by=by)
        repository(project)
        assert repos.path_of(project.pk).exists()
    contents.store().save(contents.place_of("ab" * 32, team.schema_name), ContentFile(b"kept"))
    tokens.issue("api", team=team)
    runner, _ = runners.add("box", team=team, trusted=False)
    with in_schema(team.schema_name):
        session = Session.objects.create(subject=project.topic, title="At work", agent="anna")
        what = {"kind": "work", "subject": "node:x", "swarm": project.pk, "assignment": {}, "agent": "anna"}
        Execution.objects.create(runner=runner, session=session, lease_until=timezone.now(), **what)
    with connection.cursor() as cursor:
        # What was written in this transaction is checked now: no table can be dropped before that.
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
    for key in keys_of(team):
        shared.set(key, "x")


def schemas() -> set[str]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT nspname FROM pg_namespace")
        return {row[0] for row in cursor.fetchall()}


def is_gone(team: Team, shared: "redis.Redis") -> None:
    assert team.schema_name not in schemas()
    assert not Team.objects.filter(pk=team.pk).exists()
    assert not Domain.objects.filter(slug="soon-gone").exists()
    for model in (Membership, Token, Runner):
        assert not model._default_manager.filter(team=team.pk).exists()
    assert not repos.folder_of(team.schema_name).exists()
    assert not Path(contents.store().path(team.schema_name)).exists()
    assert not shared.exists(*keys_of(team))


@pytest.fixture
def team_to_go(db: None, settings: Any, tmp_path: Path, shared: "redis.Redis") -> Team:
    settings.DATA_DIR = tmp_path
    team = signup.make_team(name="Gone", slug="soon-gone", owner=user_of("charlie"))
    fill(team, shared)
    return team


def test_all_of_a_team_goes_what_others_have_stays_and_a_line_tells(
    team_to_go: Team,
    acme: Team,
    shared: "redis.Redis",
    drain: Callable[[], int],
    django_capture_on_commit_callbacks: Any,
) -> None:
    beside = contents.place_of("cd" * 32, acme.schema_name)
    contents.store().save(beside, ContentFile(b"kept"))
    shared.set(keys_of(acme)[1], "x")
    with django_capture_on_commit_callbacks(execute=True):
        removal.ask(team_to_go, by=BY)
        # The doors are closed before anything is deleted.
        assert Team.objects.get(pk=team_to_go.pk).state == "removing"
        assert not Token.objects.filter(team=team_to_go, revoked_at=None).exists()
        assert Runner.objects.get(team=team_to_go).token.revoked_at is not None
        assert team_to_go.schema_name in schemas()
    assert drain() == 1
    is_gone(team_to_go, shared)
    line = Removal.objects.get(team=team_to_go.pk)
    assert (line.name, line.slug, line.asked_by, line.fault) == ("Gone", "soon-gone", BY, "")
    assert (line.held["projects"], line.held["members"], line.held["swarms"]) == (1, 1, 0)
    assert line.done_at is not None
    assert User.objects.filter(email=BY).exists()
    assert acme.schema_name in schemas()
    assert contents.store().exists(beside)
    assert shared.exists(keys_of(acme)[1])
    contents.store().delete(beside)
    shared.delete(keys_of(acme)[1])
    assert removal.carry_out(line.pk) is False, "a hint that comes twice"


def test_a_try_that_breaks_off_says_why_and_the_next_one_goes_on(
    team_to_go: Team, shared: "redis.Redis", monkeypatch: pytest.MonkeyPatch, django_capture_on_commit_callbacks: Any
) -> None:
    line = removal.ask(team_to_go, by=BY)
    with monkeypatch.context() as broken:
        broken.setattr(doors, "drop", lambda found: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            removal.carry_out(line.pk)
    line.refresh_from_db()
    assert (line.done_at, line.fault) == (None, "ZeroDivisionError: division by zero")
    with django_capture_on_commit_callbacks() as hints:
        assert doors.remind() == 1
    assert len(hints) == 1
    assert removal.carry_out(line.pk)
    is_gone(team_to_go, shared)
    assert doors.remind() == 0


def test_a_team_whose_swarms_have_not_ended_stays(team: Team) -> None:
    stage = Stage(user_of("alice", "acme"))
    with pytest.raises(NotNow, match=f"{stage.swarm}.*Cancel them first"):
        removal.ask(team, by=BY)
    assert Team.objects.get(pk=team.pk).state == "ready"
    assert not Removal.objects.exists()


def test_a_team_that_could_not_be_made_can_be_deleted(
    db: None, shared: "redis.Redis", monkeypatch: pytest.MonkeyPatch
) -> None:
    team = signup.new_team(name="Gone", slug="soon-gone", owner=user_of("charlie"))
    with monkeypatch.context() as broken:
        broken.setattr(provisioning, "migrate", lambda schema, say: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            provisioning.build(team)
    team.refresh_from_db()
    assert team.state == "failed"
    assert removal.carry_out(removal.ask(team, by=BY).pk)
    is_gone(team, shared)


def test_its_owner_deletes_it_on_a_page_by_typing_its_address(team: Team, client_for: ClientFor) -> None:
    alice, path = client_for(user_of("alice", "acme"), team), "/settings/delete/"
    assert path in alice.get("/settings/").text
    assert "Type acme to confirm" in alice.get(path).text
    wrong = alice.post(path, {"address": "Acme"})
    assert (wrong.status_code, "It is acme." in wrong.text) == (422, True)
    assert Team.objects.get(pk=team.pk).state == "ready"
    done = alice.post(path, {"address": "acme"})
    assert (done.status_code, "//waggle.localhost" in done["Location"]) == (302, True)
    line = Removal.objects.get(team=team.pk)
    assert (line.asked_by, line.held["members"]) == ("alice@acme.example", 3)
    # From now on there is nothing to be seen or done.
    closed = alice.get("/")
    assert (closed.status_code, "being deleted" in closed.text) == (503, True)
    assert alice.post(path, {"address": "acme"}).status_code == 503
    operator = User.objects.create_superuser("root@nowhere.example", "x")
    assert "alice@acme.example" in client_for(operator).get("/operator/tenants/removal/").text


def test_nobody_but_owners_finds_the_page(team: Team, client_for: ClientFor) -> None:
    bob = client_for(user_of("bob", "acme"), team)
    assert "/settings/delete/" not in bob.get("/settings/").text
    assert bob.get("/settings/delete/").status_code == 403
    assert bob.post("/settings/delete/", {"address": "acme"}).status_code == 403


def test_while_swarms_run_the_page_names_them(team: Team, client_for: ClientFor) -> None:
    stage, alice = Stage(user_of("alice", "acme")), client_for(user_of("alice", "acme"), team)
    answer = alice.post("/settings/delete/", {"address": "acme"})
    assert answer.status_code == 422
    assert f"Swarms have not ended: {stage.swarm}" in answer.text
    assert 'href="/projects/textkit/swarms/1/"' in answer.text


def test_the_command_does_it_here_and_now(team_to_go: Team, shared: "redis.Redis") -> None:
    def run(*words: str) -> str:
        out = StringIO()
        call_command("remove_team", *words, stdout=out)
        return out.getvalue()

    with pytest.raises(CommandError, match="name it twice"):
        run("soon-gone", "--confirm", "gone")
    with pytest.raises(CommandError, match="no team with the address nothing"):
        run("nothing", "--confirm", "nothing")
    assert run("soon-gone", "--confirm", "soon-gone").startswith(
        "Deleted: Gone (soon-gone), with 1 members, 1 projects"
    )
    is_gone(team_to_go, shared)
    assert Removal.objects.get(team=team_to_go.pk).asked_by == "manage.py remove_team"
