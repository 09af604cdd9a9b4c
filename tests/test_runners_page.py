"""Runners of a team's own: made on a page, started with one command on another machine."""

import html
import json
import re
from collections.abc import Callable
from datetime import timedelta
from io import StringIO
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.core.management import CommandError, call_command
from django.test import Client

from agents import linking
from agents import runners as connected
from agents.contracts.link import OUTDATED, PROTOCOL, TAKEN, Accepted, Ended, Heartbeat, Hello, Leaving
from agents.greeting import Occupant, Refused, refusal
from tenants import runners, tokens
from tenants.models import Runner, Team
from tests.conftest import user_of
from tests.fake_control_plane import FakeControlPlane, call, serving, steps, until
from tests.test_runner import DONE, running

Browser = Callable[..., Client]
FIRST = uuid4()


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


def hello(**words: Any) -> Hello:
    known = {"name": "box", "boot": uuid4(), "version": "1", "protocol": PROTOCOL, "capacity": 1, "sandbox": "none"}
    return Hello.model_validate(known | words)


def test_of_two_processes_with_one_token_the_first_works_and_the_other_waits_until_it_is_gone(
    acme: Team, owner: Client
) -> None:
    def told() -> str:
        text = StringIO()
        call_command("runners", stdout=text)
        return owner.get("/runners/").content.decode() + text.getvalue()

    made, _ = runners.add("box", team=acme, trusted=True)
    first, other = hello(), hello()
    linking.hear(made.pk, first, "one")
    linking.hear(made.pk, Heartbeat(), "one", first.boot)
    assert "Another process" not in told()
    with pytest.raises(Refused, match="Another process works with this runner's token"):
        linking.hear(made.pk, other, "two")
    assert told().count("Another process works with this runner") == 2
    # The first one is not disturbed, whatever the other says.
    for message in (Heartbeat(), Leaving(), Ended(execution=uuid4()), Accepted(execution=uuid4(), fence=uuid4())):
        with pytest.raises(Refused):
            linking.hear(made.pk, message, "two", other.boot)
    linking.hear(made.pk, first, "three")
    made.refresh_from_db()
    assert (made.boot, made.channel, made.capacity, made.trouble) == (first.boot, "three", 1, "")
    # Its connection is gone: the other one is let in, and then the first is not.
    connected.disconnect(made.pk, "three")
    linking.hear(made.pk, other, "two")
    for message in (first, Heartbeat()):
        with pytest.raises(Refused):
            linking.hear(made.pk, message, "three", first.boot)


def test_runners_are_ended_in_the_administration_and_by_command(acme: Team, globex: Team, owner: Client) -> None:
    box, _ = runners.add("box", team=acme, trusted=True)
    theirs, _ = runners.add("theirs", team=globex, trusted=True)
    shown = owner.get("/admin/tenants/runner/").content.decode()
    assert ("box" in shown, "theirs" in shown) == (True, False)
    chosen = {"action": "end_it", "_selected_action": [str(box.pk), str(theirs.pk)]}
    owner.post("/admin/tenants/runner/", chosen)
    told = StringIO()
    call_command("runners", "end", "theirs", team="globex", stdout=told)
    assert "theirs is ended" in told.getvalue()
    call_command("runners", json=True, stdout=(told := StringIO()))
    assert {row["name"]: row["is_ended"] for row in json.loads(told.getvalue())} == {"box": True, "theirs": True}
    with pytest.raises(CommandError, match="There is no runner box of the platform"):
        call_command("runners", "end", "box")


@pytest.mark.parametrize(
    ("words", "silent", "listens", "code"),
    [
        ({}, 0, True, TAKEN),
        ({}, 14, True, TAKEN),
        ({}, 16, True, 0),
        ({}, 0, False, 0),
        ({"boot": FIRST}, 0, True, 0),
        ({"after": FIRST}, 0, True, 0),
        ({"after": uuid4()}, 0, True, TAKEN),
        ({"protocol": PROTOCOL - 1}, 99, False, OUTDATED),
        ({"protocol": PROTOCOL + 1}, 99, False, OUTDATED),
    ],
)
def test_who_is_let_in(words: dict[str, Any], silent: float, listens: bool, code: int) -> None:
    there = Occupant(FIRST, listens, timedelta(seconds=silent))
    refused = refusal(hello(**words), there, timedelta(seconds=10))
    assert (refused.code if refused else 0) == code
    assert len(str(refused)) <= 120, "a websocket's reason has room for so much"


def test_a_runner_of_another_version_is_told_what_must_be_updated(acme: Team, owner: Client) -> None:
    made, _ = runners.add("box", team=acme, trusted=True)
    old = hello().model_dump(mode="json")
    del old["protocol"], old["after"]
    with pytest.raises(Refused, match=r"too old \(protocol 0; wanted: 1\). Update it"):
        linking.hear(made.pk, Hello.model_validate(old), "one")
    assert "This runner is too old" in owner.get("/runners/").content.decode()
    linking.hear(made.pk, hello(), "one")
    assert "This runner is too old" not in owner.get("/runners/").content.decode()


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
