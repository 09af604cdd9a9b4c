"""A swarm from goal to landing, with real git and Postgres; the runner is tests/hands.py."""

import subprocess
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from django.db import transaction
from django.db.utils import IntegrityError
from django.utils import timezone

from agents import executions
from agents.contracts import Assignment, Check, FailureOutcome, FailureReason, PlanNode, PlanProposal, WorkOutcome
from agents.models import Execution
from sessions.models import Event
from swarms import approvals, conditions, dispatch, goals, operations, plan_yaml, projects
from swarms.digests import digest
from swarms.feed import feed
from swarms.models import Approval, Attempt, CheckRun, Edge, Merge, Node, Plan, Project, Swarm
from swarms.workspace.git import environment
from tenants.models import Due, Placement, Team, Ticket, Token
from tests.conftest import user_of
from tests.hands import Hands
from tests.invariants import violations

PLAN = PlanProposal(
    summary="Two files at once, then one that needs them, then a review.",
    nodes=(
        PlanNode(
            key="a",
            title="Write a",
            role="developer",
            instructions="a.txt",
            writes=("a.txt", "list.txt"),
            checks=(Check(name="a", command="grep -q good a.txt"),),
        ),
        PlanNode(
            key="b",
            title="Write b",
            role="developer",
            instructions="b.txt",
            writes=("b.txt", "list.txt"),
            checks=(Check(name="b", command="test -f b.txt"),),
        ),
        PlanNode(
            key="c",
            title="Join them",
            role="developer",
            instructions="c.txt",
            depends_on=("a", "b"),
            writes=("c.txt",),
            risk="high",
        ),
        PlanNode(key="r", title="Review", role="reviewer", instructions="look", depends_on=("c",)),
    ),
    acceptance=(Check(name="all", command="test -f a.txt -a -f b.txt -a -f c.txt"),),
)


def worker(assignment: Assignment, work: Path) -> str:
    """Writes what each node asks for: a is wrong at first, a and b change the same line of list.txt."""
    key = assignment.briefing.split("`")[1]
    again = assignment.attempt > 1
    (work / f"{key}.txt").write_text("good\n" if again or key != "a" else "bad\n")
    if key in "ab":
        listed = (work / "list.txt").read_text().strip().strip("[]")
        names = sorted({*filter(None, listed.split(",")), key})
        (work / "list.txt").write_text(f"[{','.join(names)}]\n")
    return f"wrote {key}"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A repository with one commit."""
    folder = tmp_path / "source"
    folder.mkdir()
    (folder / "list.txt").write_text("[]\n")
    for args in (["init", "-q", "-b", "main"], ["add", "."], ["commit", "-q", "-m", "begin"]):
        subprocess.run(["git", *args], cwd=folder, env=environment(), check=True)
    return folder


@pytest.fixture
def project(team: Team, source: Path, settings: object, tmp_path: Path, broker: object) -> Project:
    """A project of acme whose repository has been copied."""
    settings.DATA_DIR = tmp_path / "data"  # type: ignore[attr-defined]
    settings.LOCAL_SOURCES = True  # type: ignore[attr-defined]
    made = projects.add_project(
        name="Lists",
        slug="lists",
        source=str(source),
        checks=[Check(name="list", command="test -f list.txt")],
        by=user_of("alice", "acme"),
    )
    projects.fetch(made.pk)
    made.refresh_from_db()
    assert made.state == "ready", made.because
    return made


@pytest.fixture(autouse=True)
def invariants(project: Project, team: Team) -> Iterator[None]:
    """Whatever a test did, these hold at its end."""
    yield
    assert violations(team.schema_name) == []


@pytest.fixture
def hands(team: Team) -> Hands:
    return Hands(team, PLAN, worker, by=user_of("alice", "acme"))


def test_a_goal_becomes_a_landing_through_a_failed_check_and_a_conflict(
    project: Project, hands: Hands, source: Path
) -> None:
    swarm = goals.state_goal(project, "Write the files", by=user_of("alice", "acme"))
    hands.run(swarm)
    assert swarm.state == "succeeded", swarm.because
    assert swarm.pushed_because == ""
    assert sorted(path.name for path in source.glob("*.txt")) == ["a.txt", "b.txt", "c.txt", "list.txt"]
    assert (source / "list.txt").read_text() == "[a,b]\n"
    reasons = list(Attempt.objects.exclude(reason="").order_by("created_at").values_list("node__key", "reason"))
    assert ("a", "check_failed") in reasons
    assert "merge_conflict" in {reason for _, reason in reasons}, reasons
    assert Approval.objects.filter(state="approved").count() == 3
    assert CheckRun.objects.get(purpose="before").state == "failed"
    assert CheckRun.objects.get(purpose="landing").state == "passed"
    assert Ticket.objects.count() == Placement.objects.count() == 0
    assert not Due.objects.exclude(kind="advance").exists()
    assert not Token.objects.filter(kind="attempt", revoked_at=None).exists()
    for subject in Event.objects.values_list("subject", flat=True).distinct():
        numbers = list(Event.objects.filter(subject=subject).order_by("seq").values_list("seq", flat=True))
        assert numbers == list(range(1, len(numbers) + 1))
    said = [item.said.text for item in feed(swarm)]
    assert [text for text in said if text.startswith("Decision of the engine")] == [
        "Decision of the engine: land what was checked",
        "Decision of the engine: check the commit that would land",
        "Decision of the engine: check the whole result",
    ]
    told = Counter(text for text in said if not text.endswith((": checking", "tried again", " passed")))
    assert [text for text, count in told.items() if count > 1] == []
    for once in (" is merged", "Landed on main", "Plan 1 by"):
        assert len([text for text in said if once in text]) == (3 if once == " is merged" else 1), (once, said)


def start(project: Project, hands: Hands, until: str) -> Swarm:
    """A swarm whose plan is approved, with node `until` placed on the runner and not yet begun."""
    swarm = goals.state_goal(project, "Write the files", by=hands.by)
    original = hands.carry_out

    def stop_at(assignment: Assignment) -> list[str]:
        if f"`{until}`" in assignment.briefing.split("\n")[0]:
            hands.held.append(assignment)
            return []
        return original(assignment)

    hands.carry_out = stop_at  # type: ignore[method-assign]
    hands.run(swarm)
    hands.carry_out = original  # type: ignore[method-assign]
    assert len(hands.held) == 1
    return swarm


def expire(execution: Execution) -> None:
    Execution.objects.filter(pk=execution.pk).update(lease_until=timezone.now() - timedelta(seconds=1))


def test_a_lost_attempt_is_tried_again_and_its_late_result_is_refused(project: Project, hands: Hands) -> None:
    swarm = start(project, hands, "b")
    held = hands.held[0]
    execution = Execution.objects.get(pk=held.execution)
    assert not executions.reap(execution.pk)
    expire(execution)
    assert executions.reap(execution.pk)
    before = list(Attempt.objects.values_list("state", "commit"))
    with pytest.raises(executions.Stale):
        executions.settle(held.execution, held.fence, WorkOutcome(commit="0" * 40, summary="late"))
    assert executions.accept(held.execution, held.fence) == "stale"
    assert executions.heartbeat(held.execution, held.fence, 1) == "stale"
    assert list(Attempt.objects.values_list("state", "commit")) == before
    hands.run(swarm)
    assert swarm.state == "succeeded", swarm.because
    states = list(Attempt.objects.filter(node__key="b").order_by("number").values_list("number", "state"))
    assert states[0] == (1, "lost")
    assert Node.objects.get(key="b").failures <= 1


def test_an_outcome_that_comes_twice_counts_once(project: Project, hands: Hands) -> None:
    start(project, hands, "b")
    held = hands.held[0]
    executions.accept(held.execution, held.fence)
    outcome = hands.outcome(held)
    assert executions.settle(held.execution, held.fence, outcome) == []
    events = Event.objects.count()
    assert executions.settle(held.execution, held.fence, outcome) == []
    assert Event.objects.count() == events


def test_a_commit_that_was_not_pushed_is_a_fault_and_the_agent_may_go_on(project: Project, hands: Hands) -> None:
    start(project, hands, "b")
    held = hands.held[0]
    executions.accept(held.execution, held.fence)
    faults = executions.settle(held.execution, held.fence, WorkOutcome(commit="1" * 40, summary="x"))
    assert "push it" in faults[0]
    assert Execution.objects.get(pk=held.execution).state == "running"


def test_three_losses_in_a_row_are_poison_and_the_target_stays_untouched(
    project: Project, hands: Hands, source: Path
) -> None:
    swarm = start(project, hands, "b")
    for _ in range(3):
        held = hands.held[-1]
        expire(Execution.objects.get(pk=held.execution))
        assert executions.reap(held.execution)
        dispatch.dispatch()
        for placement in Placement.objects.filter(delivered_at=None):
            assignment = executions.deliver(placement.execution, hands.team)
            assert assignment is not None
            hands.held.append(assignment)
    hands.run(swarm)
    assert swarm.state == "failed"
    assert "poison" in swarm.because
    assert not (source / "a.txt").exists()
    assert Ticket.objects.count() == Placement.objects.count() == 0


def test_work_outside_its_scope_goes_back_with_the_reason(project: Project, hands: Hands) -> None:
    def strays(assignment: Assignment, work: Path) -> str:
        if assignment.attempt == 1:
            (work / "elsewhere.txt").write_text("x")
        return worker(assignment, work)

    hands.worker = strays
    swarm = goals.state_goal(project, "Write the files", by=hands.by)
    hands.run(swarm)
    assert swarm.state == "succeeded", swarm.because
    first = Attempt.objects.get(node__key="c", number=1)
    assert first.reason == "out_of_scope"
    assert "elsewhere.txt" in first.evidence
    again = Attempt.objects.get(node__key="c", number=2).execution.assignment["briefing"]
    assert "Reason: out_of_scope" in again
    assert "elsewhere.txt" in again


def test_a_node_that_keeps_failing_fails_the_swarm(project: Project, hands: Hands) -> None:
    hands.worker = lambda assignment, work: FailureOutcome(reason=FailureReason.NO_CHANGES, message="nothing to do")
    swarm = goals.state_goal(project, "Write the files", by=hands.by)
    hands.run(swarm)
    assert swarm.state == "failed"
    assert Node.objects.get(key="a").attempts_made <= 3
    assert {node.state for node in Node.objects.all()} <= {"failed", "cancelled"}


def test_cancelling_stops_live_work_and_refuses_what_comes_late(project: Project, hands: Hands) -> None:
    swarm = start(project, hands, "b")
    held = hands.held[0]
    assert executions.accept(held.execution, held.fence) == "continue"
    operations.cancel(swarm, by=hands.by)
    assert executions.heartbeat(held.execution, held.fence, 1) == "cancel"
    executions.settle(
        held.execution, held.fence, FailureOutcome(reason=FailureReason.CANCELLED, message="stopped on request")
    )
    hands.run(swarm, approve=False)
    assert swarm.state == "cancelled"
    assert swarm.because == "cancelled by Alice"
    assert not Approval.objects.filter(state="pending").exists()
    assert {node.state for node in Node.objects.all()} <= {"succeeded", "cancelled"}


def test_nothing_starts_while_a_swarm_is_paused(project: Project, hands: Hands) -> None:
    swarm = start(project, hands, "b")
    operations.pause(swarm, by=hands.by)
    expire(Execution.objects.get(pk=hands.held[0].execution))
    executions.reap(hands.held[0].execution)
    attempts_before = Attempt.objects.count()
    hands.run(swarm)
    assert swarm.state == "paused"
    assert Attempt.objects.count() == attempts_before
    operations.resume(swarm, by=hands.by)
    hands.run(swarm)
    assert swarm.state == "succeeded", swarm.because


def test_a_rejected_plan_is_drafted_again_with_the_reason(project: Project, hands: Hands) -> None:
    swarm = goals.state_goal(project, "Write the files", by=hands.by)
    hands.run(swarm, approve=False)
    approvals.reject(Approval.objects.get(state="pending"), by=hands.by, because="smaller steps, please")
    hands.run(swarm, approve=False)
    assert swarm.state == "proposed"
    assert list(swarm.plans.order_by("version").values_list("state", flat=True)) == ["rejected", "proposed"]
    briefing = Execution.objects.filter(kind="plan").order_by("-created_at")[0].assignment["briefing"]
    assert "smaller steps, please" in briefing


def test_three_bad_proposals_go_to_a_person_who_gives_a_plan(project: Project, hands: Hands) -> None:
    good, bad = hands.plan, PlanProposal(summary="bad", nodes=(PLAN.nodes[0], PLAN.nodes[0]))
    swarm = goals.state_goal(project, "Write the files", by=hands.by)
    hands.plan = bad
    dispatch.dispatch()
    assignment = executions.deliver(Placement.objects.get().execution, hands.team)
    assert assignment is not None
    executions.accept(assignment.execution, assignment.fence)
    for rest in (True, True, False):
        faults = executions.settle(assignment.execution, assignment.fence, hands.outcome(assignment))
        assert bool(faults) is rest
    plan = swarm.plans.get()
    assert plan.state == "invalid"
    assert any("used 2 times" in fault for fault in plan.faults)
    assert Node.objects.count() == 0
    with pytest.raises(plan_yaml.PlanFaults, match="nodes"):
        goals.give_plan(swarm, "summary: nothing", by=hands.by)
    goals.give_plan(swarm, plan_yaml.write_yaml(good.model_dump(mode="json")), by=hands.by)
    hands.run(swarm)
    assert swarm.state == "succeeded", swarm.because


def test_a_target_branch_that_moved_is_merged_and_checked_again(project: Project, hands: Hands, source: Path) -> None:
    swarm = goals.state_goal(project, "Write the files", by=hands.by)
    while not Approval.objects.filter(kind="landing").exists():
        assert hands.turn() or hands.approve_all()
    (source / "other.txt").write_text("by a person\n")
    for args in (["add", "."], ["commit", "-q", "-m", "meanwhile"]):
        subprocess.run(["git", *args], cwd=source, env=environment(), check=True)
    hands.run(swarm)
    assert swarm.state == "succeeded", swarm.because
    assert (source / "other.txt").exists()
    assert (source / "c.txt").exists()


def test_a_source_that_refuses_the_push_is_told(project: Project, hands: Hands, source: Path) -> None:
    swarm = goals.state_goal(project, "Write the files", by=hands.by)
    while not Approval.objects.filter(kind="landing").exists():
        assert hands.turn() or hands.approve_all()
    (source / "list.txt").write_text("somebody is at work here\n")
    hands.run(swarm)
    assert swarm.state == "succeeded"
    assert "not pushed" in swarm.pushed_because
    assert swarm.landed_commit


def test_an_approval_is_decided_once_and_only_by_those_who_may(project: Project, hands: Hands) -> None:
    swarm = goals.state_goal(project, "Write the files", by=hands.by)
    hands.run(swarm, approve=False)
    gate = Approval.objects.get(state="pending")
    with pytest.raises(approvals.NotDecidable, match="role"):
        approvals.approve(gate, by=user_of("vera", "acme"))
    with pytest.raises(approvals.NotDecidable, match="role"):
        approvals.approve(gate, by=user_of("alice", "globex"))
    with pytest.raises(approvals.NotDecidable, match="why"):
        approvals.reject(gate, by=hands.by, because=" ")
    approvals.approve(gate, by=hands.by, because="fine")
    with pytest.raises(approvals.NotDecidable, match="Already approved by Alice"):
        approvals.reject(gate, by=hands.by, because="too late")


def test_an_approval_of_something_that_changed_is_void_and_asked_again(project: Project, hands: Hands) -> None:
    swarm = goals.state_goal(project, "Write the files", by=hands.by)
    while not Approval.objects.filter(kind="node", state="pending").exists():
        assert hands.turn() or hands.approve_all()
    gate = Approval.objects.get(kind="node")
    plan = swarm.plans.get()
    for written in plan.document["nodes"]:
        if written["key"] == "c":
            written["instructions"] = "something else"
    Plan.objects.filter(pk=plan.pk).update(document=plan.document, digest=digest(plan.document))
    Node.objects.filter(key="c").update(instructions="something else")
    with pytest.raises(approvals.NotDecidable, match="changed"):
        approvals.approve(gate, by=hands.by)
    gate.refresh_from_db()
    assert gate.state == "void"
    hands.run(swarm)
    assert swarm.state == "succeeded", swarm.because
    assert Approval.objects.filter(kind="node").count() == 2


def test_the_database_refuses_rogue_changes(project: Project, hands: Hands) -> None:
    swarm = goals.state_goal(project, "Write the files", by=hands.by)
    hands.run(swarm)
    assert swarm.state == "succeeded"

    def refused(change: object) -> None:
        with pytest.raises(IntegrityError), transaction.atomic():
            change()  # type: ignore[operator]

    refused(lambda: Swarm.objects.update(state="running"))
    refused(lambda: Node.objects.filter(key="a").update(state="ready"))
    refused(lambda: Node.objects.filter(key="a").update(summary="rewritten"))
    refused(lambda: Attempt.objects.filter(state="succeeded").update(state="failed"))
    refused(lambda: Approval.objects.update(state="rejected"))
    with transaction.atomic():
        asked = {"kind": "rollback", "title": "x", "subject": {}, "digest": "", "expires_at": timezone.now()}
        made = Approval.objects.create(swarm=swarm, four_eyes=True, **asked)
        gate = Approval.objects.filter(pk=made.pk)
        refused(lambda: gate.update(four_eyes=False))
        refused(lambda: gate.update(requested_by=hands.by))
        refused(lambda: gate.update(subject={"commit": "x"}, digest="x"))
        transaction.set_rollback(True)
    refused(lambda: Merge.objects.filter(state="merged").update(commit="0" * 40))
    refused(lambda: Execution.objects.update(state="running"))
    refused(lambda: Edge.objects.all().delete())
    refused(lambda: Node.objects.filter(key="a").update(state="nonsense"))


def test_why_a_node_does_not_run_is_told(project: Project, hands: Hands) -> None:
    start(project, hands, "b")
    reasons = {why.kind: why.text for why in conditions.of_node(Node.objects.get(key="r"))}
    assert reasons == {"dependency": "waits for c (blocked)"}


def test_an_assignment_is_given_once(project: Project, hands: Hands) -> None:
    goals.state_goal(project, "Write the files", by=hands.by)
    dispatch.dispatch()
    execution = Placement.objects.get().execution
    assert executions.deliver(execution, hands.team) is not None
    assert executions.deliver(execution, hands.team) is None
    assert Token.objects.filter(subject=f"execution:{execution}", revoked_at=None).count() == 1
