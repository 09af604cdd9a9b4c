"""Rules for tools on the pages and in the API: seen by all, made by owners and admins; and approvals of calls."""

import json
from collections.abc import Callable
from html import unescape
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.test import Client

from agents.models import Execution
from sessions.models import Event
from swarms import rulebook, toolrules
from swarms.models import Approval, Project, ToolRule
from tenants import programs
from tenants.members import add_member
from tenants.models import Membership, Team, User
from tenants.roles import Permission, Role, may
from tests.board_stage import Stage
from tests.conftest import user_of
from tests.test_policy_calls import Agent

ClientFor = Callable[..., Client]
PAGE = "/projects/textkit/rules/"
NEW = {"verdict": "deny", "tool": "edit", "arguments": "path: deploy/**", "role": "developer", "why": "Ask operations."}


@pytest.fixture
def stage(team: Team) -> Stage:
    made = Stage(user_of("alice", "acme"))
    Execution.objects.filter(pk=made.live.pk).update(assignment={"role": "developer"})
    made.live.refresh_from_db()
    return made


@pytest.fixture
def boss(stage: Stage, team: Team, client_for: ClientFor) -> Client:
    return client_for(user_of("alice", "acme"), team)


@pytest.fixture
def asked(stage: Stage, team: Team) -> Approval:
    toolrules.make(by=stage.by, tool="shell", verdict="ask", arguments={"command": "rm *"}, why="Mind the files.")
    Agent(stage.live, team).ask("shell", {"command": "rm -rf <b>"}, "c1")
    return Approval.objects.get(kind="tool")


def member(team: Team, role: Role) -> User:
    user = User.objects.create_user(f"{role}@acme.example", None)
    add_member(team, user, role)
    return user


def text_of(client: Client, page: str) -> str:
    answer = client.get(page)
    assert answer.status_code == 200
    return unescape(answer.text)


@pytest.mark.parametrize("role", list(Role))
def test_everybody_sees_the_rules_and_owners_and_admins_make_them(
    stage: Stage, team: Team, client_for: ClientFor, role: Role
) -> None:
    rule = toolrules.make(by=stage.by, tool="web", verdict="ask", project=stage.project, why="Who knows.")
    client = client_for(member(team, role), team)
    allowed = may(role, Permission.POLICY)
    assert allowed == (role in (Role.OWNER, Role.ADMIN))
    page = text_of(client, PAGE)
    assert "Who knows." in page
    assert ("Add the rule" in page, "Revoke" in page, "Save" in page) == (allowed,) * 3
    wanted = 302 if allowed else 403
    assert client.post(PAGE, NEW).status_code == wanted
    for verb in ("up", "down", "revoke"):
        assert client.post(f"/settings/rules/{rule.pk}/{verb}/", {"project": "textkit"}).status_code == wanted
    assert client.post(f"{PAGE}exposure/", {"has_secrets": "on"}).status_code == wanted
    assert ToolRule.objects.count() == (2 if allowed else 1)
    assert (ToolRule.objects.get(pk=rule.pk).revoked_at is not None) == allowed
    assert Project.objects.get().has_secrets == allowed


def test_a_rule_is_made_moved_and_revoked_on_the_page(boss: Client, stage: Stage) -> None:
    assert "No rules of your own" in text_of(boss, PAGE)
    boss.post(PAGE, NEW)
    made = ToolRule.objects.get()
    assert (made.project, made.role, made.tool, made.verdict) == (stage.project, "developer", "edit", "deny")
    assert (made.arguments, made.why, made.made_by) == ({"path": "deploy/**"}, "Ask operations.", stage.by)
    boss.post("/settings/rules/", {"verdict": "allow", "tool": "shell", "sandboxed": "on", "last": "last"})
    both = ToolRule.objects.get(tool="shell")
    assert (both.project, both.sandboxed) == (None, True)
    assert [rule.pk for rule in rulebook.of_project(stage.project)] == [made.pk, both.pk]
    boss.post(f"/settings/rules/{both.pk}/up/", {"project": "textkit", "next": PAGE})
    assert [rule.pk for rule in rulebook.of_project(stage.project)] == [both.pk, made.pk]
    assert boss.post(f"/settings/rules/{made.pk}/revoke/", {"next": PAGE}).headers["Location"] == PAGE
    page = text_of(boss, PAGE)
    assert "revoked by" in page
    assert "is revoked" in page
    assert "revoked already" in unescape(boss.post(f"/settings/rules/{made.pk}/revoke/", follow=True).text)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"tool": ""}, "Tool: fill this in, for example shell."),
        ({"verdict": ""}, "Verdict: choose one: Allow, Ask a person, Deny."),
        ({"arguments": "deploy/**"}, "Line 1 is no argument"),
        ({"arguments": "path: a\npath: b"}, "names path once more"),
        ({"sandboxed": "on"}, "Only what is allowed"),
        ({"verdict": "perhaps"}, "Select a valid choice"),
        ({"role": "king"}, "Select a valid choice"),
    ],
)
def test_what_is_no_rule_is_said_at_its_field(boss: Client, given: dict[str, str], said: str) -> None:
    answer = boss.post(PAGE, NEW | given)
    assert answer.status_code == 422
    assert said in answer.text
    assert not ToolRule.objects.exists()


def test_a_call_is_tried_out_and_nobody_is_asked(boss: Client, stage: Stage) -> None:
    toolrules.make(by=stage.by, tool="shell", verdict="ask", arguments={"command": "git push*"}, why="Rather not.")
    page = text_of(boss, f"{PAGE}?tool=shell&role=developer&arguments=command: true; git push origin")
    assert "A person is asked" in page
    assert "your rule" in page
    assert "Rather not." in page
    page = text_of(boss, f"{PAGE}?tool=web&role=developer")
    assert "Denied" in page
    assert "a built-in rule" in page
    assert "Allowed" in text_of(boss, "/settings/rules/?tool=edit&role=writer&arguments=path: a.md")
    assert not Approval.objects.filter(kind="tool").exists()


def test_an_approval_shows_the_call_and_the_rule_that_asked(boss: Client, asked: Approval) -> None:
    page = boss.get(f"/approvals/{asked.pk}/").text
    assert "rm -rf &lt;b&gt;" in page
    assert "rm -rf <b>" not in page
    page = unescape(page)
    assert "Mind the files." in page
    assert f"/settings/rules/#rule-{ToolRule.objects.get().pk}" in page
    assert all(word in page for word in ("Allow once", "Allow for this swarm", "Always allow", "Deny"))
    assert "Allow once" in text_of(boss, "/approvals/")
    assert "Always allow" in text_of(boss, f"/admin/swarms/approval/{asked.pk}/change/")


@pytest.mark.parametrize(("verdict", "life"), [("approve", "once"), ("swarm", "swarm"), ("always", "always")])
@pytest.mark.parametrize("where", ["dashboard", "admin"])
def test_an_answer_becomes_a_rule_that_is_seen(
    boss: Client, asked: Approval, verdict: str, life: str, where: str
) -> None:
    if where == "dashboard":
        boss.post(f"/approvals/{asked.pk}/decide/", {"verdict": verdict, "because": "It is mine."})
    else:
        boss.post(f"/admin/swarms/approval/{asked.pk}/change/", {f"_{verdict}": "1", "because": "It is mine."})
    rule = ToolRule.objects.get(approval=asked)
    assert (rule.life, rule.why) == (life, "It is mine.")
    page = text_of(boss, PAGE)
    assert "the answer to an approval" in page
    assert "is exactly rm -rf <b>" in " ".join(page.replace("<code>", "").replace("</code>", "").split())
    boss.post(f"/settings/rules/{rule.pk}/revoke/")
    rule.refresh_from_db()
    assert rule.revoked_at is not None


@pytest.mark.parametrize("where", ["dashboard", "admin"])
def test_a_no_needs_a_reason_and_makes_no_rule(boss: Client, asked: Approval, where: str) -> None:
    for because in ("", "Not that."):
        if where == "dashboard":
            boss.post(f"/approvals/{asked.pk}/decide/", {"verdict": "reject", "because": because})
        else:
            boss.post(f"/admin/swarms/approval/{asked.pk}/change/", {"_reject": "1", "because": because})
        asked.refresh_from_db()
        assert asked.state == ("rejected" if because else "pending")
    assert not ToolRule.objects.filter(approval=asked).exists()


def test_who_may_only_approve_is_not_offered_a_rule_that_stays(
    asked: Approval, team: Team, client_for: ClientFor
) -> None:
    client = client_for(member(team, Role.APPROVER), team)
    page = text_of(client, f"/approvals/{asked.pk}/")
    assert "Allow for this swarm" in page
    assert "Always allow" not in page
    client.post(f"/approvals/{asked.pk}/decide/", {"verdict": "always"})
    asked.refresh_from_db()
    assert asked.state == "pending"


def test_what_a_project_is_exposed_to_is_an_event(boss: Client, stage: Stage) -> None:
    boss.post(f"{PAGE}exposure/", {"untrusted_input": "on"})
    event = Event.objects.get(kind="exposure.set")
    assert (event.subject, event.payload) == (stage.project.topic, {"untrusted_input": True, "has_secrets": False})


def test_another_teams_rules_are_not_there(stage: Stage, globex: Team, client_for: ClientFor) -> None:
    rule = toolrules.make(by=stage.by, tool="web", verdict="ask")
    stranger = client_for(user_of("alice", "globex"), globex)
    assert stranger.post(f"/settings/rules/{rule.pk}/revoke/").status_code == 404
    assert "ask" not in stranger.get("/settings/rules/").text.partition("Built-in rules")[0].partition("<ol")[2]


class Program:
    """A member's program."""

    def __init__(self, user: User, team: Team) -> None:
        member = Membership.objects.select_related("team", "user").get(team=team, user=user)
        secret = programs.issue(member, name="tests", days=1)[1]
        self.headers = {"authorization": f"Bearer {secret}"}

    def get(self, path: str) -> Any:
        return Client().get(f"/t/acme/api/v1/{path}", headers=self.headers)

    def post(self, path: str, **body: Any) -> Any:
        content = json.dumps(body)
        return Client().post(f"/t/acme/api/v1/{path}", content, content_type="application/json", headers=self.headers)


def test_programs_read_make_move_try_and_revoke_rules(stage: Stage, team: Team) -> None:
    owner = Program(stage.by, team)
    first = owner.post("rules/add", tool="web", verdict="ask", project="textkit", why="Who knows.")
    assert first.status_code == 201
    made = first.json()
    assert (made["tool"], made["project"], made["life"], made["by"]) == ("web", "textkit", "always", str(stage.by))
    second = owner.post("rules/add", tool="w*", verdict="deny", last=True).json()
    told = owner.get("rules?project=textkit").json()
    assert [rule["id"] for rule in told["rules"]] == [made["id"], second["id"]]
    assert told["builtin"][-1]["tool"] == "*"
    assert [rule["id"] for rule in owner.get("rules").json()["rules"]] == [second["id"]]
    tried = owner.post("rules/try", tool="web", project="textkit", arguments={"url": "http://x"}).json()
    assert (tried["verdict"], tried["rule"]["id"]) == ("ask", made["id"])
    assert owner.post(f"rules/{made['id']}/down", project="textkit").status_code == 200
    assert owner.post("rules/try", tool="web", project="textkit").json()["verdict"] == "deny"
    assert owner.post(f"rules/{second['id']}/revoke").json()["revoked_at"]
    assert owner.post(f"rules/{second['id']}/revoke").status_code == 409
    assert owner.post("rules/try", tool="web", project="textkit").json()["verdict"] == "ask"
    assert owner.post(f"rules/{made['id']}/burn").status_code == 404
    assert owner.post("rules/add", tool="", verdict="maybe").status_code == 422
    assert owner.post("rules/add", tool="x", verdict="deny", sandboxed=True).status_code == 422
    assert owner.get("rules?project=nowhere").status_code == 404


def test_programs_of_others_look_and_try(stage: Stage, team: Team) -> None:
    developer = Program(user_of("bob", "acme"), team)
    assert developer.get("rules").status_code == 200
    assert developer.post("rules/try", tool="web").json()["verdict"] == "deny"
    assert developer.post("rules/add", tool="web", verdict="allow").status_code == 403
    rule = toolrules.make(by=stage.by, tool="web", verdict="ask")
    assert developer.post(f"rules/{rule.pk}/revoke").status_code == 403


def test_programs_list_and_answer_what_waits_for_a_person(stage: Stage, team: Team, asked: Approval) -> None:
    owner, bob = Program(stage.by, team), Program(user_of("bob", "acme"), team)
    approver = Program(member(team, Role.APPROVER), team)
    listed = bob.get(f"approvals?state=pending&kind=tool&swarm={stage.swarm.pk}").json()
    assert [(one["id"], one["kind"], one["digest"]) for one in listed["approvals"]] == [
        (str(asked.pk), "tool", asked.digest)
    ]
    assert listed["next"] is None
    more = bob.get("approvals?limit=1").json()
    assert (len(more["approvals"]), more["next"]) == (1, {"before": more["approvals"][0]["id"]})
    path = f"approvals/{asked.pk}"
    assert bob.get(path).json()["subject"]["arguments"] == {"command": "rm -rf <b>"}
    assert bob.post(f"{path}/approve").status_code == 403
    refused = approver.post(f"{path}/approve", life="always")
    assert refused.status_code == 403
    assert "owners and admins" in refused.json()["error"]
    for verb, body in (("approve", {"life": "ever"}), ("reject", {"because": " "}), ("reject", {}), ("burn", {})):
        assert owner.post(f"{path}/{verb}", **body).status_code == (404 if verb == "burn" else 422)
    Project.objects.update(four_eyes=True)
    Agent(stage.live, team).ask("shell", {"command": "rm x"}, "c2")
    own = owner.post(f"approvals/{Approval.objects.get(call='c2').pk}/approve")
    assert (own.status_code, "four eyes" in own.json()["error"]) == (403, True)
    assert owner.get(path).json()["four_eyes"] is False  # it was asked before
    done = approver.post(f"{path}/approve", life="swarm", because="Only here.").json()
    assert (done["state"], done["because"]) == ("approved", "Only here.")
    rule = ToolRule.objects.get(life="swarm")
    assert (rule.approval_id, rule.arguments["command"]) == (asked.pk, "rm -rf <b>")
    late = owner.post(f"{path}/reject", because="No.")
    assert (late.status_code, "Already approved" in late.json()["error"]) == (409, True)


def test_programs_decide_approvals_of_other_kinds(stage: Stage, team: Team) -> None:
    owner = Program(stage.by, team)
    waiting = [one for one in owner.get("approvals?state=pending").json()["approvals"] if one["kind"] != "tool"]
    assert waiting
    path = f"approvals/{waiting[0]['id']}"
    assert owner.post(f"{path}/approve", life="swarm").status_code == 422
    assert owner.post(f"{path}/reject", because="Not this way.").json()["state"] == "rejected"
    for wrong in ("state=happy", "kind=odd", "swarm=mine", "limit=many", "before=yesterday"):
        answer = owner.get(f"approvals?{wrong}")
        assert (answer.status_code, wrong.partition("=")[0] in answer.json()["error"]) == (422, True)


def rules(*words: str) -> str:
    out = StringIO()
    call_command("rules", *words, "--team", "acme", stdout=out)
    return out.getvalue()


def test_the_command_does_what_the_page_does_and_refuses_the_same(stage: Stage, team: Team) -> None:
    boss = ("--by", "alice@acme.example")
    given = ("--argument", "path: deploy/**", "--role", "developer", "--why", "Ask operations.", "--project", "textkit")
    rules("add", "edit", "--verdict", "deny", *given, *boss)
    made = ToolRule.objects.get()
    assert (made.tool, made.verdict, made.arguments) == ("edit", "deny", {"path": "deploy/**"})
    assert (made.role, made.why, made.project, made.made_by) == (
        "developer",
        "Ask operations.",
        Project.objects.get(slug="textkit"),
        stage.by,
    )
    rules("add", "shell", "--verdict", "allow", "--sandboxed", "--last", *boss)
    ids = [each["id"] for each in json.loads(rules("list", "--project", "textkit", "--json"))]
    assert ids[0] == str(made.pk)
    assert f"{made.pk}  deny  edit  path: deploy/**  developer  textkit" in rules("list", "--project", "textkit")
    assert str(made.pk) not in rules("list"), "it does not hold in all projects"

    call = ("try", "edit", "--argument", "path: deploy/a", "--project", "textkit")
    assert rules(*call) == "deny: Ask operations.\n"
    rules("down", ids[0], "--project", "textkit", *boss)
    assert [str(rule.pk) for rule in rulebook.of_project(made.project)] == ids[::-1]
    rules("revoke", ids[0], *boss)
    assert not rules(*call).startswith("deny")
    told = Event.objects.filter(kind="rule.changed").order_by("at", "seq")
    assert [event.payload["what"] for event in told if event.payload["rule"] == ids[0]] == ["made", "moved", "revoked"]

    viewer = member(team, Role.VIEWER)
    for words, because in (
        (("add", "shell"), "say who"),
        (("add", "shell", "--by", "nobody@acme.example"), "no member nobody@acme.example"),
        (("add", "shell", "--by", viewer.email), "may not change rules"),
        (("add", "x" * 81, *boss), "80 characters"),
        (("add", "edit", "--argument", "deploy/**", *boss), "Line 1 is no argument"),
        (("add", "shell", "--sandboxed", *boss), "Only what is allowed can depend on this"),
        (("add", "shell", "--project", "nothing", *boss), "no project nothing"),
        (("revoke", ids[0], *boss), "revoked already"),
        (("revoke", "7", *boss), "There is no rule 7"),
        (("revoke", *boss), "revoke needs a tool, or the id of a rule"),
    ):
        with pytest.raises(CommandError, match=because):
            rules(*words)
    assert ToolRule.objects.count() == 2


def test_rules_are_made_moved_and_revoked_in_the_administration(team: Team, client_for: Any) -> None:
    client = client_for(user_of("alice", "acme"), team)
    page = "/admin/swarms/toolrule/"
    given = {"verdict": "deny", "tool": "edit", "arguments": "path: deploy/**", "why": "Not that."}
    assert "Line 1 is no argument" in client.post(f"{page}add/", given | {"arguments": "deploy"}).text
    for tool in ("edit", "shell"):
        assert client.post(f"{page}add/", given | {"tool": tool, "last": "last"}).status_code == 302
    first, second = rulebook.holding()
    assert (first.tool, first.arguments, first.made_by) == ("edit", {"path": "deploy/**"}, user_of("alice", "acme"))
    client.post(page, {"action": "ask_later", "_selected_action": [str(first.pk)]})
    assert [rule.tool for rule in rulebook.holding()] == ["shell", "edit"]
    client.post(page, {"action": "revoke", "_selected_action": [str(second.pk)]})
    assert [rule.tool for rule in rulebook.holding()] == ["edit"]
    client.post(f"{page}{first.pk}/change/", {"tool": "web"})
    first.refresh_from_db()
    assert first.tool == "edit"
