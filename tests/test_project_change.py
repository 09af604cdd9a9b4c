"""What a project is like can be mended afterwards: its checks, its policies, an address with a slip in it."""

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client

from sessions.models import Event
from sessions.transitions import move
from swarms.models import Project
from tenants.members import add_member
from tenants.models import Team, User
from tenants.roles import Role
from tests.conftest import user_of

ADDRESS = "/projects/kit/change/"
SECRET = "https://ana:s3cret@203.0.113.7/team/kit.git"


@pytest.fixture
def project(team: Team) -> Project:
    return Project.objects.create(
        slug="kit",
        name="Kit",
        source=SECRET,
        state="ready",
        head="a" * 40,
        checks=[{"name": "unit tests", "command": "python3 -m unitest", "timeout": 900}],
        created_by=user_of("alice", "acme"),
    )


@pytest.fixture
def alice(project: Project, team: Team, client_for: Callable[..., Client]) -> Client:
    return client_for(user_of("alice", "acme"), team)


def given(**more: str) -> dict[str, str]:
    return {"name": "Kit", "source": "", "checks": "unit tests: python3 -m unitest", "acceptance": ""} | more


def test_checks_and_policies_are_changed_and_it_is_recorded(project: Project, alice: Client) -> None:
    shown = alice.get(ADDRESS).content.decode()
    assert "unit tests: python3 -m unitest" in shown
    assert "s3cret" not in shown
    checks = "unit tests: python3 -m unittest\nlint: ruff check ."
    answer = alice.post(ADDRESS, given(checks=checks, approve_plan="on"), follow=True)
    assert "what runs keeps the checks it began with" in answer.content.decode()
    project.refresh_from_db()
    assert [tuple(check.values()) for check in project.checks] == [
        ("unit tests", "python3 -m unittest", 900),
        ("lint", "ruff check .", 120),
    ]
    assert (project.approve_plan, project.approve_landing, project.source) == (True, False, SECRET)
    event = Event.objects.get(kind="project.changed")
    assert event.payload["what"] == ["approve_landing", "checks"]
    assert event.actor == f"user:{user_of('alice', 'acme').pk}"


def test_what_is_as_it_was_is_no_change(project: Project, alice: Client) -> None:
    assert alice.post(ADDRESS, given(approve_plan="on", approve_landing="on")).status_code == 302
    assert not Event.objects.filter(kind="project.changed").exists()


def test_who_decides_no_approvals_does_not_change_who_is_asked(
    project: Project, acme: Team, team: Team, client_for: Callable[..., Client]
) -> None:
    developer = User.objects.create_user("dan@acme.example", None)
    add_member(acme, developer, Role.DEVELOPER)
    client = client_for(developer, team)
    assert "Changed only by members who may decide approvals" in client.get(ADDRESS).content.decode()
    assert client.post(ADDRESS, given(checks="")).status_code == 302
    project.refresh_from_db()
    assert (project.checks, project.approve_plan, project.approve_landing) == ([], True, True)


def test_a_wrong_address_is_mended_and_the_repository_copied_again(
    project: Project, alice: Client, tmp_path: Any, settings: Any
) -> None:
    settings.LOCAL_SOURCES = True
    assert move(project, "fetching", because="asked")
    assert move(project, "failed", because="no such repository", head="")
    wrong = alice.post(ADDRESS, given(source="relative/path", target_branch="attempt/1"))
    assert wrong.status_code == 422
    assert "Give the whole path" in wrong.content.decode()
    assert alice.post(ADDRESS, given(source=str(tmp_path), target_branch="trunk")).status_code == 302
    project.refresh_from_db()
    assert (project.source, project.target_branch, project.state) == (str(tmp_path), "trunk", "fetching")


def test_the_branch_stays_once_the_repository_was_copied(project: Project, alice: Client) -> None:
    assert alice.post(ADDRESS, given(target_branch="other")).status_code == 302
    project.refresh_from_db()
    assert project.target_branch == "main"
