"""Every clock that an execution or a node lives under, on real rows; and what a late report meets."""

import subprocess
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.utils import timezone

from agents import executions, runners
from agents.contracts import Assignment, FailureOutcome, FailureReason, PlanNode, PlanProposal, WorkOutcome
from agents.contracts.link import Beat
from agents.models import Execution
from agents.states import ExecutionState
from swarms import dispatch, engine, goals, operations, planned, projects, reconcile
from swarms.checks import MAX_TRIES
from swarms.digests import digest
from swarms.models import Attempt, Node, Plan, Project, Swarm
from swarms.reasons import RULES, rule_of
from swarms.sweep import Sweep
from swarms.workspace.git import environment
from tenants.models import Due, Team, Ticket
from tests.conftest import user_of
from tests.hands import Hands, Worker
from tests.invariants import violations

PLAN = PlanProposal(
    summary="One file.",
    nodes=(PlanNode(key="a", title="Write a", role="developer", instructions="a.txt", writes=("a.txt",), minutes=7),),
)


def write(assignment: Assignment, work: Path) -> str:
    (work / "a.txt").write_text("good\n")
    return "wrote a"


class Holding(Hands):
    """Begins with work on nodes and holds it, until it is let go on."""

    def __init__(self, team: Team, worker: Worker = write) -> None:
        super().__init__(team, PLAN, worker, by=user_of("alice", "acme"))
        self.holds = True

    def carry_out(self, assignment: Assignment) -> list[str]:
        if not self.holds or assignment.kind != "work":
            return super().carry_out(assignment)
        assert executions.accept(assignment.execution, assignment.fence) == "continue"
        self.held.append(assignment)
        return []

    def again(self, swarm: Swarm) -> Assignment:
        """The next attempt at work that is held."""
        count = len(self.held)
        Ticket.objects.update(not_before=timezone.now())
        self.run(swarm)
        assert len(self.held) == count + 1, Node.objects.values_list("state", "because")
        return self.held[-1]


def source_project(settings: Any, folder: Path) -> Project:
    """A project whose repository has been copied, and that asks nobody."""
    source = folder / "source"
    source.mkdir()
    (source / "list.txt").write_text("[]\n")
    for args in (["init", "-q", "-b", "main"], ["add", "."], ["commit", "-q", "-m", "begin"]):
        subprocess.run(["git", *args], cwd=source, env=environment(), check=True)
    settings.DATA_DIR, settings.LOCAL_SOURCES = folder / "data", True
    made = projects.add_project(name="Lists", slug="lists", source=str(source), checks=[], by=user_of("alice", "acme"))
    projects.fetch(made.pk)
    Project.objects.update(approve_plan=False, approve_landing=False)
    made.refresh_from_db()
    return made


@pytest.fixture
def project(team: Team, settings: Any, tmp_path: Path, broker: object) -> Project:
    return source_project(settings, tmp_path)


@pytest.fixture(autouse=True)
def invariants(project: Project, team: Team) -> Iterator[None]:
    """Whatever a test did, these hold at its end."""
    yield
    assert violations(team.schema_name) == []


@pytest.fixture
def hands(team: Team) -> Holding:
    return Holding(team)


@pytest.fixture
def swarm(project: Project, hands: Holding) -> Swarm:
    """A swarm with its only node at work on the runner."""
    made = goals.state_goal(project, "Write the file", by=hands.by)
    hands.run(made)
    assert [one.title for one in hands.held] == ["Write a (attempt 1)"]
    return made


def age(assignment: Assignment, **fields: timedelta) -> None:
    """Put times of an execution, and what is due about it, into the past."""
    for field, past in fields.items():
        Execution.objects.filter(pk=assignment.execution).update(**{field: timezone.now() - past})
    Due.objects.filter(subject=assignment.execution).update(due_at=timezone.now() - timedelta(seconds=1))


def beat(hands: Hands, assignment: Assignment, progress: int) -> str:
    """The runner says that it is at work."""
    said = [Beat(execution=assignment.execution, fence=assignment.fence, progress=progress)]
    return runners.beats(hands.runner.pk, said)[assignment.execution].verdict


def refused(assignment: Assignment) -> None:
    """Whatever comes late changes nothing."""
    before = list(Attempt.objects.order_by("pk").values_list("state", "reason", "commit"))
    for outcome in (
        WorkOutcome(commit="0" * 40, summary="late"),
        FailureOutcome(reason=FailureReason.AGENT_ERROR, message="late"),
    ):
        with pytest.raises(executions.Stale):
            executions.settle(assignment.execution, assignment.fence, outcome)
    assert executions.accept(assignment.execution, assignment.fence) == "stale"
    assert executions.heartbeat(assignment.execution, assignment.fence, 99) == "stale"
    assert list(Attempt.objects.order_by("pk").values_list("state", "reason", "commit")) == before


def test_a_plan_says_how_long_an_attempt_may_take_and_the_runner_knows_it(swarm: Swarm, hands: Holding) -> None:
    held = hands.held[0]
    assert held.time_limit == 7 * 60
    execution = Execution.objects.get(pk=held.execution)
    assert execution.deadline_at
    assert execution.started_at
    assert execution.deadline_at - execution.started_at > timedelta(minutes=7)
    assert {due.kind for due in Due.objects.filter(subject=execution.pk)} == {"lease", "close", "stall"}


def test_start_to_close_ends_an_attempt_whose_runner_does_not(swarm: Swarm, hands: Holding) -> None:
    held = hands.held[0]
    age(held, lease_until=timedelta(seconds=-30))
    reconcile.tick()
    assert Execution.objects.get(pk=held.execution).is_live
    age(held, lease_until=timedelta(seconds=-30), deadline_at=timedelta(seconds=1))
    reconcile.tick()
    assert Execution.objects.get(pk=held.execution).state == "timed_out"
    attempt = Attempt.objects.get()
    assert (attempt.state, attempt.reason) == ("timed_out", "timed_out")
    node = Node.objects.get()
    assert (node.state, node.failures, node.losses) == ("ready", 1, 0)
    assert node.not_before > timezone.now()
    assert beat(hands, held, 5) == "stale"
    refused(held)
    hands.holds = False
    Ticket.objects.update(not_before=timezone.now())
    hands.run(swarm)
    assert swarm.state == "succeeded", swarm.because


def test_a_stall_is_judged_on_progress_and_not_on_heartbeats(swarm: Swarm, hands: Holding) -> None:
    held = hands.held[0]
    long = timedelta(hours=1)
    age(held, progress_at=long)
    assert beat(hands, held, 7) == "continue"
    reconcile.tick()
    execution = Execution.objects.get(pk=held.execution)
    assert execution.is_live
    assert timezone.now() - execution.progress_at < timedelta(minutes=1)
    age(held, progress_at=long)
    assert beat(hands, held, 7) == "continue"  # alive, and stands still
    reconcile.tick()
    assert Execution.objects.get(pk=held.execution).state == "stalled"
    assert (Attempt.objects.get().state, Attempt.objects.get().reason) == ("stalled", "stalled")
    assert beat(hands, held, 8) == "stale"
    refused(held)
    assert not Due.objects.filter(subject=held.execution).exists()


def test_progress_never_goes_back(swarm: Swarm, hands: Holding) -> None:
    held = hands.held[0]
    beat(hands, held, 9)
    age(held, progress_at=timedelta(minutes=5))
    beat(hands, held, 3)
    execution = Execution.objects.get(pk=held.execution)
    assert execution.progress == 9
    assert timezone.now() - execution.progress_at > timedelta(minutes=4)


def test_heartbeats_keep_a_lease_and_silence_loses_it(swarm: Swarm, hands: Holding) -> None:
    held = hands.held[0]
    age(held, lease_until=timedelta(seconds=1))
    assert beat(hands, held, 1) == "continue"
    reconcile.tick()
    execution = Execution.objects.get(pk=held.execution)
    assert execution.is_live
    assert Due.objects.get(kind="lease", subject=execution.pk).due_at == execution.lease_until
    age(held, lease_until=timedelta(seconds=1))
    reconcile.tick()
    assert Execution.objects.get(pk=held.execution).state == "lost"
    # The same tick gives the work out again.
    assert Node.objects.values_list("state", "failures", "losses", "attempts_made").get() == ("running", 0, 1, 2)
    refused(held)


def test_the_third_loss_in_a_row_is_poison_and_a_runner_that_leaves_is_none(swarm: Swarm, hands: Holding) -> None:
    for losses in (1, 2):
        age(hands.held[-1], lease_until=timedelta(seconds=1))
        reconcile.tick()
        assert Node.objects.get().losses == losses
        hands.again(swarm)
    for _ in range(4):
        runners.let_go(hands.runner.pk, hands.held[-1].execution, "leaving")
        assert Attempt.objects.order_by("-number").values_list("state", "reason")[0] == ("lost", "released")
        refused(hands.held[-1])
        hands.again(swarm)
    assert Node.objects.values_list("state", "losses", "failures").get() == ("running", 2, 0)
    age(hands.held[-1], lease_until=timedelta(seconds=1))
    reconcile.tick()
    assert Node.objects.get().state == "failed"
    assert Node.objects.get().because.startswith("poison: 3 attempts")
    hands.run(swarm)
    assert swarm.state == "failed"


def test_an_attempt_that_the_provider_stops_burns_nothing(swarm: Swarm, hands: Holding) -> None:
    for _ in range(5):
        held = hands.held[-1]
        away = FailureOutcome(reason=FailureReason.PROVIDER_UNAVAILABLE, message="breaker open")
        assert executions.settle(held.execution, held.fence, away) == []
        ticket = Ticket.objects.get(kind="node")
        assert ticket.parked.startswith("provider_unavailable: breaker open")
        assert ticket.not_before > timezone.now() + timedelta(seconds=10)
        assert Node.objects.values_list("state", "losses", "failures").get() == ("ready", 0, 0)
        hands.again(swarm)
    hands.holds = False
    last = hands.held[-1]
    executions.settle(last.execution, last.fence, hands.outcome(last))
    hands.run(swarm)
    assert swarm.state == "succeeded", swarm.because


def test_checks_that_kill_one_runner_after_the_other_say_nothing_about_the_work(swarm: Swarm, hands: Holding) -> None:
    Project.objects.update(checks=[{"name": "x", "command": "true", "timeout": 5}])
    held = hands.held[0]
    executions.settle(held.execution, held.fence, hands.outcome(held))
    for _ in range(MAX_TRIES):
        assert dispatch.dispatch() == 1
        checks = Execution.objects.get(kind="check", ended_at=None)
        executions.end(checks.pk, ExecutionState.LOST, reason="lost", because="its runner is gone")
    engine.advance(swarm.pk)
    node, attempt = Node.objects.get(), Attempt.objects.get()
    assert (node.state, node.failures, attempt.reason) == ("failed", 0, "checks_broken")
    assert node.because.startswith("checks_broken: lost: ")
    assert rule_of(node.because) is RULES["checks_broken"]
    Project.objects.update(checks=[])
    swarm.refresh_from_db()
    operations.retry_swarm(swarm, by=hands.by)
    hands.holds = False
    hands.run(swarm)
    assert swarm.state == "succeeded", swarm.because


def test_a_node_that_no_runner_takes_for_too_long_fails_and_says_what_to_do(
    project: Project, swarm: Swarm, hands: Holding, team: Team
) -> None:
    runners.let_go(hands.runner.pk, hands.held[0].execution, "full")
    node = Node.objects.get()
    sweep = Sweep()
    long = timedelta(minutes=11)

    def wait(since: timedelta) -> None:
        Ticket.objects.update(created_at=timezone.now() - since)
        Node.objects.update(ready_at=timezone.now() - since)
        sweep.look(team.pk)
        node.refresh_from_db()

    wait(long)
    assert node.state == "ready"  # no limit: for ever
    Project.objects.update(start_minutes=10)
    wait(timedelta(minutes=9))
    assert node.state == "ready"
    Ticket.objects.update(parked="breaker:model")
    wait(long)
    assert node.state == "ready"  # it waits for something else than a runner
    Ticket.objects.update(parked="agent:developer: anna is draining")
    wait(long)
    assert node.state == "failed"
    assert node.because.startswith("not_scheduled: ready for more than 10 minutes")
    assert not Ticket.objects.filter(kind="node").exists()
    hands.run(swarm)
    assert swarm.state == "failed"


def test_a_failed_node_says_what_happened_and_what_to_do(
    swarm: Swarm, hands: Holding, team: Team, client_for: Any
) -> None:
    Project.objects.update(max_attempts=1)
    Node.objects.update(max_attempts=1)
    planned.tell(swarm, Node.objects.all())
    held = hands.held[0]
    executions.settle(
        held.execution, held.fence, FailureOutcome(reason=FailureReason.NO_CHANGES, message="nothing to do")
    )
    body = client_for(user_of("alice", "acme"), team).get("/projects/lists/swarms/1/nodes/a/").content.decode()
    assert body.count("The agent ended without changing anything.") == 2  # of the node, and of its attempt
    assert "Perhaps the work is done already: then skip the node." in body
    hands.run(swarm)


def test_the_limits_of_a_project_are_set_on_its_page(
    project: Project, swarm: Swarm, hands: Holding, team: Team, client_for: Any
) -> None:
    alice = client_for(user_of("alice", "acme"), team)
    page, limits = "/projects/lists/limits/", {"max_attempts": 2, "max_nodes": 9, "max_depth": 1}
    limits["attempt_calls"] = 7
    answer = alice.post(page, limits | {"attempt_minutes": 0, "stall_minutes": 5, "start_minutes": "soon"})
    assert answer.status_code == 422
    assert 'value="soon"' in answer.content.decode()
    assert alice.post(page, limits | {"attempt_minutes": 3, "stall_minutes": 0, "start_minutes": 4}).status_code == 302
    assert "4 minutes until a start" in alice.get("/projects/lists/").content.decode()
    runners.let_go(hands.runner.pk, hands.held[0].execution, "leaving")
    unlimited = PLAN.model_copy(update={"nodes": (PLAN.nodes[0].model_copy(update={"minutes": None}),)})
    document = unlimited.model_dump(mode="json")
    Plan.objects.update(document=document, digest=digest(document))
    Node.objects.update(time_limit=None)
    again = hands.again(swarm)
    assert (again.time_limit, again.model_calls) == (180, 7)
    assert Execution.objects.get(pk=hands.held[-1].execution).stall_seconds == 0


def test_heartbeats_of_many_executions_take_few_statements(swarm: Swarm, hands: Holding, content_queries: Any) -> None:
    held = hands.held[0]
    said = [Beat(execution=held.execution, fence=held.fence, progress=n) for n in (1,)]
    with content_queries() as few:
        runners.beats(hands.runner.pk, said)
    strangers = [Beat(execution=one, fence=held.fence, progress=1) for one in (uuid4() for _ in range(50))]
    with content_queries() as many:
        orders = runners.beats(hands.runner.pk, [*said, *strangers])
    assert len(many.captured_queries) == len(few.captured_queries)
    assert [order.verdict for key, order in orders.items() if key != held.execution] == ["stale"] * 50
