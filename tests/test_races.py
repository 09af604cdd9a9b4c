"""Whoever comes at the same time: one wins, the others notice, and nothing gets lost or stuck."""

import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from django.core.exceptions import ValidationError
from django.db import connection, transaction
from django.db.models.functions import Now
from dramatiq.brokers.stub import StubBroker

from agents import executions
from agents.contracts import Assignment, Check, FailureOutcome, FailureReason, PlanOutcome
from agents.models import Execution
from agents.states import ExecutionState
from swarms import (
    approvals,
    dispatch,
    engine,
    goals,
    hints,
    landing,
    merges,
    operations,
    planned,
    projects,
    reasons,
    reconcile,
)
from swarms.models import Approval, Attempt, CheckRun, Merge, Node, Project, Swarm
from swarms.refusals import NotNow
from swarms.workspace import repos
from swarms.workspace.git import environment
from tenants import turns
from tenants.context import current_schema, in_schema
from tenants.models import Due, Placement, Runner, Team, Ticket
from tests.arena import PLAN, Arena, expire
from tests.conftest import _empty, user_of
from tests.hands import Hands
from tests.invariants import violations
from tests.long import long

Fails = list[str]


def repository(folder: Path) -> Path:
    """A repository with one commit."""
    folder.mkdir()
    (folder / "list.txt").write_text("empty\n")
    for args in (["init", "-q", "-b", "main"], ["add", "."], ["commit", "-q", "-m", "begin"]):
        subprocess.run(["git", *args], cwd=folder, env=environment(), check=True)
    return folder


def project_of(slug: str, folder: Path) -> Project:
    """A project of the team of this schema."""
    made = projects.add_project(
        name="Lists",
        slug="lists",
        source=str(repository(folder)),
        checks=[Check(name="list", command="test -f list.txt")],
        by=user_of("alice", slug),
    )
    projects.fetch(made.pk)
    made.refresh_from_db()
    assert made.state == "ready", made.because
    return made


@pytest.fixture
def acme_committed(
    committed_team: Team, broker: StubBroker, settings: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Team:
    """Acme, committed; everything that waits waits for a short time only."""
    settings.DATA_DIR, settings.LOCAL_SOURCES, settings.LEASE_SECONDS = tmp_path / "data", True, 4
    monkeypatch.setattr(hints, "LOST_HINT", timedelta(seconds=0.3))
    monkeypatch.setattr(reconcile, "AGAIN", timedelta(seconds=0.3))
    monkeypatch.setattr(reasons, "FIRST_DELAY", timedelta(seconds=0.2))
    return committed_team


@pytest.fixture
def globex_committed(acme_committed: Team) -> Iterator[Team]:
    found = Team.objects.get(domains__slug="globex")
    yield found
    _empty(found.schema_name)


@pytest.fixture
def logged(monkeypatch: pytest.MonkeyPatch) -> Fails:
    """What the engine's own loops would only log: a race that is not foreseen."""
    found: Fails = []

    class Ear:
        def __getattr__(self, level: str) -> Callable[..., None]:
            def hear(text: str, **facts: Any) -> None:
                if level in ("exception", "error"):
                    import traceback

                    found.append(f"{text} {facts}\n{traceback.format_exc()}")

            return hear

    for module in (reconcile, dispatch, engine):
        monkeypatch.setattr(module, "logger", Ear())
    return found


@pytest.mark.timeout(400)
@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=long), pytest.param(3, marks=long)])
def test_swarms_end_whoever_is_killed_late_doubled_paused_or_cancelled(
    seed: int, acme_committed: Team, globex_committed: Team, broker: StubBroker, logged: Fails, tmp_path: Path
) -> None:
    swarms: dict[UUID, Team] = {}
    people = {}
    for team in (acme_committed, globex_committed):
        slug = team.slug
        people[team.pk] = [user_of("alice", slug), user_of("alice", slug)]
        with in_schema(team.schema_name):
            project = project_of(slug, tmp_path / slug)
            for _ in range(2):
                swarms[goals.state_goal(project, "Write the files", by=people[team.pk][0]).pk] = team
    arena = Arena(seed, broker, swarms, people)
    arena.run(calm_after=8)
    assert not logged, "\n\n".join(logged)
    for team in (acme_committed, globex_committed):
        assert violations(team.schema_name, quiet=True) == []


@pytest.fixture
def hands(acme_committed: Team) -> Hands:
    def write(assignment: Assignment, work: Path) -> str:
        (work / assignment.writes[0]).write_text(f"{assignment.title}\n")
        return "wrote it"

    return Hands(acme_committed, PLAN, write, by=user_of("alice", "acme"))


@pytest.fixture
def project(acme_committed: Team, tmp_path: Path) -> Project:
    return project_of("acme", tmp_path / "source")


@pytest.fixture
def swarm(project: Project, hands: Hands) -> Swarm:
    return goals.state_goal(project, "Write the files", by=hands.by)


def hold(hands: Hands, swarm: Swarm, kind: str, *, name: str = "") -> Assignment:
    """Go on until an assignment of this kind is given, and keep it: accepted, not yet reported."""
    work = hands.carry_out

    def stop_at(assignment: Assignment) -> list[str]:
        if assignment.kind == kind and name in assignment.title and not hands.held:
            hands.held.append(assignment)
            return []
        return work(assignment)

    hands.carry_out = stop_at  # type: ignore[method-assign]
    hands.run(swarm)
    hands.carry_out = work  # type: ignore[method-assign]
    return hands.held[0]


def meanwhile(row: Swarm | Project, verb: Callable[[], Any], change: Callable[[], object]) -> Any:
    """Have `verb` wait for the row that we hold, make a change and commit it: what does `verb` answer?"""
    answer: list[Any] = []
    schema = current_schema()

    def call() -> None:
        try:
            with in_schema(schema):
                answer.append(verb())
        except Exception as error:
            answer.append(error)
        finally:
            connection.close()

    thread = threading.Thread(target=call, daemon=True)
    with transaction.atomic():
        type(row).objects.select_for_update(no_key=True).get(pk=row.pk)
        thread.start()
        while not _somebody_waits() and thread.is_alive():
            time.sleep(0.02)
        assert thread.is_alive(), f"it did not wait for the {row._meta.model_name}: {answer}"
        change()
    thread.join(60)
    assert answer, "it still waits"
    return answer[0]


def _somebody_waits() -> bool:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT EXISTS (SELECT FROM pg_stat_activity"
            " WHERE datname = current_database() AND wait_event_type = 'Lock')"
        )
        return bool(cursor.fetchone()[0])


def lose(execution: UUID) -> None:
    expire(execution)
    assert executions.reap(execution)


def test_a_runner_that_begins_while_its_lease_is_reaped_is_told_so(hands: Hands, swarm: Swarm) -> None:
    held = hold(hands, swarm, "work")
    said = meanwhile(swarm, lambda: executions.accept(held.execution, held.fence), lambda: lose(held.execution))
    assert said == "stale"
    hands.run(swarm)
    assert swarm.state == "succeeded", swarm.because
    assert violations(current_schema(), quiet=True) == []


def test_a_clock_that_begins_gives_runners_time_to_report(hands: Hands, swarm: Swarm) -> None:
    held = hold(hands, swarm, "work")
    executions.accept(held.execution, held.fence)
    expire(held.execution)
    reconcile.begin()
    reconcile.tick()
    assert executions.heartbeat(held.execution, held.fence, 1) == "continue"
    expire(held.execution)
    reconcile.tick()
    assert executions.heartbeat(held.execution, held.fence, 2) == "stale"


def test_the_same_report_twice_at_once_is_accepted_twice_and_counts_once(hands: Hands, swarm: Swarm) -> None:
    held = hold(hands, swarm, "work")
    executions.accept(held.execution, held.fence)
    outcome = hands.outcome(held)

    def report() -> list[str]:
        return executions.settle(held.execution, held.fence, outcome)

    assert meanwhile(swarm, report, report) == []
    assert CheckRun.objects.filter(attempt__execution=held.execution).count() == 1


def test_a_turn_that_comes_while_its_swarm_is_cancelled_is_not_taken(hands: Hands, swarm: Swarm) -> None:
    held = hold(hands, swarm, "work")
    executions.accept(held.execution, held.fence)
    executions.settle(held.execution, held.fence, hands.outcome(held))
    assert Ticket.objects.filter(kind="checks").exists()
    meanwhile(swarm, dispatch.dispatch, lambda: operations.cancel(swarm, by=hands.by))
    hands.run(swarm)
    assert swarm.state == "cancelled"
    Ticket.objects.update(not_before=Now())  # put off when the swarm was locked for too long
    dispatch.dispatch()  # a ticket that was passed over while its swarm was locked is called up once more
    assert violations(current_schema(), quiet=True) == []


def test_of_a_goal_and_the_archiving_of_its_project_who_comes_second_is_refused(hands: Hands, project: Project) -> None:
    def state() -> Swarm:
        return goals.state_goal(Project.objects.get(pk=project.pk), "Write the files", by=hands.by)

    def archive() -> None:
        projects.archive(project, by=hands.by)

    refused = meanwhile(project, state, archive)
    assert isinstance(refused, ValidationError)
    assert "archived: restore it first" in str(refused)
    assert not Swarm.objects.exists()
    projects.restore(project, by=hands.by)
    projects.fetch(project.pk)
    refused = meanwhile(project, archive, state)
    assert isinstance(refused, NotNow)
    assert "Not all has ended" in str(refused)
    assert Project.objects.get(pk=project.pk).state == "ready"


def test_a_plan_that_comes_when_its_swarm_was_cancelled_changes_nothing(hands: Hands, swarm: Swarm) -> None:
    held = hold(hands, swarm, "plan")
    executions.accept(held.execution, held.fence)
    operations.cancel(swarm, by=hands.by)
    assert executions.settle(held.execution, held.fence, PlanOutcome(plan=PLAN)) == []
    hands.run(swarm)
    assert swarm.state == "cancelled"
    assert swarm.plans.get().state == "superseded"
    assert violations(current_schema(), quiet=True) == []


def test_work_that_comes_when_its_swarm_was_cancelled_is_not_checked_any_more(hands: Hands, swarm: Swarm) -> None:
    held = hold(hands, swarm, "work")
    executions.accept(held.execution, held.fence)
    operations.cancel(swarm, by=hands.by)
    assert executions.settle(held.execution, held.fence, hands.outcome(held)) == []
    hands.run(swarm)
    assert swarm.state == "cancelled"
    assert not CheckRun.objects.filter(state="waiting").exists()
    assert violations(current_schema(), quiet=True) == []


def test_a_merge_that_becomes_possible_while_the_queue_is_left_is_not_forgotten(hands: Hands, swarm: Swarm) -> None:
    held = hold(hands, swarm, "check", name="merged")
    executions.accept(held.execution, held.fence)
    outcome = hands.outcome(held)
    # With the queue's hints and messages lost, only what is due can bring the next merge.
    meanwhile(
        swarm,
        lambda: merges.process(swarm.pk),
        lambda: executions.settle(held.execution, held.fence, outcome),
    )
    swarm.refresh_from_db()
    assert repos.commit_of(swarm.project_id, f"refs/heads/{swarm.branch}") == swarm.integration_commit
    waiting = Merge.objects.filter(state="queued").exists() and not Merge.objects.filter(state="checking").exists()
    assert not waiting or Due.objects.filter(kind="merge").exists()
    hands.run(swarm)
    assert swarm.state == "succeeded", swarm.because


def test_of_two_people_and_the_clock_one_decides(hands: Hands, swarm: Swarm) -> None:
    hands.run(swarm, approve=False)
    gate = Approval.objects.get(state="pending")
    said = meanwhile(
        swarm,
        lambda: approvals.reject(gate, by=hands.by, because="no"),
        lambda: approvals.approve(gate, by=hands.by),
    )
    assert isinstance(said, approvals.NotDecidable)
    assert "Already approved by Alice" in str(said)
    approvals.expire(gate.pk)
    gate.refresh_from_db()
    assert gate.state == "approved"


def test_a_landing_that_has_begun_cannot_be_cancelled(
    hands: Hands, swarm: Swarm, monkeypatch: pytest.MonkeyPatch
) -> None:
    push, refused = repos.push, []

    def cancel_and_push(*args: Any) -> str:
        with pytest.raises(ValidationError, match="too late") as refusal:
            operations.cancel(swarm, by=hands.by)
        refused.append(refusal)
        return push(*args)

    monkeypatch.setattr(repos, "push", cancel_and_push)
    hands.run(swarm)
    assert len(refused) == 1
    assert swarm.state == "succeeded", swarm.because
    assert violations(current_schema(), quiet=True) == []


def test_a_push_that_another_one_overtook_is_merged_and_checked_again(
    hands: Hands, swarm: Swarm, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    push, source = repos.push, Path(project.source)
    pushes: list[Any] = []

    def overtaken(*args: Any) -> str:
        if not pushes:
            (source / "other.txt").write_text("faster\n")
            for words in (["add", "."], ["commit", "-q", "-m", "faster"]):
                subprocess.run(["git", *words], cwd=source, env=environment(), check=True)
        pushes.append(args)
        return push(*args)

    monkeypatch.setattr(repos, "push", overtaken)
    hands.run(swarm)
    assert swarm.state == "succeeded", swarm.because
    assert swarm.pushed_because == ""
    assert len(pushes) == 2
    assert (source / "other.txt").exists()
    assert (source / "d.txt").exists()
    assert violations(current_schema(), quiet=True) == []


def test_a_ticket_that_cannot_begin_stops_nobody(hands: Hands, swarm: Swarm, project: Project) -> None:
    other = goals.state_goal(project, "Another goal", by=hands.by)
    Swarm.objects.filter(pk=swarm.pk).update(base_commit="0" * 40, integration_commit="0" * 40)
    assert dispatch.dispatch() == 1
    assert Execution.objects.get().swarm == other.pk
    assert Ticket.objects.get().subject == swarm.plans.get().pk
    assert Placement.objects.count() == 1


def test_a_ticket_that_is_called_up_while_its_order_changes_is_put_right_soon(hands: Hands, swarm: Swarm) -> None:
    held = hold(hands, swarm, "work")
    Runner.objects.update(channel="")
    executions.end(held.execution, ExecutionState.LOST, reason="lost", because="gone")
    node, waits = Attempt.objects.get(execution=held.execution).node, Ticket.objects.filter(kind="node")
    team = current_schema()

    def change() -> None:
        with in_schema(team):
            operations.set_priority(node, 5, by=hands.by)
        connection.close()

    with transaction.atomic():
        called = waits.select_for_update().get(subject=node.pk)
        thread = threading.Thread(target=change)
        thread.start()
        thread.join(20)
        assert not thread.is_alive()
    called.refresh_from_db()
    assert (called.priority, Due.objects.filter(kind="order").count()) == (0, 1)
    Due.objects.update(due_at=Now())
    reconcile.tick()
    called.refresh_from_db()
    assert (called.priority, called.path, Due.objects.filter(kind="order").count()) == (5, node.path_length, 0)
    operations.set_priority(node, 7, by=hands.by)
    called.refresh_from_db()
    assert (called.priority, Due.objects.filter(kind="order").count()) == (7, 0)


def test_checks_whose_runners_are_always_lost_fail_what_waits_for_them(hands: Hands, swarm: Swarm) -> None:
    work = hands.carry_out

    def lost(assignment: Assignment) -> list[str]:
        if assignment.kind == "check" and "whole" in assignment.title:
            executions.accept(assignment.execution, assignment.fence)
            lose(assignment.execution)
            return []
        return work(assignment)

    hands.carry_out = lost  # type: ignore[method-assign]
    hands.run(swarm)
    assert swarm.state == "failed"
    assert "broken" in swarm.because
    assert violations(current_schema(), quiet=True) == []


def test_a_failing_swarm_lets_go_of_the_merge_that_is_being_checked(hands: Hands, swarm: Swarm) -> None:
    held = hold(hands, swarm, "check", name="merged")
    executions.accept(held.execution, held.fence)
    with transaction.atomic():
        Node.objects.filter(key="d").update(max_attempts=1)
        planned.tell(swarm, Node.objects.filter(key="d"))
    attempt = Attempt.objects.exclude(execution=None).filter(state__in=["leased", "running"]).first()
    assert attempt is not None
    operations.cancel(swarm, by=hands.by)
    assert executions.heartbeat(held.execution, held.fence, 1) == "cancel"
    executions.settle(held.execution, held.fence, FailureOutcome(reason=FailureReason.CANCELLED, message="stopped"))
    hands.run(swarm)
    assert swarm.state == "cancelled"
    assert set(Merge.objects.values_list("state", flat=True)) <= {"merged", "conflicted", "void"}
    assert violations(current_schema(), quiet=True) == []


def test_what_is_due_for_a_landing_is_kept_while_there_is_a_next_step(hands: Hands, swarm: Swarm) -> None:
    while not CheckRun.objects.filter(purpose="landing", state="running").exists():
        held = hold(hands, swarm, "check", name="landed")
    executions.accept(held.execution, held.fence)
    outcome = hands.outcome(held)
    turns.due("land", swarm.pk, after=timedelta(0))
    meanwhile(
        swarm,
        lambda: landing.land(swarm.pk),
        lambda: (executions.settle(held.execution, held.fence, outcome), engine.advance(swarm.pk)),
    )
    assert Due.objects.filter(kind="land", subject=swarm.pk).exists()
    hands.run(swarm)
    assert swarm.state == "succeeded", swarm.because
