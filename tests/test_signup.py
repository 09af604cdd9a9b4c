"""Signing up a team, up to its own host."""

import re
from collections.abc import Callable

import pytest
from django.conf import settings
from django.db import connection
from django.test import Client

from tenants import addresses, provisioning, signup
from tenants.context import in_schema
from tenants.models import Domain, Membership, Team, TeamShare, User
from tenants.roles import Role
from tests.conftest import user_of

ClientFor = Callable[..., Client]
NEW = {
    "name": "Nora",
    "email": "Nora@New.example",
    "password": "a long enough sentence",
    "team_name": "Nörd Lab!",
    "address": "",
}


def test_somebody_signs_up_and_walks_into_the_teams_host(
    client_for: ClientFor, db: None, drain: Callable[[], int], django_capture_on_commit_callbacks: Callable
) -> None:
    client = client_for()
    with django_capture_on_commit_callbacks(execute=True):
        answer = client.post("/signup/", NEW)
    team = Team.objects.get(name="Nörd Lab!")
    assert answer.status_code == 302
    assert answer["Location"] == f"/teams/{team.pk}/preparing/"
    assert (team.state, team.slug) == ("provisioning", "nord-lab")

    waiting = client.get(answer["Location"])
    assert "Waiting for a worker" in waiting.text
    assert 'hx-trigger="every 500ms"' in waiting.text
    assert client.get("/", headers={"host": "nord-lab.waggle.localhost:8000"}).status_code == 503

    assert drain() >= 1
    home = "http://nord-lab.waggle.localhost:8000/"
    assert client.get(f"/teams/{team.pk}/preparing/")["Location"] == home
    polled = client.get(f"/teams/{team.pk}/preparing/", headers={"hx-request": "true"})
    assert polled["HX-Redirect"] == home
    page = client.get("/team/", headers={"host": "nord-lab.waggle.localhost:8000"})
    assert page.status_code == 200
    assert "nora@new.example" in page.text
    member = Membership.objects.get(team=team)
    assert (member.user.email, member.role) == ("nora@new.example", Role.OWNER)
    assert TeamShare.objects.filter(team=team).exists()


def test_the_new_schema_holds_every_table_of_teams_and_public_none_of_them(acme: Team) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT schemaname, tablename FROM pg_tables WHERE schemaname = ANY(%s)", [["public", acme.schema_name]]
        )
        rows = cursor.fetchall()
    of_team = {table for schema, table in rows if schema == acme.schema_name}
    public = {table for schema, table in rows if schema == "public"}
    assert {"agent_sessions_event", "agents_execution", "swarms_node", "django_admin_log"} <= of_team
    assert of_team & public == {"django_migrations"}


def test_wrong_fields_are_told_beside_them_and_nothing_typed_is_lost(client_for: ClientFor, db: None) -> None:
    typed = NEW | {"email": "alice@acme.example", "password": "short", "address": "www"}
    page = client_for().post("/signup/", typed)
    assert page.status_code == 422
    form = page.context["form"]
    assert set(form.errors) == {"email", "password", "address"}
    assert "has an account already" in form.errors["email"][0]
    assert "reserved" in form.errors["address"][0]
    for value in ("Nora", "alice@acme.example", "short", "www", "Nörd Lab!"):
        assert f'value="{value}"' in page.text
    assert not Team.objects.filter(name=NEW["team_name"]).exists()


def test_a_taken_address_names_a_free_one(client_for: ClientFor, db: None) -> None:
    page = client_for().post("/signup/", NEW | {"address": "acme"})
    assert page.context["form"].errors["address"] == ["The address acme is taken. acme-2 is free."]
    assert not User.objects.filter(email="nora@new.example").exists()


def test_of_two_sign_ups_for_one_address_at_once_the_second_is_told(db: None, acme: Team) -> None:
    with pytest.raises(signup.AddressTaken):
        signup.new_team(name="Other", slug="acme", owner=user_of("charlie"))
    assert Domain.objects.filter(slug="acme").count() == 1


def test_who_is_signed_in_starts_another_team_with_the_same_account(
    client_for: ClientFor, acme: Team, django_capture_on_commit_callbacks: Callable
) -> None:
    alice = user_of("alice", "acme")
    client = client_for(alice)
    assert "Password" not in client.get("/signup/").text
    with django_capture_on_commit_callbacks():
        client.post("/signup/", {"team_name": "Second", "address": ""})
    assert set(Membership.objects.filter(user=alice).values_list("team__name", flat=True)) == {"Acme", "Second"}
    listed = client.get("/").text
    assert "http://acme.waggle.localhost:8000/" in listed
    assert "Second" in listed


def test_building_goes_on_where_it_stopped_and_twice_changes_nothing(db: None) -> None:
    team = signup.new_team(name="Half", slug="half-made", owner=user_of("charlie"))
    team.create_schema(check_if_exists=True, sync_schema=False)
    assert provisioning.build(team)
    assert not provisioning.build(team)
    team.refresh_from_db()
    assert team.state == "ready"
    with in_schema(team.schema_name), connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM agent_sessions_event")
        assert cursor.fetchone() == (0,)


def test_a_failed_building_says_why_and_can_be_tried_again(
    client_for: ClientFor, db: None, drain: Callable[[], int], django_capture_on_commit_callbacks: Callable
) -> None:
    team = signup.new_team(name="Unlucky", slug="unlucky", owner=user_of("charlie"))
    with connection.cursor() as cursor:
        cursor.execute(f'CREATE SCHEMA "{team.schema_name}"')
        cursor.execute(f'CREATE TABLE "{team.schema_name}".agent_sessions_event (other int)')
    with pytest.raises(Exception, match="agent_sessions_event"):
        provisioning.build(team)
    client = client_for(user_of("charlie"))
    page = client.get(f"/teams/{team.pk}/preparing/")
    assert "could not be prepared" in page.text
    with connection.cursor() as cursor:
        cursor.execute(f'DROP TABLE "{team.schema_name}".agent_sessions_event')
    with django_capture_on_commit_callbacks(execute=True):
        client.post(f"/teams/{team.pk}/again/")
    drain()
    team.refresh_from_db()
    assert team.state == "ready"


def test_only_members_see_the_progress_of_a_team(client_for: ClientFor, acme: Team) -> None:
    path = f"/teams/{acme.pk}/preparing/"
    assert client_for(user_of("charlie")).get(path).status_code == 404
    assert client_for().get(path)["Location"].startswith("/login/")


def test_a_team_is_removed_only_when_its_address_is_said(db: None) -> None:
    team = signup.make_team(name="Gone", slug="soon-gone", owner=user_of("charlie"))
    with pytest.raises(ValueError, match="soon-gone"):
        provisioning.drop(team, "Gone")
    provisioning.drop(team, "soon-gone")
    assert not Team.objects.filter(name="Gone").exists()
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_namespace WHERE nspname = %s", [team.schema_name])
        assert cursor.fetchone() == (0,)


def test_the_database_refuses_a_move_that_no_table_allows(acme: Team) -> None:
    from django.db import IntegrityError, transaction

    with pytest.raises(IntegrityError, match="no move from ready to provisioning"), transaction.atomic():
        Team.objects.filter(pk=acme.pk).update(state="provisioning")


@pytest.mark.parametrize(
    ("name", "slug"),
    [
        ("Crème & Co", "creme-co"),
        ("42 Ideas", "ideas"),
        ("www", "www-2"),
        ("東京", "team"),
        ("A", "team-a"),
        ("x" * 60, "x" * 40),
    ],
)
def test_addresses_follow_from_names(name: str, slug: str) -> None:
    suggested = addresses.suggest(name, lambda tried: False)
    assert suggested == (slug if slug != "team" else "team-2")
    assert addresses.problem(suggested) == ""


@pytest.mark.parametrize("slug", ["a", "-a", "a-", "a--b", "1a", "a_b", "A", "ä", "x" * 41, "admin", "t"])
def test_bad_addresses_are_refused_in_words(slug: str) -> None:
    assert re.search(r"\w+ \w+", addresses.problem(slug))


def test_the_make_team_command_can_run_twice(db: None) -> None:
    from io import StringIO

    from django.core.management import call_command

    for _ in range(2):
        out = StringIO()
        call_command("make_team", name="Cmd", slug="cmd", owner="Boss@cmd.example", stdout=out)
        assert out.getvalue().strip() == f"http://cmd.{settings.WAGGLE_HOST}:8000/"
    assert Membership.objects.filter(team__name="Cmd").count() == 1
