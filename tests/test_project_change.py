"""What a project is like can be mended afterwards: its checks, its policies, an address with a slip in it."""

import re
from collections.abc import Callable
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.test import Client
from django.utils import timezone

from sessions.models import Event
from sessions.transitions import move
from swarms import operations, rollback
from swarms.digests import digest
from swarms.models import Approval, Project, Swarm
from swarms.refusals import NotNow
from tenants.members import add_member
from tenants.models import Due, Membership, Team, User
from tenants.roles import Role
from tests.board_stage import Stage
from tests.conftest import user_of
from tests.test_api_swarms import Program, secret_of

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


@pytest.fixture
def bob(project: Project, team: Team) -> Program:
    """A program of a developer, who decides no approvals."""
    return Program(secret_of("bob", team))


def test_a_program_changes_what_it_names_with_the_rights_and_the_words_of_the_page(
    project: Project, bob: Program, team: Team
) -> None:
    checks = [{"name": "unit tests", "command": "python3 -m unittest"}, {"name": "lint", "command": "ruff check ."}]
    told = bob.patch("/projects/kit", {"checks": checks, "stall_minutes": 3}).json()
    assert [check["timeout"] for check in told["checks"]] == [900, 120]
    assert (told["name"], told["stall_minutes"], told["source"]) == ("Kit", 3, "https://…@203.0.113.7/team/kit.git")
    project.refresh_from_db()
    assert (project.source, project.approve_plan, project.max_nodes) == (SECRET, True, 40)
    event = Event.objects.get(kind="project.changed")
    assert (event.payload["what"], event.actor) == (["checks"], f"user:{user_of('bob', 'acme').pk}")
    told = bob.patch("/projects/kit", {"checks": [checks[0] | {"timeout": 60}]}).json()
    assert told["checks"] == [checks[0] | {"timeout": 60}]
    assert bob.get("/projects").json()["projects"] == [told]
    assert bob.get("/projects/kit").json() == told


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        ({"name": " ", "stall_minutes": 9999}, 422, "name: fill this in. stall_minutes: Ensure this value"),
        ({"name": None}, 422, "name: null says nothing"),
        ({"source": "ftp://203.0.113.7/x"}, 422, "source: "),
        ({"target_branch": "other"}, 422, "target_branch: The branch stays"),
        ({"stall_minutes": 9999, "name": "Other"}, 422, "stall_minutes: Ensure this value is less than or equal to"),
        ({"source": "x", "checks": [{"name": "x", "command": "y"}]}, 422, "source: "),
        ({"checks": [{"name": "x", "command": ""}]}, 422, "checks.0.command: "),
        ({"checks": "unit tests: make"}, 422, "checks: "),
        ({"slug": "other"}, 422, "slug: "),
        ({"approve_plan": False}, 403, "approve_plan: You are developer here."),
    ],
)
def test_what_a_program_may_not_change_names_the_field_and_changes_nothing(
    project: Project, bob: Program, body: dict[str, Any], status: int, says: str
) -> None:
    answer = bob.patch("/projects/kit", body)
    told = answer.json()
    assert (answer.status_code, says in " ".join([told["error"], *told.get("faults", [])])) == (status, True), told
    assert Project.objects.filter(name="Kit", checks=project.checks, stall_minutes=10, approve_plan=True).exists()
    assert not Event.objects.filter(kind="project.changed").exists()


def test_addresses_of_projects_for_programs_say_what_they_take(
    project: Project, bob: Program, team: Team, settings: Any, tmp_path: Any, broker: object
) -> None:
    settings.LOCAL_SOURCES = True
    wrong = bob.client.delete(f"{bob.root}/projects/kit", headers={"authorization": f"Bearer {bob.secret}"})
    assert (wrong.status_code, wrong.headers["Allow"]) == (405, "GET, PATCH")
    made = bob.post("/projects", {"name": "Other", "slug": "other", "source": str(tmp_path)})
    assert (made.status_code, made.json()["state"], made.json()["approve_plan"]) == (201, "fetching", True)
    again = bob.post("/projects", {"name": "Other", "slug": "other", "source": str(tmp_path)})
    assert again.status_code == 422
    assert again.json()["error"].startswith("slug: Another project of the team, perhaps an archived one, has this")
    Membership.objects.filter(user=user_of("bob", "acme")).update(role=Role.VIEWER)
    assert bob.get("/projects/kit").status_code == 200
    refused = (bob.patch("/projects/kit", {"name": "x"}), bob.post("/projects/kit/archive"), bob.post("/projects"))
    assert [answer.status_code for answer in refused] == [403, 403, 403]
    assert Program("").get("/projects").status_code == bob.get("/projects/nothing").status_code == 404


def project_command(*words: str) -> str:
    out = StringIO()
    call_command("project", *words, "--team", "acme", stdout=out)
    return out.getvalue().strip()


def test_a_project_is_archived_only_when_all_has_ended_and_nothing_begins_in_it_until_it_is_restored(
    team: Team, client_for: Callable[..., Client], broker: object
) -> None:
    stage = Stage(user_of("alice", "acme"))
    alice, page = client_for(stage.by, team), "/projects/textkit/"
    before = Event.objects.count()
    refused = alice.post(f"{page}archive/", {"because": "done with it"})
    assert refused.status_code == 422
    assert "Not all has ended: textkit #1, textkit #2." in refused.content.decode()
    assert 'value="done with it"' in refused.content.decode()
    Swarm.objects.update(state="failing")
    Swarm.objects.update(state="failed")
    terms = {"subject": {}, "digest": digest({}), "requested_by": stage.by, "expires_at": timezone.now()}
    Approval.objects.create(swarm=stage.swarm, kind="rollback", title="Roll back", **terms)
    with pytest.raises(CommandError, match="decide about its rollback"):
        project_command("archive", "textkit")
    Approval.objects.filter(state="pending").update(state="void")
    assert Event.objects.count() == before
    assert alice.post(f"{page}archive/", {"because": "done with it"}).status_code == 302
    shown = alice.get(page).content.decode()
    assert "Archived by Alice: done with it" in shown
    assert "Restore" in shown
    assert "Make a plan" not in shown
    assert "archived by Alice" in alice.get("/projects/").content.decode()
    assert "Make a plan" not in alice.get("/").content.decode()
    assert "The project is archived" in alice.post(f"{page}goals/", {"text": "x"}).content.decode()
    for path in ("change", "limits"):
        given_ = (
            {"name": "Kit", "source": "/srv/textkit", "target_branch": "main"}
            if path == "change"
            else limits(stage.project)
        )
        assert "The project is archived" in alice.post(f"{page}{path}/", given_).content.decode()
    assert "The project is archived" in alice.post(f"{page}refetch/", follow=True).content.decode()
    swarm = Swarm.objects.get(pk=stage.swarm.pk)
    for verb in (operations.retry_swarm, rollback.request):
        with pytest.raises(NotNow):
            verb(swarm, by=stage.by)
    assert "retry" not in operations.possible(swarm)
    assert not Due.objects.filter(kind="fetch").exists()
    assert project_command("restore", "textkit", "--because", "a bug") == "textkit: restored by the operator: a bug"
    assert Due.objects.filter(kind="fetch", subject=stage.project.pk).exists()


def limits(project: Project) -> dict[str, Any]:
    names = ("attempt_minutes", "attempt_calls", "stall_minutes", "start_minutes")
    return {name: getattr(project, name) for name in (*names, "max_attempts", "max_nodes", "max_depth")}


def test_a_project_is_archived_and_restored_by_programs_commands_and_in_the_admin(
    project: Project, alice: Client, bob: Program, team: Team, client_for: Callable[..., Client]
) -> None:
    told = bob.post("/projects/kit/archive", {"because": "done"}).json()
    assert (told["state"], told["because"]) == ("archived", "archived by Bob: done")
    assert bob.post("/projects/kit/archive").status_code == 409
    assert bob.patch("/projects/kit", {"name": "x"}).status_code == 409
    assert bob.post("/projects/kit/goals", {"text": "x"}).status_code == 422
    assert bob.post("/projects/kit/explode").status_code == 404
    assert project_command("list") == "kit  archived  0 goals  archived by Bob: done"
    admin = "/admin/swarms/project/"
    chosen = {"_selected_action": str(project.pk)}
    assert "1 of 1 changed" in alice.post(admin, {"action": "restore", **chosen}, follow=True).content.decode()
    assert Project.objects.get().state == "fetching"
    assert alice.post(admin, {"action": "_archive", **chosen}).headers["Location"] == "/projects/kit/archive/"
    vera = client_for(user_of("vera", "acme"), team)
    assert not re.search("value=.(_archive|restore)", vera.get(admin).content.decode())
    assert project_command("archive", "kit") == "kit: archived by the operator"
    with pytest.raises(CommandError, match="The project is archived"):
        project_command("archive", "kit")
    with pytest.raises(CommandError, match=r"no project other\. Its projects: kit\."):
        project_command("archive", "other")
