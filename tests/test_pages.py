"""The dashboard's pages, for every role."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import pytest
from django.db import connection, transaction
from django.test import Client
from django.urls import get_resolver
from django.utils import timezone

from swarms.board import cards
from swarms.models import Approval, Edge, Node, Project, Swarm
from swarms.views.swarm import REGIONS
from tenants.members import add_member
from tenants.models import Team, User
from tenants.roles import Permission, Role, may
from tests.board_stage import Stage
from tests.conftest import user_of


@pytest.fixture
def stage(team: Team) -> Stage:
    return Stage(user_of("alice", "acme"))


@pytest.fixture
def member(acme: Team) -> Callable[[Role], User]:
    def make(role: Role) -> User:
        user = User.objects.create_user(f"{role}@acme.example", None)
        add_member(acme, user, role)
        return user

    return make


CLOSED = {
    "webhooks": Permission.CONNECT,
    "webhook": Permission.CONNECT,
    "runners": Permission.ENROL,
    "providers": Permission.KEYS,
    "team-delete": Permission.ADMINISTER,
}
"""Pages that not everybody may read: an address may hold a secret, and one form is its owners'."""


@pytest.mark.parametrize("role", list(Role))
def test_every_page_can_be_read_by_every_role_that_may(
    stage: Stage, team: Team, client_for: Callable[..., Client], member: Callable[[Role], User], role: Role
) -> None:
    client = client_for(member(role), team)
    for name, address in stage.pages.items():
        answer = client.get(address)
        assert answer.status_code == (200 if may(role, CLOSED.get(name, Permission.VIEW)) else 403), f"{name} {address}"
        assert b"<script>alert" not in answer.content, name


def test_every_page_of_the_dashboard_is_on_the_stage(stage: Stage) -> None:
    names = {
        getattr(p, "name", "")
        for m in ("swarms.urls", "agents.urls", "sessions.urls")
        for p in get_resolver(m).url_patterns
    }
    posts = {
        "project-new",
        "project-change",
        "project-limits",
        "project-refetch",
        "project-archive",
        "project-restore",
        "goal-new",
        "plan-give",
        "plan-again",
        "swarm-pause",
        "swarm-resume",
        "swarm-drain",
        "swarm-cancel",
        "swarm-retry",
        "swarm-priority",
        "swarm-deadline",
        "node-skip",
        "node-retry",
        "node-priority",
        "session-say",
        "session-interrupt",
        "session-revert",
        "session-unrevert",
        "session-answer",
        "approval-decide",
        "plan-change",
        "plan-ask",
        "swarm-rollback",
        "swarm-replay-jump",
        "swarm-fork",
        "swarm-export",
        "archive-jump",
        "archive-delete",
        "artifact",  # no page: tests/test_artifacts.py
        "artifact-remove",
        "project-exposure",
        "rule-up",
        "rule-down",
        "rule-revoke",
        "webhook-new",
        "webhook-change",
        "webhook-rotate",
        "webhook-end-secret",
        "webhook-off",
        "webhook-on",
        "webhook-test",
        "webhook-again",
        "webhook-again-all",
        "webhook-remove",
        "agent-change",
        "agent-drain",
        "agent-enable",
        "agent-disable",
        "agent-remove",
        "provider-add",
        "provider-replace",
        "provider-change",
        "provider-try",
        "provider-prefer",
        "provider-revoke",
        "provider-remove",
        "runner-add",
        "runner-renew",
        "runner-end",
        "server-add",
        "server-enrol",
        "server-work",
        "server-drain",
        "server-enable",
        "server-password",
        "server-quarantine",
        "server-disable",
        "server-probe",
        "server-remove",
    }
    assert names - posts == set(stage.pages)


POSTS = {
    "/projects/new/": Permission.EDIT_PROJECT,
    "/projects/textkit/change/": Permission.EDIT_PROJECT,
    "/projects/textkit/limits/": Permission.EDIT_PROJECT,
    "/projects/textkit/refetch/": Permission.EDIT_PROJECT,
    "/projects/textkit/archive/": Permission.EDIT_PROJECT,
    "/projects/textkit/restore/": Permission.EDIT_PROJECT,
    "/projects/textkit/goals/": Permission.STATE_GOAL,
    "/projects/textkit/swarms/1/plan/": Permission.STATE_GOAL,
    "/projects/textkit/swarms/1/plan/again/": Permission.STATE_GOAL,
    "/projects/textkit/swarms/1/pause/": Permission.STATE_GOAL,
    "/projects/textkit/swarms/1/resume/": Permission.STATE_GOAL,
    "/projects/textkit/swarms/1/drain/": Permission.STATE_GOAL,
    "/projects/textkit/swarms/1/cancel/": Permission.STATE_GOAL,
    "/projects/textkit/swarms/1/retry/": Permission.STATE_GOAL,
    "/projects/textkit/swarms/1/turn/priority/": Permission.STATE_GOAL,
    "/projects/textkit/swarms/1/turn/deadline/": Permission.STATE_GOAL,
    "/projects/textkit/swarms/1/nodes/docs/skip/": Permission.STATE_GOAL,
    "/projects/textkit/swarms/1/nodes/docs/retry/": Permission.STATE_GOAL,
    "/projects/textkit/swarms/1/nodes/docs/priority/": Permission.STATE_GOAL,
    "/projects/textkit/swarms/1/replay/fork/?at=9": Permission.STATE_GOAL,
    "/artifacts/{artifact}/remove/": Permission.STATE_GOAL,
    "/archives/": Permission.IMPORT,
    "/archives/{archive}/delete/": Permission.IMPORT,
    "/approvals/{approval}/decide/": Permission.APPROVE,
    "/settings/delete/": Permission.ADMINISTER,
    "/settings/webhooks/new/": Permission.CONNECT,
    "/settings/webhooks/{webhook}/change/": Permission.CONNECT,
    "/settings/webhooks/{webhook}/off/": Permission.CONNECT,
    "/settings/webhooks/{webhook}/on/": Permission.CONNECT,
    "/settings/webhooks/{webhook}/secret/end/": Permission.CONNECT,
    "/settings/webhooks/{webhook}/test/": Permission.CONNECT,
    "/settings/webhooks/{webhook}/again/all/": Permission.CONNECT,
    "/settings/webhooks/{webhook}/remove/": Permission.CONNECT,
    "/agents/new/": Permission.ENROL,
    "/agents/anna/change/": Permission.ENROL,
    "/agents/anna/drain/": Permission.ENROL,
    "/agents/anna/enable/": Permission.ENROL,
    "/agents/anna/disable/": Permission.ENROL,
    "/agents/anna/remove/": Permission.ENROL,
    "/servers/add/": Permission.ENROL,
    "/servers/{server}/enrol/": Permission.ENROL,
    "/servers/{server}/work/": Permission.ENROL,
    "/servers/{server}/drain/": Permission.ENROL,
    "/servers/{server}/enable/": Permission.ENROL,
    "/servers/{server}/password/": Permission.ENROL,
    "/servers/{server}/quarantine/": Permission.ENROL,
    "/servers/{server}/disable/": Permission.ENROL,
    "/servers/{server}/probe/": Permission.ENROL,
    "/servers/{server}/remove/": Permission.ENROL,
}


@pytest.mark.parametrize("role", list(Role))
def test_what_changes_something_needs_its_permission(
    stage: Stage,
    team: Team,
    client_for: Callable[..., Client],
    member: Callable[[Role], User],
    role: Role,
    subtests: pytest.Subtests,
) -> None:
    names = {"approval": stage.approval.pk, "archive": stage.archive.pk, "webhook": stage.webhook.pk}
    names |= {"artifact": stage.artifact.pk, "server": stage.server.pk}
    client = client_for(member(role), team)
    for address, permission in POSTS.items():
        with subtests.test(address), transaction.atomic():
            answer = client.post(address.format(**names))
            transaction.set_rollback(True)
            assert (answer.status_code == 403) is not may(role, permission)
            assert answer.status_code in (302, 403, 422)


def test_who_may_not_is_told_who_may(stage: Stage, team: Team, client_for: Callable[..., Client]) -> None:
    answer = client_for(user_of("vera", "acme"), team).post("/projects/textkit/goals/", {"text": "x"})
    assert "developer" in answer.content.decode()


def test_buttons_are_shown_only_to_who_may_use_them(
    stage: Stage, team: Team, client_for: Callable[..., Client]
) -> None:
    for name, is_shown in (("alice", True), ("vera", False)):
        body = client_for(user_of(name, "acme"), team).get("/projects/textkit/swarms/1/").content.decode()
        assert ("Cancel the swarm" in body) is is_shown
        assert ('value="approve"' in body) is is_shown


ORDERS = {
    "pause": ("running", "paused by Alice"),
    "resume": ("paused", "resumed by Alice"),
    "drain": ("running", "drained by Alice"),
    "cancel": ("running", "cancelled by Alice"),
    "retry": ("failed", "tried again by Alice"),
}


@pytest.mark.parametrize("verb", ORDERS)
def test_a_reason_that_is_given_with_an_order_is_told_wherever_the_state_is(
    stage: Stage, alice: Client, verb: str
) -> None:
    state, told = ORDERS[verb]
    for step in {"paused": ["paused"], "failed": ["failing", "failed"]}.get(state, []):
        Swarm.objects.filter(pk=stage.swarm.pk).update(state=step, started_at=timezone.now())
    page = "/projects/textkit/swarms/1/"
    assert f'<label for="{verb}-because">Why' in alice.get(page).content.decode()
    assert alice.post(f"{page}{verb}/", {"because": " the provider is <dear> tonight "}).status_code == 302
    reason = f"{told}: the provider is &lt;dear&gt; tonight"
    assert reason in alice.get(f"{page}regions/header/").content.decode()
    assert reason in alice.get(f"{page}feed/").content.decode()


@pytest.fixture
def alice(team: Team, client_for: Callable[..., Client]) -> Client:
    return client_for(user_of("alice", "acme"), team)


def test_no_link_of_the_admins_lists_is_without_words(stage: Stage, alice: Client) -> None:
    page = alice.get("/admin/agents/modelcall/").content.decode()
    assert "The platform&#x27;s</a>" in page
    assert not re.search(r'<a href="\?provider=[^>]*>\s*</a>', page)


MISSING = (
    "/projects/nothing/",
    "/projects/textkit/swarms/99/",
    "/projects/textkit/swarms/1/nodes/nothing/",
    "/projects/textkit/swarms/1/nodes/parser/?attempt=9",
    "/projects/textkit/swarms/1/regions/nothing/",
    "/projects/textkit/swarms/3/plan.yaml",
    "/approvals/00000000-0000-7000-8000-000000000000/",
    "/sessions/00000000-0000-7000-8000-000000000000/",
)


@pytest.mark.parametrize("address", MISSING)
def test_what_is_not_there_is_not_found(stage: Stage, alice: Client, address: str) -> None:
    assert alice.get(address).status_code == 404


def test_a_part_that_is_no_id_is_not_found(stage: Stage, alice: Client) -> None:
    assert alice.get(f"/sessions/{stage.live.session_id}/parts/?id=x").status_code == 404


@pytest.mark.parametrize("name", REGIONS)
def test_a_region_says_the_same_as_the_page(stage: Stage, alice: Client, name: str) -> None:
    page = _plain(alice.get("/projects/textkit/swarms/1/").content.decode())
    assert _plain(alice.get(f"/projects/textkit/swarms/1/regions/{name}/").content.decode()) in page


def _plain(html: str) -> str:
    html = re.sub(r'value="[A-Za-z0-9]{64}"', "", html)  # the token against forgery is masked anew each time
    return " ".join(re.sub(r"\d+:\d\d|just now|\d+ s ago", "T", html).split())


def test_a_swarm_tells_its_figures_and_never_makes_up_a_price(stage: Stage, alice: Client) -> None:
    body = _plain(alice.get("/projects/textkit/swarms/1/regions/header/").content.decode())
    assert "Nodes <b>1/3</b>" in body
    assert "Cost <b>unknown</b>" in body
    assert "$0" not in body
    assert "rehearsal" in body


def test_nodes_are_listed_in_the_order_of_the_work(stage: Stage, alice: Client) -> None:
    Node.objects.filter(key="docs").update(priority=9)
    rows = alice.get("/projects/textkit/swarms/1/regions/nodes/").content.decode()
    assert re.findall(r"/nodes/(\w+)/", rows) == ["parser", "printer", "docs"]


def test_a_node_that_is_planned_while_somebody_looks_comes_with_the_next_look(stage: Stage) -> None:
    parser = Node.objects.get(key="parser")

    def between(execute: Callable[..., Any], sql: str, *rest: Any) -> Any:
        if sql.startswith("SELECT") and 'FROM "swarms_edge"' in sql and not Node.objects.filter(key="late").exists():
            late = Node.objects.create(swarm=parser.swarm, key="late", title="Late", plan=parser.plan)
            Edge.objects.create(parent=parser, child=late)
        return execute(sql, *rest)

    with connection.execute_wrapper(between):
        assert "late" not in [card.key for card in cards(parser.swarm)]
    assert [card.parents for card in cards(parser.swarm) if card.key == "late"] == [("parser",)]


def test_a_node_that_waits_says_why(stage: Stage, alice: Client) -> None:
    assert b"A person must decide." in alice.get("/projects/textkit/swarms/1/").content


def test_a_node_says_what_drives_its_agent_unless_that_is_waggle(stage: Stage, alice: Client) -> None:
    address, label = "/projects/textkit/swarms/1/nodes/printer/", '<span class="label">opencode</span>'
    assert label not in alice.get(address).content.decode()
    stage.live.assignment["runtime"] = "opencode"
    stage.live.save(update_fields=["assignment"])
    assert label in alice.get(address).content.decode()


def test_the_feed_goes_on_after_the_last_known_line(stage: Stage, alice: Client) -> None:
    address = "/projects/textkit/swarms/1/feed/"
    lines = [int(n) for n in re.findall(r'data-seq="(\d+)"', alice.get(address).content.decode())]
    assert lines == sorted(lines, reverse=True)
    newest = alice.get(f"{address}?after={lines[2]}").content.decode()
    assert [int(n) for n in re.findall(r'data-seq="(\d+)"', newest)] == lines[:2]
    assert "data-seq" not in alice.get(f"{address}?after={lines[0]}").content.decode()
    assert alice.get(f"{address}?after=x").status_code == 200


def test_a_line_of_the_feed_leads_to_its_event(stage: Stage, alice: Client) -> None:
    page = "/projects/textkit/swarms/1/"
    lines = re.findall(r'data-seq="(\d+)"><a class="moment" href="([^"]+)"', alice.get(f"{page}feed/").content.decode())
    number, address = lines[len(lines) // 2]
    shown = alice.get(urljoin(page, address)).content.decode()
    assert f'<li data-seq="{number}" aria-current="true">' in shown


def test_a_project_is_added_with_its_checks(team: Team, alice: Client, tmp_path: Path, settings: Any) -> None:
    settings.LOCAL_SOURCES = True
    given = {
        "name": "Kit",
        "slug": "kit",
        "source": str(tmp_path),
        "target_branch": "main",
        "checks": "unit tests: python -m unittest\n\nmake lint",
        "approve_plan": "on",
        "four_eyes": "on",
    }
    answer = alice.post("/projects/new/", given)
    assert (answer.status_code, answer["Location"]) == (302, "/projects/kit/")
    project = Project.objects.get(slug="kit")
    assert [(c["name"], c["command"]) for c in project.checks] == [
        ("unit tests", "python -m unittest"),
        ("make lint", "make lint"),
    ]
    assert (project.approve_plan, project.approve_landing, project.four_eyes) == (True, False, True)
    assert "Four eyes" in alice.get("/projects/kit/").text


def test_a_wrong_project_is_refused_at_its_fields_and_nothing_typed_is_lost(
    team: Team, alice: Client, settings: Any
) -> None:
    settings.LOCAL_SOURCES = True
    given = {"name": "Kit", "slug": "new", "source": "relative/path", "target_branch": "main"}
    given["checks"] = "tests: "
    answer = alice.post("/projects/new/", given)
    body = answer.content.decode()
    assert answer.status_code == 422
    assert "Choose another short name" in body
    assert "Line 1 names no command" in body
    assert 'value="relative/path"' in body
    answer = alice.post("/projects/new/", given | {"slug": "kit", "checks": ""})
    assert "Give the whole path" in answer.content.decode()
    assert not Project.objects.filter(slug="kit").exists()


def test_a_goal_becomes_a_swarm(stage: Stage, alice: Client) -> None:
    answer = alice.post("/projects/textkit/goals/", {"text": "Count words"})
    assert (answer.status_code, answer["Location"]) == (302, "/projects/textkit/swarms/3/")
    assert Swarm.objects.get(number=3).goal.text == "Count words"
    assert alice.post("/projects/textkit/goals/", {"text": " "}).status_code == 422


def test_a_plan_with_faults_is_not_taken_and_the_text_is_kept(stage: Stage, alice: Client) -> None:
    text = "nodes:\n- {key: a, title: A, role: wizard, instructions: Do., writes: [a]}\n# mine"
    answer = alice.post("/projects/textkit/swarms/2/plan/", {"yaml": text})
    body = answer.content.decode()
    assert answer.status_code == 422
    assert "unknown role" in body
    assert "# mine" in body
    assert stage.proposed.plans.count() == 1


def test_the_plan_as_yaml_can_be_given_back(stage: Stage, alice: Client) -> None:
    answer = alice.get("/projects/textkit/swarms/2/plan.yaml")
    assert answer["Content-Disposition"] == 'attachment; filename="textkit-2-plan-1.yaml"'
    again = alice.post("/projects/textkit/swarms/2/plan/", {"yaml": answer.content.decode()})
    assert again.status_code == 302
    assert list(stage.proposed.plans.order_by("version").values_list("state", flat=True)) == ["superseded", "proposed"]


def test_an_approval_is_decided_once(stage: Stage, alice: Client) -> None:
    address = f"/approvals/{stage.approval.pk}/decide/"
    assert alice.post(address, {"verdict": "reject"}).status_code == 302
    assert Approval.objects.get(pk=stage.approval.pk).state == "pending"
    answer = alice.post(address, {"verdict": "approve", "next": "/projects/textkit/swarms/2/"}, follow=True)
    assert answer.redirect_chain[0][0] == "/projects/textkit/swarms/2/"
    assert Approval.objects.get(pk=stage.approval.pk).state == "approved"
    answer = alice.post(address, {"verdict": "reject", "because": "late"}, follow=True)
    assert b"Already approved by" in answer.content


@pytest.mark.parametrize("next_page", ["//evil.example/", "https://evil.example/", "/\\evil.example", "javascript:x"])
def test_nobody_is_sent_elsewhere_after_deciding(stage: Stage, alice: Client, next_page: str) -> None:
    answer = alice.post(f"/approvals/{stage.approval.pk}/decide/", {"verdict": "approve", "next": next_page})
    assert answer["Location"] == f"/approvals/{stage.approval.pk}/"


def test_what_waits_is_counted_in_the_navigation(stage: Stage, alice: Client) -> None:
    assert b'<span class="badge">3<span' in alice.get("/servers/").content


def test_the_theme_is_in_the_first_byte_of_html(team: Team, alice: Client) -> None:
    alice.cookies["waggle_theme"] = "dark"
    assert b'data-theme="dark"' in alice.get("/").content


def test_a_swarms_page_asks_the_database_a_bounded_number_of_times(
    stage: Stage, alice: Client, content_queries: Callable[[], Any]
) -> None:
    alice.get("/projects/textkit/swarms/1/")
    with content_queries() as few:
        alice.get("/projects/textkit/swarms/1/")
    Node.objects.bulk_create(
        Node(
            swarm=stage.swarm, plan=stage.nodes["docs"].plan, key=f"n{i}", title="x", role="developer", state="blocked"
        )
        for i in range(50)
    )
    with content_queries() as more:
        alice.get("/projects/textkit/swarms/1/")
    assert len(more) == len(few)
