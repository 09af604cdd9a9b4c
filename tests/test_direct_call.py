"""The direct call: the answer to an outcome brings what the same runner does next."""

import json
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import pytest
from django.db import connection, transaction
from django.test import Client
from django.utils import timezone

from agents import executions, runners
from agents.contracts import Assignment, Check, OutcomeReport, PlanNode, PlanProposal
from agents.contracts.link import Beat
from agents.models import Execution
from swarms import dispatch, goals, projects
from swarms.models import Node, Project, Swarm
from swarms.workspace.git import environment
from tenants import tokens, turns
from tenants.context import current_schema, in_schema
from tenants.models import Placement, Runner, Team, TeamShare, Ticket, Token
from tests.conftest import user_of
from tests.fake_control_plane import FakeControlPlane, call, serving, until
from tests.hands import Hands
from tests.invariants import violations
from tests.test_runner import running
from tests.turn_stage import queue


def node(key: str, *after: str) -> PlanNode:
    return PlanNode(
        key=key, title=key, role="developer", instructions=key, writes=(f"{key}.txt",), depends_on=after
    )  # fmt: skip


PLAN = PlanProposal(summary="Two beside each other.", nodes=(node("a"), node("b")))


def worker(assignment: Assignment, work: Path) -> str:
    key = assignment.briefing.split("`")[1]
    (work / f"{key}.txt").write_text("good\n")
    return f"wrote {key}"


def project_of(folder: Path, slug: str) -> Project:
    """A project of this team, fetched."""
    folder.mkdir()
    (folder / "list.txt").write_text("[]\n")
    for args in (["init", "-q", "-b", "main"], ["add", "."], ["commit", "-q", "-m", "begin"]):
        subprocess.run(["git", *args], cwd=folder, env=environment(), check=True)
    checks = [Check(name="list", command="test -f list.txt")]
    made = projects.add_project(name=slug, slug=slug, source=str(folder), checks=checks, by=user_of("alice", "acme"))
    projects.fetch(made.pk)
    made.refresh_from_db()
    return made


def hold(hands: Hands, project: Project) -> tuple[Swarm, list[Assignment]]:
    """A swarm whose two nodes are on the runner."""
    swarm = goals.state_goal(project, "Write the files", by=hands.by)
    held: list[Assignment] = []
    original = hands.carry_out

    def stop(assignment: Assignment) -> list[str]:
        if assignment.kind != "work":
            return original(assignment)
        assert executions.accept(assignment.execution, assignment.fence) == "continue"
        held.append(assignment)
        return []

    hands.carry_out = stop  # type: ignore[method-assign]
    hands.run(swarm)
    hands.carry_out = original  # type: ignore[method-assign]
    assert len(held) == 2
    assert not Ticket.objects.exists()
    return swarm, held


def report(hands: Hands, assignment: Assignment) -> Assignment | None:
    """The outcome of an assignment, from who takes what comes next."""
    outcome = hands.outcome(assignment)
    receipt = executions.receive(assignment.execution, assignment.fence, outcome, takes_next=True)
    assert receipt.faults == []
    return receipt.next


@pytest.fixture
def ready(settings: object, tmp_path: Path, broker: object) -> None:
    settings.DATA_DIR = tmp_path / "data"  # type: ignore[attr-defined]
    settings.LOCAL_SOURCES = True  # type: ignore[attr-defined]


@pytest.fixture
def hands(team: Team, ready: None) -> Iterator[Hands]:
    yield Hands(team, PLAN, worker, by=user_of("alice", "acme"))
    assert violations(team.schema_name) == []


@pytest.fixture
def held(hands: Hands, tmp_path: Path) -> list[Assignment]:
    return hold(hands, project_of(tmp_path / "source", "lists"))[1]


def test_the_answer_to_an_outcome_brings_the_next_assignment_delivered(hands: Hands, held: list[Assignment]) -> None:
    before = TeamShare.objects.get(team=hands.team).virtual_time
    follows = report(hands, held[0])
    assert follows is not None
    execution = Execution.objects.get(pk=follows.execution)
    assert (follows.kind, execution.runner, execution.state) == ("check", hands.runner, "leased")
    placement = Placement.objects.get(execution=execution.pk)
    assert placement.delivered_at is not None
    assert placement.charged == 0.2
    assert tokens.find(follows.token, "attempt") is not None
    assert not Ticket.objects.exists()
    assert TeamShare.objects.get(team=hands.team).virtual_time > before
    assert runners.pending(hands.runner.pk, "nowhere") == []
    assert executions.accept(follows.execution, follows.fence) == "continue"


def test_a_swarm_whose_runner_takes_what_comes_next_goes_on_to_its_end(
    hands: Hands, tmp_path: Path
) -> None:  # fmt: skip
    original, direct = hands.carry_out, []

    def chain(assignment: Assignment | None) -> list[str]:
        while assignment is not None:
            assert executions.accept(assignment.execution, assignment.fence) == "continue"
            assignment = report(hands, assignment)
            direct.append(assignment)
        return []

    hands.carry_out = chain  # type: ignore[method-assign]
    swarm = goals.state_goal(project_of(tmp_path / "source", "lists"), "Write the files", by=hands.by)
    hands.run(swarm)
    hands.carry_out = original  # type: ignore[method-assign]
    assert swarm.state == "succeeded", swarm.because
    assert any(direct)
    assert not Ticket.objects.exists()
    assert not Placement.objects.exists()
    assert not Token.objects.filter(kind="attempt", revoked_at=None).exists()


def test_the_same_report_a_second_time_brings_nothing_more(hands: Hands, held: list[Assignment]) -> None:
    outcome = hands.outcome(held[0])
    again = [
        executions.receive(held[0].execution, held[0].fence, outcome, takes_next=True).next for _ in range(3)
    ]  # fmt: skip
    assert again[0] is not None
    assert again[1:] == [None, None]
    assert Execution.objects.filter(kind="check", state="leased").count() == 1


def test_when_it_is_another_teams_turn_there_is_nothing(hands: Hands, held: list[Assignment], globex: Team) -> None:
    TeamShare.objects.filter(team=hands.team).update(virtual_time=7, last_start=6)
    other = queue(globex)
    assert report(hands, held[0]) is None
    assert set(Ticket.objects.values_list("team", flat=True)) == {hands.team.pk, globex.pk}
    Ticket.objects.filter(subject=other).delete()
    assert report(hands, held[1]) is not None  # the check of the other node


@pytest.mark.parametrize("away", [{"channel": ""}, {"seen_at": timezone.now() - timedelta(hours=1)}, {"capacity": 1}])
def test_a_runner_that_is_away_or_full_gets_nothing(
    hands: Hands, held: list[Assignment], away: dict[str, object]
) -> None:
    Runner.objects.filter(pk=hands.runner.pk).update(**away)
    assert report(hands, held[0]) is None
    assert Ticket.objects.filter(kind="checks").count() == 1


def test_a_ticket_that_cannot_begin_does_not_cost_the_outcome(
    hands: Hands, held: list[Assignment], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(subject: UUID, runner: Runner) -> None:
        raise RuntimeError("the repository is damaged")

    with monkeypatch.context() as patched:
        patched.setitem(dispatch.BEGIN, "checks", broken)
        assert report(hands, held[0]) is None
    assert Execution.objects.get(pk=held[0].execution).state == "done"
    assert dispatch.dispatch() == 1


def test_an_answer_that_got_lost_is_given_again_by_the_heartbeats(hands: Hands, held: list[Assignment]) -> None:
    follows = report(hands, held[0])
    assert follows is not None
    beats = [Beat(execution=held[1].execution, fence=held[1].fence)]
    runners.beats(hands.runner.pk, beats)
    assert runners.pending(hands.runner.pk, "nowhere") == []  # it may be on its way
    Placement.objects.filter(execution=follows.execution).update(delivered_at=timezone.now() - timedelta(minutes=1))
    runners.beats(hands.runner.pk, beats)
    (again,) = runners.pending(hands.runner.pk, "nowhere")
    assert again.execution == follows.execution
    assert tokens.find(follows.token, "attempt") is None
    assert Execution.objects.get(pk=follows.execution).state == "leased"


def test_over_http_only_who_asks_for_it_is_given_the_next_assignment(hands: Hands, held: list[Assignment]) -> None:
    answers = []
    for assignment, takes_next in zip(held, (False, True), strict=True):
        body = OutcomeReport(fence=assignment.fence, outcome=hands.outcome(assignment), takes_next=takes_next)
        response = Client().post(
            f"/t/acme/runner/{assignment.execution}/outcome",
            body.model_dump_json(),
            content_type="application/json",
            headers={"authorization": f"Bearer {assignment.token}", "host": "127.0.0.1"},
        )
        assert response.status_code == 200, response.content
        answers.append(json.loads(response.content))
    assert answers[0] == {"accepted": True}
    assert Assignment.model_validate(answers[1]["next"]).kind == "check"


def _meanwhile(lock: Callable[[], object], then: Callable[[], object]) -> None:
    """Do something while another transaction holds what `lock` locks."""
    schema, locked, over = current_schema(), threading.Event(), threading.Event()

    def body() -> None:
        try:
            with in_schema(schema), transaction.atomic():
                lock()
                locked.set()
                over.wait(60)
        finally:
            connection.close()

    thread = threading.Thread(target=body)
    thread.start()
    try:
        assert locked.wait(20)
        # Whoever waits for the lock would wait until the test's limit; this ends it with an error.
        with connection.cursor() as cursor:
            cursor.execute("SET lock_timeout = '10s'")
        then()
    finally:
        over.set()
        thread.join(20)


def test_nothing_that_others_hold_is_waited_for(committed_team: Team, ready: None, tmp_path: Path) -> None:
    hands = Hands(committed_team, PLAN, worker, by=user_of("alice", "acme"))
    swarm, held = hold(hands, project_of(tmp_path / "source", "lists"))
    other, more = hold(hands, project_of(tmp_path / "second", "more"))
    held += more
    Runner.objects.update(capacity=16)
    Placement.objects.update(charged=0)  # what a turn really cost is settled after the outcome, and may wait

    def nothing_comes(assignment: Assignment) -> Callable[[], None]:
        def check() -> None:
            assert report(hands, assignment) is None

        return check

    _meanwhile(lambda: turns.lock_slot(hands.runner.pk), nothing_comes(more[0]))
    # The second swarm's checks wait and are more urgent than what the first brings: its row is locked.
    Ticket.objects.update(priority=9999)
    _meanwhile(lambda: Swarm.objects.select_for_update().get(pk=other.pk), nothing_comes(held[0]))
    assert Ticket.objects.count() == 2
    Ticket.objects.all().delete()
    shares = TeamShare.objects.select_for_update(no_key=True)
    _meanwhile(lambda: shares.get(team=committed_team), nothing_comes(held[1]))
    assert Execution.objects.filter(state="done", kind="work").count() == 3
    assert Node.objects.filter(swarm=swarm, state="verifying").count() == 2
    assert report(hands, more[1]) is not None


@pytest.fixture
def plane(tmp_path: Path) -> Iterator[FakeControlPlane]:
    with serving(tmp_path / "plane") as found:
        yield found


@pytest.mark.parametrize("capacity", ["1", "4"])
def test_a_runner_begins_with_what_the_answer_brings(plane: FakeControlPlane, tmp_path: Path, capacity: str) -> None:
    plane.script = lambda messages: [call("final_result", summary="No plan.")]
    first, second, third = (plane.assignment("plan") for _ in range(3))
    plane.follows = [second, third]
    with running(plane, tmp_path / "runner", WAGGLE_RUNNER_CAPACITY=capacity):
        plane.assign(first)
        until(lambda: len(plane.ended) == 3, "all three end")
    assert plane.accepted == [first.execution, second.execution, third.execution]
    assert plane.hellos[0].capacity == int(capacity)


def test_how_long_it_takes_from_an_outcome_to_the_next_beginning(hands: Hands, held: list[Assignment]) -> None:
    """Printed, not judged: without runner process, broker and websocket, which the direct call also leaves out."""
    took = []
    for assignment, direct in zip(held, (False, True), strict=True):
        outcome = hands.outcome(assignment)
        began = time.perf_counter()
        receipt = executions.receive(assignment.execution, assignment.fence, outcome, takes_next=direct)
        if not direct:
            assert dispatch.dispatch() == 1
            assert len(runners.pending(hands.runner.pk, "nowhere")) == 1
        took.append((time.perf_counter() - began) * 1000)
    assert receipt.next is not None
    print(f"\noutcome to next assignment: by hint {took[0]:.0f} ms and three trips, direct {took[1]:.0f} ms and none")
