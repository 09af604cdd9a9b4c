"""Three teams: who asks for another team's swarm, as a replay, file, fork or archive, hears what is said of none."""

import asyncio
from collections.abc import Callable
from io import BytesIO
from itertools import product
from typing import Any
from zipfile import ZipFile

import pytest
from django.test import Client

from swarms.models import Archive, Swarm
from swarms.replay.archives import bring_in
from swarms.replay.export import export
from tenants import members, programs
from tenants.context import in_schema
from tenants.models import Membership, Team, User
from tenants.roles import Permission, Role, may
from tests.conftest import user_of
from tests.test_isolation import NOBODY, all_but_ids, told
from tests.test_live_isolation import CANARY, SLUGS, Side, _in, sides, teams  # noqa: F401

ClientFor = Callable[..., Client]
PEOPLE = {"alice": Role.OWNER, "bob": Role.DEVELOPER, "vera": Role.VIEWER}
LOOKS = {
    "page": ("GET", "/projects/{slug}/swarms/{number}/replay/?at=9999", Permission.VIEW),
    "now": ("GET", "/projects/{slug}/swarms/{number}/replay/now/?at=9999", Permission.VIEW),
    "times": ("GET", "/projects/{slug}/swarms/{number}/replay/times/", Permission.VIEW),
    "jump": ("GET", "/projects/{slug}/swarms/{number}/replay/jump/?to=decision", Permission.VIEW),
    "plan": ("GET", "/projects/{slug}/swarms/{number}/replay/plan.yaml?at=9999", Permission.VIEW),
    "fork": ("GET", "/projects/{slug}/swarms/{number}/replay/fork/?at=9999", Permission.STATE_GOAL),
    "export": ("POST", "/projects/{slug}/swarms/{number}/export/", Permission.EXPORT),
    "archive": ("GET", "/archives/{archive}/?at=9999", Permission.VIEW),
    "archive now": ("GET", "/archives/{archive}/now/?at=9999", Permission.VIEW),
    "archive times": ("GET", "/archives/{archive}/times/", Permission.VIEW),
    "archive plan": ("GET", "/archives/{archive}/plan.yaml?at=9999", Permission.VIEW),
    "archive node": ("GET", "/archives/{archive}/nodes/printer/", Permission.VIEW),
    "artifact": ("GET", "/artifacts/{artifact}/", Permission.VIEW),
}
"""What is asked for on a team's host, and what one must be allowed to do. Only the owner of all is let do it."""
ASKED = {
    "scene": ("GET", "/api/v1/swarms/{swarm}/replay", Permission.VIEW),
    "rest": ("GET", "/api/v1/swarms/{swarm}/fork/{last}", Permission.VIEW),
    "fork": ("POST", "/api/v1/swarms/{swarm}/fork", Permission.STATE_GOAL),
    "artifacts": ("GET", "/api/v1/swarms/{swarm}/artifacts", Permission.VIEW),
    "artifact": ("GET", "/api/v1/artifacts/{artifact}", Permission.VIEW),
}
"""The same of programs."""
WITHOUT_WORD = ("jump", "plan", "fork", "archive plan", "artifact")
"""Answers that need not have the team's word: they are addresses, plans and the bytes of a file."""


class Told(Side):
    """A team whose swarm has been told, exported and imported again."""

    def __init__(self, slug: str, team: Team) -> None:
        super().__init__(slug, team)
        _in(self, self._tell)

    def _tell(self) -> None:
        self.speak()
        with BytesIO() as file:
            export(self.stage.swarm, file)
            self.file = file.getvalue()
            self.archive = bring_in(file, by=self.boss)

    @property
    def names(self) -> dict[str, Any]:
        """What addresses of its things have in them."""
        return {
            "slug": self.word,
            "number": self.stage.swarm.number,
            "swarm": self.stage.swarm.pk,
            "last": 12,
            "archive": self.archive.pk,
            "artifact": self.stage.artifact.pk,
        }


NOTHING = {"slug": "no-such-thing", "number": 1, "swarm": NOBODY, "last": 12, "archive": NOBODY, "artifact": NOBODY}


@pytest.fixture
def told_sides(teams: dict[str, Team]) -> list[Told]:  # noqa: F811
    for slug, team in teams.items():
        for name, role in PEOPLE.items():
            email = f"{name}@{slug}.example"
            if not User.objects.filter(email=email).exists():
                members.add_member(team, User.objects.create_user(email, "correct horse battery"), role)
    return [Told(slug, team) for slug, team in teams.items()]


def _others(sides: list[Told], owner: Told | None) -> list[bytes]:  # noqa: F811
    return [side.word.encode() for side in sides if side is not owner]


def _said(answer: Any) -> bytes:
    """All of an answer; of a file with files in it, all of these."""
    if answer.streaming and answer.is_async:
        return asyncio.run(_streamed(answer))
    body = b"".join(answer.streaming_content) if answer.streaming else answer.content
    if answer.headers["Content-Type"] != "application/zip":
        return bytes(body)
    with ZipFile(BytesIO(body)) as file:
        return b"\n".join(file.read(name) for name in file.namelist())


async def _streamed(answer: Any) -> bytes:
    return b"".join([piece async for piece in answer.streaming_content])


def _without_names(answer: Any, names: dict[str, Any]) -> tuple[int, str, str]:
    return told(answer, {key: value for key, value in names.items() if key != "number"} | {"slug": names["slug"]})


def test_every_pair_of_who_asks_and_what_for(told_sides: list[Told], client_for: ClientFor) -> None:
    """Each member of each team and a stranger, at each team's host, for everything of the replay of each team."""
    askers = [(user_of(name, slug), slug, role) for slug, (name, role) in product(SLUGS, PEOPLE.items())]
    for user, home, role in [*askers, (user_of("charlie"), "", None)]:
        nowhere = all_but_ids(client_for(user, host="nobody-has-this.waggle.localhost").get("/projects/"))
        for host in told_sides:
            client = client_for(user, host.team)
            for what, (method, path, permission) in LOOKS.items():
                missing = client.generic(method, path.format(**NOTHING))
                for owner in told_sides:
                    case = (str(user), host.slug, owner.slug, what)
                    answer = client.generic(method, path.format(**owner.names))
                    if home == owner.slug == host.slug:
                        is_allowed = may(role, permission)
                        assert answer.status_code in ((200, 302) if is_allowed else (403,)), case
                        said = _said(answer)
                        assert not is_allowed or what in WITHOUT_WORD or _has(owner, what, said), case
                        assert not [word for word in _others(told_sides, owner) if word in said], case
                    elif home == host.slug:
                        assert _without_names(answer, owner.names) == _without_names(missing, NOTHING), case
                        assert answer.status_code == (404 if may(role, permission) else 403), case
                    else:
                        assert all_but_ids(answer) == nowhere, case
                        assert answer.status_code == 404, case


def _has(owner: Told, what: str, said: bytes) -> bool:
    """Whether an answer tells of the team's own things."""
    return (b'"moments"' if "times" in what else owner.word.encode()) in said


def test_every_pair_of_whose_program_asks_and_what_for(told_sides: list[Told]) -> None:
    """Each member's program and one without a token, below each team's path, for everything of each team."""
    secrets: list[tuple[str, str, Role | None]] = [("", "", None), ("wg_nothing", "", None)]
    for slug, (name, role) in product(SLUGS, PEOPLE.items()):
        member = Membership.objects.select_related("team", "user").get(
            user=user_of(name, slug), team__domains__slug=slug
        )
        secrets.append((programs.issue(member, name=name, days=1)[1], slug, role))
    client = Client(headers={"host": "127.0.0.1:8000"})
    for secret, home, role in secrets:
        shown = {"authorization": f"Bearer {secret}"}

        def ask(team: str, method: str, path: str, names: dict[str, Any], shown: dict[str, str] = shown) -> Any:
            return client.generic(
                method, f"/t/{team}{path.format(**names)}", "[]", content_type="application/json", headers=shown
            )

        for host, (what, (method, path, permission)) in product(told_sides, ASKED.items()):
            nowhere = all_but_ids(ask("nobody-has-this", method, path, NOTHING))
            missing = ask(host.slug, method, path, NOTHING)
            for owner in told_sides:
                case = (home, role, host.slug, owner.slug, what)
                answer = ask(host.slug, method, path, owner.names)
                said = _said(answer)
                assert not [word for word in _others(told_sides, owner if home == owner.slug else None) if word in said]
                if home == owner.slug == host.slug:
                    fine = 422 if method == "POST" else 200  # found; only the body is wrong
                    assert answer.status_code == (fine if may(role, permission) else 403), case
                elif home == host.slug:
                    assert all_but_ids(answer) == all_but_ids(missing), case
                else:
                    assert all_but_ids(answer) == nowhere, case
                    assert answer.status_code == 404, case


def test_programs_do_not_find_out_which_teams_there_are(acme: Team, client: Client) -> None:
    """Not by an address, a method or a header: what is answered where no team is, is answered at a team's path."""
    outcome = f"runner/{NOBODY}/outcome"
    paths = ("api/v1/swarms", "api/v1/nothing", f"git/{NOBODY}.git/info/refs", outcome, "events-of-old")
    for path, method in product((*paths, f"runner/{NOBODY}/artifacts"), ("GET", "POST", "DELETE")):
        answers = [
            all_but_ids(client.generic(method, f"/t/{team}/{path}", headers={"host": "127.0.0.1:8000"}))
            for team in ("acme", "nobody-has-this")
        ]
        assert answers[0] == answers[1], (method, path)
        assert answers[0][0] == 404, (method, path)


def test_a_file_is_brought_in_by_who_may_and_for_the_own_team_alone(
    told_sides: list[Told], client_for: ClientFor
) -> None:
    file = told_sides[0].file
    before = {side.slug: _archives(side) for side in told_sides}

    def bring(user: User, host: Told) -> Any:
        return client_for(user, host.team).post("/archives/", {"file": BytesIO(file)}, follow=False)

    for home, host, (name, role) in product(told_sides, told_sides, PEOPLE.items()):
        if home is not host or not may(role, Permission.IMPORT):
            answer = bring(user_of(name, home.slug), host)
            assert answer.status_code == (404 if home is not host else 403), (home.slug, host.slug, name)
    assert bring(user_of("charlie"), told_sides[1]).status_code == 404
    assert {side.slug: _archives(side) for side in told_sides} == before
    # That another team has the same file says nothing to this one, and neither loses it with the other's.
    made = [bring(side.boss, side)["Location"] for side in told_sides]
    assert len(set(made)) == len(made)
    assert [_archives(side) - before[side.slug] for side in told_sides] == [0, 1, 1]
    _, second, third = told_sides
    assert client_for(second.boss, second.team).post(f"{made[1]}delete/").status_code == 302
    kept = client_for(third.boss, third.team).get(f"{made[2]}?at=9999")
    assert CANARY["acme"] in kept.text
    for side in told_sides:
        page = client_for(side.boss, side.team).get("/archives/").text
        assert second.word not in page or side is second
        with in_schema(side.team.schema_name):
            assert Swarm.objects.count() == 2, "what is imported is no swarm of the team"


def _archives(side: Told) -> int:
    with in_schema(side.team.schema_name):
        return Archive.objects.count()
