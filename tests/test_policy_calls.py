"""What an agent asks before a tool does something: rules answer, or a person, once for each call."""

import json
from datetime import timedelta
from io import StringIO
from typing import Any
from uuid import uuid4

import pytest
from django.core.exceptions import ValidationError
from django.core.management import call_command
from django.db import IntegrityError, transaction
from django.test import Client
from django.utils import timezone

from agents.contracts import FailureOutcome, FailureReason
from agents.executions import end, settle
from agents.models import Execution
from agents.states import ExecutionState
from sessions.models import Event
from swarms import approvals, conditions, rulebook, toolrules
from swarms.approvals import NotDecidable
from swarms.models import Approval, ToolRule
from swarms.refusals import NotNow
from tenants import tokens
from tenants.members import add_member
from tenants.models import Due, Team, User
from tenants.roles import Role
from tests.board_stage import Stage
from tests.conftest import user_of
from tests.stage_parts import execution

RM = {"command": "rm -rf build"}


@pytest.fixture
def stage(team: Team) -> Stage:
    made = Stage(user_of("alice", "acme"))
    Execution.objects.filter(pk=made.live.pk).update(assignment={"role": "developer"})
    made.live.refresh_from_db()
    return made


@pytest.fixture
def boss(stage: Stage) -> User:
    return stage.by


@pytest.fixture
def approver(team: Team) -> User:
    user = user_of("charlie")
    add_member(team, user, Role.APPROVER)
    return user


class Agent:
    """An agent that asks over HTTP."""

    def __init__(self, live: Execution, team: Team) -> None:
        self.live = live
        self.secret = tokens.issue("attempt", team=team, subject=f"execution:{live.pk}")[1]

    def post(self, **body: Any) -> Any:
        return Client().post(
            f"/t/acme/runner/{self.live.pk}/permission",
            json.dumps({"fence": str(self.live.fence)} | body),
            content_type="application/json",
            headers={"authorization": f"Bearer {self.secret}"},
        )

    def ask(self, tool: str, arguments: dict[str, Any], call: str = "") -> tuple[str, str]:
        answer = self.post(tool=tool, arguments=arguments, call=call or uuid4().hex)
        assert answer.status_code == 200, answer.content
        return answer.json()["verdict"], answer.json()["why"]


@pytest.fixture
def agent(stage: Stage, team: Team) -> Agent:
    return Agent(stage.live, team)


@pytest.fixture
def asking(boss: User) -> ToolRule:
    return toolrules.make(by=boss, tool="shell", verdict="ask", arguments={"command": "rm *"}, why="Mind the files.")


def pending() -> Approval:
    return Approval.objects.get(kind="tool", state="pending")


def test_the_built_in_rules_let_an_agent_work_and_keep_the_network_away(agent: Agent) -> None:
    assert agent.ask("edit", {"path": "src/a.py", "content": "x"}) == ("allow", "")
    assert agent.ask("shell", {"command": "make; make test"}) == ("allow", "")
    assert agent.ask("web", {"url": "http://x"})[0] == "deny"
    verdict, why = agent.ask("edit", {"path": "../x"})
    assert (verdict, why) == ("deny", "Not allowed. No rule allows it.")
    assert not Approval.objects.filter(kind="tool").exists()


def test_no_command_runs_where_nothing_locks_it_in(agent: Agent, stage: Stage, settings: Any) -> None:
    type(stage.runner).objects.update(sandbox="none")
    settings.MODEL_REHEARSAL = False
    assert agent.ask("shell", {"command": "ls"})[0] == "deny"
    settings.MODEL_REHEARSAL = True
    assert agent.ask("shell", {"command": "ls"})[0] == "allow"


def test_a_person_is_asked_once_and_allows_one_call(agent: Agent, asking: ToolRule, boss: User, stage: Stage) -> None:
    assert agent.ask("shell", RM, "c1")[0] == "ask"
    assert agent.ask("shell", RM, "c1")[0] == "ask"
    asked = pending()
    assert asked.title == "developer-2 wants to use shell: rm -rf build"
    assert (asked.node, asked.execution, asked.call) == (stage.nodes["printer"], stage.live, "c1")
    assert asked.subject["rule"] == {"key": str(asking.pk), "tool": "shell", "why": "Mind the files."}
    assert asked.expires_at < timezone.now() + timedelta(minutes=16)
    assert Due.objects.filter(kind="approval", subject=asked.pk).exists()
    approvals.approve(asked, by=boss)
    assert agent.ask("shell", RM, "c1") == ("allow", "")
    assert agent.ask("shell", RM, "c1") == ("allow", ""), "who lost the answer asks again"
    assert agent.ask("shell", RM, "c2")[0] == "ask", "another call is another question"


def test_a_node_whose_agent_waits_for_a_person_says_so(
    agent: Agent, asking: ToolRule, boss: User, stage: Stage, client_for: Any, team: Team
) -> None:
    node = stage.nodes["printer"]
    node.refresh_from_db()
    assert node.state == "running"
    assert conditions.of_node(node) == []
    agent.ask("shell", RM, "c1")
    [reason] = conditions.of_node(node)
    assert (reason.kind, reason.text) == ("approval", "a person must decide whether its agent may use a tool")
    assert reason.since == pending().requested_at
    out = StringIO()
    call_command("why", str(node.pk), stdout=out)
    assert f"- {reason.text} (since " in out.getvalue()
    page = client_for(boss, team).get(f"/projects/{stage.project.slug}/swarms/{stage.swarm.number}/nodes/printer/")
    assert "A person must decide whether its agent may use a tool (for " in page.content.decode()
    approvals.approve(pending(), by=boss)
    assert conditions.of_node(node) == []


def test_an_answer_is_for_no_other_arguments(agent: Agent, asking: ToolRule, boss: User) -> None:
    agent.ask("shell", RM, "c1")
    approvals.approve(pending(), by=boss)
    for tool, arguments in (("shell", {"command": "rm -rf /"}), ("shell", RM | {"cwd": ".."}), ("web", RM)):
        answer = agent.post(tool=tool, arguments=arguments, call="c1")
        assert answer.status_code == 422
        assert "with another tool or other arguments" in answer.json()["faults"][0]
    assert agent.ask("shell", RM, "c1")[0] == "allow"


def test_an_answer_is_for_no_other_agent(agent: Agent, asking: ToolRule, boss: User, stage: Stage, team: Team) -> None:
    agent.ask("shell", RM, "c1")
    approvals.approve(pending(), by=boss)
    other = execution(stage.swarm, stage.runner, "plan:x", "developer-9", kind="work", state="running")
    Execution.objects.filter(pk=other.pk).update(assignment={"role": "developer"})
    assert Agent(Execution.objects.get(pk=other.pk), team).ask("shell", RM, "c1")[0] == "ask"


def test_an_answer_for_the_swarm_is_a_rule_for_these_arguments(
    agent: Agent, asking: ToolRule, approver: User, stage: Stage
) -> None:
    agent.ask("shell", RM, "c1")
    approvals.approve(pending(), by=approver, life="swarm", because="It is only build output.")
    rule = ToolRule.objects.get(life="swarm")
    assert (rule.swarm, rule.project, rule.role, rule.arguments) == (stage.swarm, stage.project, "developer", RM)
    assert (rule.made_by, rule.approval.call, rule.why) == (approver, "c1", "It is only build output.")
    assert agent.ask("shell", RM, "c2")[0] == "allow"
    assert agent.ask("shell", {"command": "rm -rf build/x"}, "c3")[0] == "ask"
    assert [row.pk for row in rulebook.holding()] == [rule.pk, asking.pk], "right before the rule that asked"
    toolrules.revoke(rule, by=stage.by)
    assert agent.ask("shell", RM, "c4")[0] == "ask"
    assert agent.ask("shell", RM, "c1") == ("deny", "The permission for this was taken back.")


def test_what_one_that_is_locked_in_was_allowed_is_not_allowed_to_one_that_is_not(
    agent: Agent, asking: ToolRule, boss: User, stage: Stage
) -> None:
    agent.ask("shell", RM, "c1")
    approvals.approve(pending(), by=boss, life="always")
    assert agent.ask("shell", RM)[0] == "allow"
    Execution.objects.filter(pk=stage.live.pk).update(placed={"server": "x"})
    assert agent.ask("shell", RM, "c2")[0] == "ask"
    approvals.approve(pending(), by=boss, life="always")
    assert agent.ask("shell", RM)[0] == "allow"
    Execution.objects.filter(pk=stage.live.pk).update(placed=stage.live.placed)
    assert agent.ask("shell", RM)[0] == "allow"


def test_an_answer_for_ever_is_for_those_who_make_rules(
    agent: Agent, asking: ToolRule, approver: User, boss: User, stage: Stage
) -> None:
    agent.ask("shell", RM, "c1")
    with pytest.raises(NotDecidable, match="rules that stay are for owners and admins"):
        approvals.approve(pending(), by=approver, life="always")
    approvals.approve(pending(), by=boss, life="always")
    rule = ToolRule.objects.get(approval__isnull=False)
    assert (rule.life, rule.swarm, rule.project, rule.digest) == ("always", None, stage.project, "")
    assert agent.ask("shell", RM)[0] == "allow"


def test_a_later_prohibition_is_stronger_than_an_answer(agent: Agent, asking: ToolRule, boss: User) -> None:
    agent.ask("shell", RM, "c1")
    approvals.approve(pending(), by=boss)
    toolrules.make(by=boss, tool="shell", verdict="deny", why="Not now.")
    assert agent.ask("shell", RM, "c1") == ("deny", "Not allowed. Not now.")


def test_a_no_and_its_reason_reach_the_agent(agent: Agent, asking: ToolRule, boss: User) -> None:
    agent.ask("shell", RM, "c1")
    approvals.reject(pending(), by=boss, because="Use make clean.")
    assert agent.ask("shell", RM, "c1") == ("deny", f"Not allowed. {boss} says: Use make clean.")
    assert not ToolRule.objects.filter(approval__isnull=False).exists()


def test_nobodys_answer_is_a_no(agent: Agent, asking: ToolRule) -> None:
    agent.ask("shell", RM, "c1")
    asked = pending()
    Approval.objects.filter(pk=asked.pk).update(expires_at=timezone.now() - timedelta(seconds=1))
    approvals.expire(asked.pk)
    assert agent.ask("shell", RM, "c1") == ("deny", "Not allowed: nobody decided in time.")
    assert not Due.objects.filter(kind="approval", subject=asked.pk).exists()


@pytest.mark.parametrize("how", ["lost", "reported"])
def test_the_end_of_an_agent_ends_its_questions(agent: Agent, asking: ToolRule, how: str, boss: User) -> None:
    agent.ask("shell", RM, "c1")
    asked = pending()
    if how == "lost":
        end(agent.live.pk, ExecutionState.LOST, reason="lost", because="x")
    else:
        settle(agent.live.pk, agent.live.fence, FailureOutcome(reason=FailureReason.AGENT_ERROR, message="x"))
    asked.refresh_from_db()
    assert (asked.state, asked.because) == ("void", "its agent has ended")
    with pytest.raises(NotDecidable):
        approvals.approve(asked, by=boss)
    assert agent.post(tool="shell", arguments=RM, call="c1").status_code == 409


def test_who_was_told_to_stop_may_do_nothing_more_and_asks_nobody(agent: Agent, asking: ToolRule) -> None:
    assert agent.post(tool="read", arguments={"path": "a"}, call="c1").status_code == 200
    Execution.objects.filter(pk=agent.live.pk).update(cancel_at=timezone.now())
    assert agent.post(tool="read", arguments={"path": "a"}, call="c2").status_code == 409
    assert agent.post(tool="shell", arguments=RM, call="c3").status_code == 409
    assert not Approval.objects.filter(kind="tool").exists()


def test_two_calls_of_one_agent_are_two_questions(agent: Agent, asking: ToolRule, boss: User) -> None:
    agent.ask("shell", RM, "c1")
    agent.ask("shell", {"command": "rm x"}, "c2")
    first, second = Approval.objects.filter(kind="tool").order_by("pk")
    approvals.approve(second, by=boss)
    assert agent.ask("shell", RM, "c1")[0] == "ask"
    assert agent.ask("shell", {"command": "rm x"}, "c2")[0] == "allow"
    assert first.call == "c1"


def test_strangers_the_stale_and_the_unreadable_get_nothing(agent: Agent, stage: Stage) -> None:
    assert agent.post(tool="shell", arguments=RM, call="c", fence=str(uuid4())).status_code == 409
    for wrong in ({"tool": ""}, {"call": ""}, {"call": "x" * 121}, {"more": 1}, {"arguments": "x"}):
        assert agent.post(**({"tool": "shell", "arguments": RM, "call": "c"} | wrong)).status_code == 422
    agent.secret = "wg_wrong"
    assert agent.post(tool="shell", arguments=RM, call="c").status_code == 404


def test_only_the_use_of_a_tool_is_allowed_for_longer(stage: Stage, boss: User) -> None:
    with pytest.raises(NotDecidable, match="Only the use of a tool"):
        approvals.approve(stage.landing, by=boss, life="swarm")


def test_reading_needs_no_question_until_a_rule_wants_one(stage: Stage, boss: User) -> None:
    assert rulebook.unasked(stage.swarm, "developer", sandboxed=True) == ("read", "list", "search")
    rule = toolrules.make(by=boss, tool="read", verdict="ask", arguments={"path": "secrets/**"})
    assert rulebook.unasked(stage.swarm, "developer", sandboxed=True) == ("list", "search")
    toolrules.revoke(rule, by=boss)
    assert rulebook.unasked(stage.swarm, "developer", sandboxed=True) == ("read", "list", "search")


def test_rules_are_asked_in_the_order_that_people_give_them(stage: Stage, boss: User) -> None:
    def order() -> list[str]:
        return [row.tool for row in rulebook.holding()]

    b = toolrules.make(by=boss, tool="b", verdict="deny")
    a = toolrules.make(by=boss, tool="a", verdict="deny", project=stage.project)
    toolrules.make(by=boss, tool="c", verdict="deny", last=True)
    assert order() == ["a", "b", "c"]
    toolrules.shift(a, up=False, among=rulebook.of_project(stage.project), by=boss)
    assert order() == ["b", "a", "c"]
    toolrules.shift(b, up=False, among=rulebook.of_project(None), by=boss)
    assert order() == ["a", "c", "b"]
    toolrules.shift(b, up=True, among=rulebook.of_project(None), by=boss)
    assert order() == ["a", "b", "c"]
    with pytest.raises(NotNow, match="the first one"):
        toolrules.shift(a, up=True, among=rulebook.of_project(stage.project), by=boss)
    with pytest.raises(NotNow, match="not in this list"):
        toolrules.shift(a, up=True, among=rulebook.of_project(None), by=boss)
    toolrules.revoke(b, by=boss)
    with pytest.raises(NotNow, match="revoked already"):
        toolrules.revoke(b, by=boss)
    assert order() == ["a", "c"]


def test_answers_take_no_room_from_rules(agent: Agent, asking: ToolRule, boss: User, monkeypatch: Any) -> None:
    for call, life in (("c1", "once"), ("c2", "swarm")):
        agent.ask("shell", RM, call)
        approvals.approve(pending(), by=boss, life=life)
    monkeypatch.setattr(toolrules, "MOST", 2)
    toolrules.make(by=boss, tool="web", verdict="deny")
    with pytest.raises(ValidationError, match="2 rules at most"):
        toolrules.make(by=boss, tool="web", verdict="ask")


def test_moving_a_rule_asks_the_database_as_often_however_many_there_are(
    stage: Stage, boss: User, django_assert_max_num_queries: Any
) -> None:
    rules = [toolrules.make(by=boss, tool=f"t{number}", verdict="deny", last=True) for number in range(12)]
    ToolRule.objects.update(position=7)
    with django_assert_max_num_queries(10):
        toolrules.shift(rules[3], up=True, among=rulebook.of_project(None), by=boss)
    assert [row.tool for row in rulebook.holding()][2:4] == ["t3", "t2"]


def test_every_change_of_a_rule_is_an_event(agent: Agent, asking: ToolRule, boss: User, stage: Stage) -> None:
    agent.ask("shell", RM, "c1")
    approvals.approve(pending(), by=boss, life="swarm")
    toolrules.shift(asking, up=True, among=rulebook.of_project(stage.project), by=boss)
    toolrules.revoke(asking, by=boss)
    told = Event.objects.filter(kind="rule.changed").order_by("pk")
    assert [(event.subject, event.payload["what"]) for event in told] == [
        ("team", "made"),
        (stage.project.topic, "made"),
        ("team", "moved"),
        ("team", "revoked"),
    ]
    assert {event.actor for event in told} == {f"user:{boss.pk}"}
    assert told[1].payload["approval"] == str(Approval.objects.get(kind="tool").pk)


@pytest.mark.parametrize(
    "change",
    [
        {"tool": "*"},
        {"verdict": "deny"},
        {"arguments": {}},
        {"role": "writer"},
        {"exact": True},
        {"project": None, "why": "other"},
        {"revoked_at": timezone.now()},
        {"life": "swarm"},
        {"life": "once"},
        {"made_at": timezone.now()},
    ],
)
def test_what_a_rule_says_cannot_be_changed(stage: Stage, boss: User, change: dict[str, Any]) -> None:
    rule = toolrules.make(by=boss, tool="shell", verdict="allow", arguments={"command": "ls"}, project=stage.project)
    with pytest.raises(IntegrityError), transaction.atomic():
        ToolRule.objects.filter(pk=rule.pk).update(**change)
    toolrules.revoke(rule, by=boss)
    with pytest.raises(IntegrityError), transaction.atomic():
        ToolRule.objects.filter(pk=rule.pk).update(revoked_at=None, revoked_by=None)


@pytest.mark.parametrize("fields", [{"call": "c"}, {"call": "", "kind": "tool"}, {"kind": "tool", "call": "c"}])
def test_an_approval_of_a_call_names_the_call_and_its_agent(stage: Stage, fields: dict[str, Any]) -> None:
    words: dict[str, Any] = {"kind": "budget", "swarm": stage.swarm, "title": "x", "subject": {}, "digest": "x"}
    with pytest.raises(IntegrityError), transaction.atomic():
        Approval.objects.create(**(words | {"expires_at": timezone.now()} | fields))
