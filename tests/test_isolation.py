"""Two teams: nothing of one is to be seen or touched from the other, at any address."""

import re
from collections.abc import Callable, Iterator
from typing import Any
from uuid import UUID

import pytest
from django.contrib.auth.models import AnonymousUser
from django.db import transaction
from django.db.models import Model
from django.http import HttpResponse
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver
from django.urls.resolvers import RoutePattern

from agents.models import Agent
from swarms.models import ToolRule
from tenants import invitations, programs, runners, tokens
from tenants.context import in_schema
from tenants.models import Membership, Team
from tenants.roles import Role
from tenants.sites import team_admin
from tests.board_stage import Stage
from tests.conftest import user_of

ClientFor = Callable[..., Client]
NOBODY = UUID("00000000-0000-7000-8000-000000000000")
SECRET = "zebrafish"  # stands in everything that globex has
CHOICES = {"region": "nodes"}  # parameters of addresses that name no object


def routes(urlconf: str) -> Iterator[str]:
    """Every address of a URL configuration, as it is written there."""
    yield from _routes(get_resolver(urlconf).url_patterns, "")


def _routes(patterns: list[Any], before: str) -> Iterator[str]:
    for entry in patterns:
        # Regular expressions are the admin's list of apps and its catch-all: they name no object.
        if not isinstance(entry.pattern, RoutePattern):
            continue
        route = before + str(entry.pattern)
        if isinstance(entry, URLResolver):
            yield from _routes(entry.url_patterns, route)
        elif isinstance(entry, URLPattern):
            yield route


ROUTES = sorted(set(routes("config.urls_team")))
WITH_OBJECTS = [route for route in ROUTES if "<" in route]
WITHOUT_OBJECTS = [route for route in ROUTES if "<" not in route]


class Objects:
    """Objects of globex, by the first word of an address and the name of its parameter; and what nobody has."""

    def __init__(self, globex: Team) -> None:
        with in_schema(globex.schema_name):
            self.stage = Stage(user_of("alice", "globex"), slug=SECRET)
            archive = self.stage.archive.pk
            Agent.objects.create(name=SECRET, roles=["writer"])
            by = user_of("alice", "globex")
            rule = ToolRule.objects.create(position=1, tool="shell", verdict="ask", why=SECRET, made_by=by)
        boss = Membership.objects.get(team=globex, role=Role.OWNER)
        invitation, _ = invitations.invite(role="viewer", by=boss, email=f"{SECRET}@else.example")
        member = Membership.objects.get(team=globex, role=Role.DEVELOPER)
        self.theirs: dict[str, Any] = {
            "projects slug": SECRET,
            "projects number": self.stage.swarm.number,
            "projects key": "parser",
            "projects name": CHOICES["region"],
            "approvals pk": self.stage.approval.pk,
            "webhooks webhook": self.stage.webhook.pk,
            "rules pk": rule.pk,
            "providers pk": self.stage.provider.pk,
            "servers pk": self.stage.server.pk,
            "agents name": SECRET,
            "sessions pk": self.stage.live.session_id,
            "sessions question": NOBODY,
            "archives pk": archive,
            "artifacts pk": self.stage.artifact.pk,
            "archives key": "parser",
            "runners pk": runners.add(SECRET, team=globex, trusted=True)[0].pk,
            "team invitation": invitation.pk,
            "team member": member.pk,
            "programs token": programs.issue(boss, name=SECRET, days=1)[0].pk,
        }
        self.nobodys: dict[str, Any] = {
            key: NOBODY if isinstance(value, UUID) else value for key, value in self.theirs.items()
        } | {"projects slug": "no-such-thing", "agents name": "no-such-thing"}

        self.theirs |= {
            f"{model._meta.label_lower} object_id": self._one(globex, model) for model in team_admin._registry
        }
        self.nobodys |= {f"{model._meta.label_lower} object_id": NOBODY for model in team_admin._registry}

    def _one(self, globex: Team, model: type[Model]) -> Any:
        with in_schema(globex.schema_name):
            found = model._default_manager.first()
        assert found is not None, f"Stage in tests/board_stage.py makes no {model._meta.label}"
        return found.pk

    def path(self, route: str, values: dict[str, Any]) -> str:
        """An address with its parameters filled in. Raises KeyError for a parameter that has no object here."""
        words = route.split("/")
        first = ".".join(words[1:3]) if words[0] == "admin" else words[words[0] == "settings"]
        return "/" + re.sub(r"<(?:\w+:)?(\w+)>", lambda found: str(values[f"{first} {found[1]}"]), route)


@pytest.fixture
def objects(globex: Team) -> Objects:
    return Objects(globex)


def told(answer: HttpResponse, values: dict[str, Any]) -> tuple[int, str, str]:
    """Status, target and body of an answer, without the ids that were asked for and secrets of the form."""
    body = answer.content.decode(errors="replace")
    where = answer.headers.get("Location", "")
    for value in values.values():
        if isinstance(value, UUID) or value in (SECRET, "no-such-thing"):
            body, where = body.replace(str(value), "X"), where.replace(str(value), "X")
    return answer.status_code, where, re.sub(r'(csrfmiddlewaretoken" value=|CSRFToken": )"\w+"', "", body)


def test_every_address_of_a_team_has_something_to_be_tried_with(objects: Objects, subtests: pytest.Subtests) -> None:
    for route in WITH_OBJECTS:
        with subtests.test(route):
            try:
                objects.path(route, objects.theirs)
            except KeyError as error:
                pytest.fail(f"/{route} is new: give Objects in tests/test_isolation.py something of globex for {error}")


@pytest.mark.parametrize("method", ["get", "post"])
def test_an_object_of_another_team_is_like_one_that_does_not_exist(
    client_for: ClientFor, acme: Team, objects: Objects, subtests: pytest.Subtests, method: str
) -> None:
    alice = client_for(user_of("alice", "acme"), acme)
    for route in WITH_OBJECTS:
        with subtests.test(route):
            asked = told(getattr(alice, method)(objects.path(route, objects.theirs)), objects.theirs)
            missing = told(getattr(alice, method)(objects.path(route, objects.nobodys)), objects.nobodys)
            assert asked == missing
            # The admin leads to its list, or names the role that is missing, for a missing object as well.
            assert asked[0] in ({302, 403, 404} if route.startswith("admin/") else {404, 405})


def test_each_address_does_lead_to_the_object_for_its_own_team(
    client_for: ClientFor, globex: Team, objects: Objects, subtests: pytest.Subtests
) -> None:
    """Else the test above would pass for any address that answers 404 to everybody."""
    boss = client_for(user_of("alice", "globex"), globex)
    for route in WITH_OBJECTS:
        if route.startswith("admin/"):
            continue
        with subtests.test(route):
            path = objects.path(route, objects.theirs)
            with transaction.atomic():
                answers = {boss.get(path).status_code, boss.post(path).status_code}
                transaction.set_rollback(True)
            assert answers - {404, 405}, answers


def test_no_page_shows_anything_of_another_team(
    client_for: ClientFor, acme: Team, objects: Objects, subtests: pytest.Subtests
) -> None:
    alice = user_of("alice", "acme")
    for route in WITHOUT_OBJECTS:
        with subtests.test(route):
            answer = client_for(alice, acme).get(f"/{route}")
            assert answer.status_code in {200, 302, 405} or route.startswith("admin/")
            assert SECRET not in answer.content.decode()
            assert "globex" not in answer.content.decode().lower()


def test_the_team_itself_does_see_its_things(client_for: ClientFor, globex: Team, objects: Objects) -> None:
    boss = client_for(user_of("alice", "globex"), globex)
    for path in ("/projects/", "/swarms/", "/approvals/", "/archives/", "/servers/", "/team/"):
        assert SECRET in boss.get(path).text, path


def all_but_ids(answer: Any) -> tuple[int, bytes, dict[str, str]]:
    return answer.status_code, answer.content, dict(answer.items())


@pytest.mark.parametrize("path", ["/", "/projects/", "/admin/", "/team/", "/no-such-page/", "/events-of-old/"])
def test_a_stranger_finds_nothing_at_a_team_and_the_same_nothing_where_no_team_is(
    client_for: ClientFor, acme: Team, path: str
) -> None:
    missing = all_but_ids(client_for(user_of("alice", "acme"), acme).get("/no-such-page/"))
    stranger = user_of("charlie")
    assert missing[0] == 404
    assert all_but_ids(client_for(stranger, acme).get(path)) == missing
    assert all_but_ids(client_for(stranger, host="nobody-has-this.waggle.localhost").get(path)) == missing
    assert all_but_ids(client_for(user_of("alice", "globex"), acme).get(path)) == missing


def test_a_visitor_is_asked_to_sign_in_whether_there_is_such_a_team_or_not(client_for: ClientFor, acme: Team) -> None:
    for host in ("acme.waggle.localhost", "nobody-has-this.waggle.localhost"):
        answer = client_for(host=host).get("/projects/")
        assert answer.status_code == 302
        assert answer["Location"] == (
            f"http://waggle.localhost:8000/login/?next=http%3A%2F%2F{host}%3A8000%2Fprojects%2F"
        )


def test_a_deactivated_member_is_out_at_once(client_for: ClientFor, acme: Team) -> None:
    vera = user_of("vera", "acme")
    client = client_for(vera, acme)
    assert client.get("/team/").status_code == 200
    type(vera).objects.filter(pk=vera.pk).update(is_active=False)
    assert client.get("/team/")["Location"].startswith("http://waggle.localhost:8000/login/")


def test_a_removed_member_is_out_at_once(client_for: ClientFor, acme: Team) -> None:
    vera = user_of("vera", "acme")
    client = client_for(vera, acme)
    Membership.objects.filter(user=vera).delete()
    assert client.get("/team/").status_code == 404


def test_a_token_of_one_team_opens_nothing_in_another(
    client: Client, acme: Team, globex: Team, objects: Objects
) -> None:
    live = objects.stage.live
    _, secret = tokens.issue("attempt", team=globex, subject=f"execution:{live.pk}")

    def ask(team: str, path: str) -> int:
        return client.post(
            f"/t/{team}/{path}",
            data="{}",
            content_type="application/json",
            headers={"authorization": f"Bearer {secret}"},
        ).status_code

    path = f"runner/{live.pk}/records"
    assert ask("globex", path) == 422  # found; only the body is wrong
    assert ask("acme", path) == 404
    assert ask("nobody-has-this", path) == 404
    assert ask("acme", f"git/{objects.stage.project.pk}.git/git-upload-pack") == 404


def test_a_browsers_cookie_means_nothing_in_the_path_form(
    client_for: ClientFor, globex: Team, objects: Objects
) -> None:
    boss = client_for(user_of("alice", "globex"), globex)
    answer = boss.post(f"/t/globex/runner/{objects.stage.live.pk}/records", data="{}", content_type="application/json")
    assert answer.status_code == 404


def test_the_admin_of_a_team_asks_the_roles_and_nobody_else(client_for: ClientFor, acme: Team) -> None:
    staff = user_of("charlie")
    type(staff).objects.filter(pk=staff.pk).update(is_staff=True, is_superuser=True)
    assert client_for(staff, acme).get("/admin/").status_code == 404
    assert client_for(user_of("vera", "acme"), acme).get("/admin/").status_code == 200
    assert not team_admin.has_permission(type("Request", (), {"user": AnonymousUser(), "membership": None})())
