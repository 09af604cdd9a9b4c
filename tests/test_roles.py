"""Who may do what in a team."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.contrib.admin import ModelAdmin
from django.db import connection
from django.test import Client

from tenants import members
from tenants.access import refusal
from tenants.members import NotAllowed
from tenants.models import Membership, Team, User
from tenants.roles import MAY, Permission, Role, may, roles_table
from tenants.sites import TeamAdminMixin, team_admin
from tests.conftest import user_of

ClientFor = Callable[..., Client]


def member(name: str, team: Team) -> Membership:
    return Membership.objects.select_related("user").get(user=user_of(name, "acme"), team=team)


def test_the_table_is_what_the_design_says() -> None:
    admin = {"view", "state_goal", "edit_project", "export", "import", "approve", "enrol", "invite", "spend", "connect"}
    admin |= {"policy", "keys"}
    allowed = {role: {permission.value for permission in MAY[role]} for role in Role}
    assert allowed == {
        "viewer": {"view"},
        "developer": {"view", "state_goal", "edit_project", "export"},
        "approver": {"view", "approve"},
        "admin": admin,
        "owner": admin | {"administer"},
    }


def test_the_page_of_roles_shows_that_table(client_for: ClientFor, acme: Team) -> None:
    page = client_for(user_of("vera", "acme"), acme).get("/team/roles/")
    assert page.status_code == 200
    for words, cells in roles_table():
        assert words in page.text
        assert len(cells) == len(Role)
    assert page.text.count("<td>yes</td>") == sum(len(granted) for granted in MAY.values())


@pytest.mark.parametrize("role", list(Role))
@pytest.mark.parametrize(
    ("path", "permission"),
    [
        ("/team/invite/", Permission.INVITE),
        ("/team/members/{bob}/role/", Permission.INVITE),
        ("/settings/name/", Permission.ADMINISTER),
        ("/settings/look/", Permission.VIEW),
    ],
)
def test_each_change_asks_the_table(
    client_for: ClientFor, acme: Team, role: Role, path: str, permission: Permission
) -> None:
    Membership.objects.filter(user=user_of("vera", "acme")).update(role=role)
    answer = client_for(user_of("vera", "acme"), acme).post(
        path.format(bob=member("bob", acme).pk), {"role": "viewer", "email": "", "name": "New name", "theme": "dark"}
    )
    if may(role, permission):
        assert answer.status_code in {200, 302}
    else:
        assert answer.status_code == 403
        assert refusal(role, permission).split(".")[0] in answer.text


def test_a_refusal_names_who_may() -> None:
    assert refusal("viewer", Permission.APPROVE) == (
        "You are viewer here. To decide approvals you must be owner or admin or approver."
        " Ask an owner or admin of the team."
    )


def test_the_last_owner_stays(client_for: ClientFor, acme: Team) -> None:
    alice, client = member("alice", acme), client_for(user_of("alice", "acme"), acme)
    for path, form in (
        (f"/team/members/{alice.pk}/role/", {"role": "admin"}),
        (f"/team/members/{alice.pk}/remove/", {}),
    ):
        answer = client.post(path, form, follow=True)
        assert "Alice is the last owner and cannot be" in answer.text
        alice.refresh_from_db()
        assert alice.role == Role.OWNER


def test_an_automatic_or_deactivated_owner_does_not_count_as_another(acme: Team) -> None:
    alice = member("alice", acme)
    robot = members.add_member(acme, User.objects.create_user("robot@acme.example", None), Role.OWNER, automatic=True)
    gone = User.objects.create_user("gone@acme.example", None, is_active=False)
    members.add_member(acme, gone, Role.OWNER)
    with pytest.raises(NotAllowed, match="last owner"):
        members.remove_member(alice, by=robot)
    Membership.objects.filter(user=user_of("bob", "acme")).update(role=Role.OWNER)
    members.remove_member(alice, by=alice)


def test_two_owners_who_leave_at_the_same_moment_do_not_leave_a_team_without_owner(committed_team: Team) -> None:
    Membership.objects.filter(team=committed_team, user=user_of("bob", "acme")).update(role=Role.OWNER)
    rows = list(Membership.objects.filter(team=committed_team, role=Role.OWNER))

    def leave(row: Membership) -> bool:
        try:
            members.remove_member(row, by=row)
        except NotAllowed:
            return False
        finally:
            connection.close()
        return True

    with ThreadPoolExecutor(2) as threads:
        assert sorted(threads.map(leave, rows)) == [False, True]
    assert Membership.objects.filter(team=committed_team, role=Role.OWNER).count() == 1


def test_an_admin_cannot_touch_an_owner_nor_make_one(acme: Team) -> None:
    Membership.objects.filter(user=user_of("bob", "acme")).update(role=Role.ADMIN)
    bob, alice, vera = (member(name, acme) for name in ("bob", "alice", "vera"))
    with pytest.raises(NotAllowed, match="Only an owner can change another owner"):
        members.change_role(alice, Role.VIEWER, by=bob)
    with pytest.raises(NotAllowed, match="Only an owner can change another owner"):
        members.remove_member(alice, by=bob)
    with pytest.raises(NotAllowed, match="Only an owner can make somebody owner"):
        members.change_role(vera, Role.OWNER, by=bob)
    members.change_role(vera, Role.APPROVER, by=bob)
    assert member("vera", acme).role == Role.APPROVER


def test_a_viewer_may_leave_but_remove_nobody(client_for: ClientFor, acme: Team) -> None:
    vera = client_for(user_of("vera", "acme"), acme)
    answer = vera.post(f"/team/members/{member('bob', acme).pk}/remove/", follow=True)
    assert "Only owners and admins can change members" in answer.text
    assert Membership.objects.filter(user=user_of("bob", "acme")).exists()
    left = vera.post(f"/team/members/{member('vera', acme).pk}/remove/")
    assert left["Location"] == "http://waggle.localhost:8000/"
    assert vera.get("/team/").status_code == 404


def test_only_who_may_invite_sees_forms_for_it(client_for: ClientFor, acme: Team) -> None:
    assert "Invite somebody" in client_for(user_of("alice", "acme"), acme).get("/team/").text
    viewer = client_for(user_of("vera", "acme"), acme).get("/team/").text
    assert "Invite somebody" not in viewer
    assert "<select" not in viewer


def test_an_owner_renames_the_team_and_its_address_stays(client_for: ClientFor, acme: Team) -> None:
    client = client_for(user_of("alice", "acme"), acme)
    assert client.post("/settings/name/", {"name": ""}).status_code == 422
    client.post("/settings/name/", {"name": "Acme & Sons"})
    acme.refresh_from_db()
    assert (acme.name, acme.slug) == ("Acme & Sons", "acme")


def test_the_look_is_kept_for_all_our_hosts(client_for: ClientFor, acme: Team) -> None:
    client = client_for(user_of("vera", "acme"), acme)
    assert 'data-theme="auto"' in client.get("/settings/").text
    cookie = client.post("/settings/look/", {"theme": "dark"}).cookies["waggle_theme"]
    assert (cookie.value, cookie["domain"]) == ("dark", "waggle.localhost")
    assert 'data-theme="dark"' in client.get("/settings/").text
    assert "waggle_theme" not in client.post("/settings/look/", {"theme": "pink"}).cookies


@pytest.mark.parametrize("role", list(Role))
def test_permissions_of_the_teams_admin_come_from_the_table(role: Role) -> None:
    class Approvals(TeamAdminMixin, ModelAdmin):
        change_needs = Permission.APPROVE

    request = type("Request", (), {"membership": Membership(role=role), "user": User(is_superuser=True)})()
    admin = Approvals(Membership, team_admin)
    assert admin.has_view_permission(request)
    assert admin.has_change_permission(request) == may(role, Permission.APPROVE)
    assert not admin.has_add_permission(request)
    assert not admin.has_delete_permission(request)


def test_the_operators_admin_is_for_staff_only(client_for: ClientFor, acme: Team) -> None:
    charlie = user_of("charlie")
    assert client_for().get("/operator/", follow=True).redirect_chain[-1][0].endswith("/login/?next=/operator/")
    assert client_for(charlie).get("/operator/", follow=True).status_code == 404
    User.objects.filter(pk=charlie.pk).update(is_staff=True)
    staff = client_for(charlie)
    share = acme.share
    for path in (
        "",
        "tenants/team/",
        f"tenants/team/{acme.pk}/change/",
        f"tenants/user/{charlie.pk}/change/",
        "tenants/runner/",
    ):
        page = staff.get(f"/operator/{path}")
        assert page.status_code == 200, path
        assert "<style" not in page.text, "the pages must do under a strict CSP"
    form = {
        "name": "Acme", "domains-TOTAL_FORMS": 0, "domains-INITIAL_FORMS": 0,
        "share-TOTAL_FORMS": 1, "share-INITIAL_FORMS": 1, "share-0-team": acme.pk,
        "share-0-weight": "2.5", "share-0-cap": "7", "share-0-max_waiting": "9", "share-0-max_swarms": "8",
    }  # fmt: skip
    assert staff.post(f"/operator/tenants/team/{acme.pk}/change/", form).status_code == 302
    share.refresh_from_db()
    assert (share.weight, share.cap, share.max_waiting, share.max_swarms) == (2.5, 7, 9, 8)
    assert staff.get(f"/operator/tenants/team/{acme.pk}/delete/").status_code == 403
