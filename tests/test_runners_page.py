"""Runners of a team's own: made on a page, started with one command on another machine."""

import html
import re
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from uuid import uuid4

import pytest
from django.core.management import call_command
from django.test import Client

from agents import linking
from agents import runners as connected
from agents.contracts.link import Heartbeat, Hello
from tenants import runners, tokens
from tenants.models import Runner, Team
from tests.conftest import user_of
from tests.fake_control_plane import FakeControlPlane, call, serving, steps, until
from tests.test_runner import DONE, running

Browser = Callable[..., Client]


@pytest.fixture
def owner(acme: Team, client_for: Browser) -> Client:
    return client_for(user_of("alice", "acme"), acme)


def command(page: str) -> str:
    found = re.search(r"<pre data-token><code>(.*?)</code></pre>", page)
    assert found, page
    return html.unescape(found[1])


def secret_of(page: str) -> str:
    return command(page).split("WAGGLE_RUNNER_TOKEN=")[1].split()[0]


def test_a_token_is_shown_once_with_the_one_command_and_is_good_for_this_team(acme: Team, owner: Client) -> None:
    assert "No runner of your own" in owner.get("/runners/").content.decode()
    page = owner.post("/runners/add/", {"name": "Build server", "trusted": "on"})
    said = command(page.content.decode())
    assert said.endswith(" make runner")
    assert "WAGGLE_RUNNER_NAME=build-server " in said
    assert page["Cache-Control"] == "no-store"
    made = Runner.objects.get(name="Build server")
    assert (made.team, made.trusted) == (acme, True)
    assert connected.authenticate(secret_of(page.content.decode())) == made.pk
    later = owner.get("/runners/").content.decode()
    assert "Build server" in later
    assert "wg_" not in later


def test_a_new_token_ends_the_one_before_and_an_ended_runner_gets_another(owner: Client) -> None:
    first = secret_of(owner.post("/runners/add/", {"name": "here"}).content.decode())
    made = Runner.objects.get(name="here")
    assert not made.trusted
    second = secret_of(owner.post(f"/runners/{made.pk}/renew/").content.decode())
    assert [connected.authenticate(one) for one in (first, second)] == [None, made.pk]
    owner.post(f"/runners/{made.pk}/end/")
    assert connected.authenticate(second) is None
    assert "ended" in owner.get("/runners/").content.decode()
    third = secret_of(owner.post(f"/runners/{made.pk}/renew/").content.decode())
    assert connected.authenticate(third) == made.pk


def test_names_are_a_teams_own_and_not_those_of_the_platforms_runners(acme: Team, globex: Team, owner: Client) -> None:
    runners.register("local")
    runners.add("theirs", team=globex, trusted=True)
    assert owner.post("/runners/add/", {"name": "theirs"}).status_code == 200
    for name in ("theirs", "local", ""):
        answer = owner.post("/runners/add/", {"name": name})
        assert answer.status_code == 422, name
        assert "wg_" not in answer.content.decode()
    assert Runner.objects.filter(name="theirs").count() == 2


def test_only_who_may_add_runners_sees_the_page_and_only_their_own(
    acme: Team, globex: Team, client_for: Browser
) -> None:
    made, _ = runners.add("theirs", team=globex, trusted=True)
    for name in ("bob", "vera"):
        member = client_for(user_of(name, "acme"), acme)
        assert member.get("/runners/").status_code == 403
        assert member.post("/runners/add/", {"name": "x"}).status_code == 403
    owner = client_for(user_of("alice", "acme"), acme)
    before = made.token_id
    for path in ("renew", "end"):
        assert owner.post(f"/runners/{made.pk}/{path}/").status_code == 404
    made.refresh_from_db()
    assert made.token_id == before
    assert tokens.Token.objects.get(pk=before).revoked_at is None


def test_two_processes_with_one_token_are_told_apart_from_one_that_came_again(acme: Team, owner: Client) -> None:
    def hello() -> Hello:
        return Hello(name="box", boot=uuid4(), version="1", capacity=1, sandbox="none")

    def page() -> str:
        return owner.get("/runners/").content.decode()

    made, _ = runners.add("box", team=acme, trusted=True)
    linking.hear(made.pk, hello(), "one")
    linking.hear(made.pk, Heartbeat(), "one")
    linking.hear(made.pk, hello(), "two")
    for channel in ("two", ""):
        linking.hear(made.pk, Heartbeat(), channel)
    assert "Two processes" not in page()
    linking.hear(made.pk, Heartbeat(), "one")
    linking.hear(made.pk, Heartbeat(), "two")
    assert "Two processes" in page()
    told = StringIO()
    call_command("runners", stdout=told)
    assert "TWO PROCESSES" in told.getvalue()


def test_a_runner_leads_its_agents_by_the_way_on_which_it_came(tmp_path: Path) -> None:
    with serving(tmp_path / "plane") as plane, running(plane, tmp_path / "runner"):
        _moved_away(plane)
        until(lambda: plane.outcomes, "it works all the same", 40)
        assert plane.git("show", "attempts/1:a.txt") == "b"


def _moved_away(plane: FakeControlPlane) -> None:
    """An assignment whose addresses are those of a control plane that knows itself by another name."""
    plane.script = steps([call("write_file", path="a.txt", content="b")], DONE)
    given = plane.assignment()
    assert given.repository
    assert given.model
    away = "http://control-plane.invalid:8000"
    plane.assign(
        given.model_copy(
            update={
                "url": given.url.replace(plane.url, f"{away}/t/acme"),
                "repository": given.repository.model_copy(
                    update={"url": given.repository.url.replace(plane.url, away)}
                ),
                "model": given.model.model_copy(update={"base_url": given.model.base_url.replace(plane.url, away)}),
            }
        )
    )
