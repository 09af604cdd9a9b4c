"""Joining a team by invitation."""

import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.db import connection
from django.test import Client
from django.utils import timezone

from tenants import invitations
from tenants.members import NotAllowed
from tenants.models import Invitation, Membership, Team, User
from tenants.roles import Role
from tests.conftest import user_of

ClientFor = Callable[..., Client]


def boss_of(team: Team) -> Membership:
    return Membership.objects.get(team=team, role=Role.OWNER)


def link_from(client: Client, **form: str) -> str:
    """Invite on the team's page, and give the path of the link that it shows."""
    page = client.post("/team/invite/", {"role": "developer", "email": ""} | form)
    assert page.status_code == 200
    found = re.search(r"<code data-invitation>http://waggle\.localhost:8000(/join/[^<]+)</code>", page.text)
    assert found
    return found[1]


def test_an_owner_invites_and_somebody_new_joins(client_for: ClientFor, acme: Team) -> None:
    path = link_from(client_for(user_of("alice", "acme"), acme), role="approver", email="Nora@new.example")
    visitor = client_for()
    page = visitor.get(path)
    assert "Join Acme" in page.text
    assert "decide approvals" in page.text
    assert 'value="nora@new.example"' in page.text
    joined = visitor.post(path, {"name": "Nora", "email": "nora@new.example", "password": "a long enough sentence"})
    assert joined["Location"] == "http://acme.waggle.localhost:8000/"
    assert Membership.objects.get(user__email="nora@new.example", team=acme).role == Role.APPROVER
    assert visitor.get("/team/", headers={"host": "acme.waggle.localhost:8000"}).status_code == 200


def test_somebody_with_an_account_joins_after_signing_in(client_for: ClientFor, acme: Team) -> None:
    path = link_from(client_for(user_of("alice", "acme"), acme))
    assert f"/login/?next={path}" in client_for().get(path).text
    charlie = client_for(user_of("charlie"))
    assert "Join as Charlie" in charlie.get(path).text
    assert charlie.post(path).status_code == 302
    assert Membership.objects.get(user=user_of("charlie"), team=acme).role == Role.DEVELOPER


def test_a_link_works_once(client_for: ClientFor, acme: Team) -> None:
    path = link_from(client_for(user_of("alice", "acme"), acme))
    assert client_for(user_of("charlie")).post(path).status_code == 302
    late = client_for(user_of("alice", "globex"))
    assert late.get(path).status_code == 410
    assert late.post(path).status_code == 410
    assert not Membership.objects.filter(user=user_of("alice", "globex"), team=acme).exists()


def test_of_two_who_accept_at_the_same_moment_one_joins(committed_team: Team) -> None:
    boss = boss_of(committed_team)
    invitation, _ = invitations.invite(role="viewer", by=boss)
    users = [User.objects.create_user(f"racer{number}@race.example", None) for number in range(6)]

    def run(user: User) -> bool:
        try:
            invitations.accept(invitation, user)
        except NotAllowed:
            return False
        finally:
            connection.close()
        return True

    with ThreadPoolExecutor(6) as threads:
        won = list(threads.map(run, users))
    assert won.count(True) == 1
    assert Membership.objects.filter(team=committed_team, user__in=users).count() == 1


def test_a_revoked_or_old_invitation_is_gone(client_for: ClientFor, acme: Team) -> None:
    alice = client_for(user_of("alice", "acme"), acme)
    path = link_from(alice)
    invitation = Invitation.objects.get()
    assert alice.post(f"/team/invitations/{invitation.pk}/revoke/").status_code == 302
    assert client_for().get(path).status_code == 410
    second = link_from(alice)
    Invitation.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    assert client_for().get(second).status_code == 410
    assert "None." in alice.get("/team/").text


def test_an_invitation_for_one_person_does_not_work_for_another(client_for: ClientFor, acme: Team) -> None:
    path = link_from(client_for(user_of("alice", "acme"), acme), email="dora@dora.example")
    answer = client_for(user_of("charlie")).post(path)
    assert answer.status_code == 422
    assert "is for dora@dora.example, but you are signed in as charlie@nowhere.example" in answer.text
    foreign = {"name": "X", "email": "x@x.example", "password": "a long enough sentence"}
    answer = client_for().post(path, foreign)
    assert answer.status_code == 422
    assert not User.objects.filter(email="x@x.example").exists()


def test_a_member_who_opens_a_link_stays_as_they_are_and_spends_nothing(client_for: ClientFor, acme: Team) -> None:
    path = link_from(client_for(user_of("alice", "acme"), acme), role="viewer")
    assert client_for(user_of("bob", "acme")).post(path).status_code == 302
    assert Membership.objects.get(user=user_of("bob", "acme"), team=acme).role == Role.DEVELOPER
    assert client_for().get(path).status_code == 200


def test_the_secret_of_a_link_is_not_kept(acme: Team) -> None:
    invitation, link = invitations.invite(role="viewer", by=boss_of(acme))
    secret = link.rstrip("/").rsplit("/", 1)[1]
    assert secret not in str([getattr(invitation, field.attname) for field in invitation._meta.concrete_fields])


def test_a_missing_choice_is_told_on_the_page(client_for: ClientFor, acme: Team) -> None:
    answer = client_for(user_of("alice", "acme"), acme).post("/team/invite/", {"role": "emperor", "email": "no mail"})
    assert answer.status_code == 422
    assert set(answer.context["form"].errors) == {"role", "email"}


@pytest.mark.parametrize("role", ["owner"])
def test_an_admin_cannot_invite_an_owner(client_for: ClientFor, acme: Team, role: str) -> None:
    Membership.objects.filter(user=user_of("bob", "acme")).update(role=Role.ADMIN)
    bob = client_for(user_of("bob", "acme"), acme)
    assert bob.post("/team/invite/", {"role": role, "email": ""}).status_code == 422
    with pytest.raises(NotAllowed):
        invitations.invite(role=role, by=Membership.objects.get(user=user_of("bob", "acme")))
