"""What a person may do to a live swarm: real rows, real git, and a runner without a process (tests/hands.py)."""

import re
import subprocess
from collections.abc import Callable, Iterator
from datetime import timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.core.management import CommandError, call_command
from django.db import transaction
from django.utils import timezone

from agents import executions
from agents.contracts import Assignment, Check, FailureOutcome, FailureReason, PlanNode, PlanProposal
from agents.models import Execution
from sessions.models import Event
from swarms import approvals, conditions, goals, operations, projects, reconcile
from swarms.models import Approval, CheckRun, Node, Project, Swarm
from swarms.operations import NotNow
from swarms.states import SwarmState
from swarms.workspace.git import environment
from tenants.models import Due, Team, Ticket, User
from tests.conftest import user_of
from tests.hands import Hands
from tests.invariants import violations


def work(key: str, *after: str, on_failure: str = "fail_swarm", fan_in: str = "all_success") -> PlanNode:
    """A node that writes a file of its own name."""
    return PlanNode(
        key=key,
        title=key.title(),
        role="developer",
        instructions="write",
        depends_on=after,
        writes=(f"{key}.txt",),
        on_failure=on_failure,
        fan_in=fan_in,
    )


def plan(*nodes: PlanNode, acceptance: str = "") -> PlanProposal:
    checks = (Check(name="all", command=acceptance),) if acceptance else ()
    return PlanProposal(summary="A plan.", nodes=nodes, acceptance=checks)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    folder.mkdir()
    (folder / "list.txt").write_text("[]\n")
    for args in (["init", "-q", "-b", "main"], ["add", "."], ["commit", "-q", "-m", "begin"]):
        subprocess.run(["git", *args], cwd=folder, env=environment(), check=True)
    return folder


@pytest.fixture
def project(team: Team, source: Path, settings: object, tmp_path: Path, broker: object) -> Project:
    settings.DATA_DIR, settings.LOCAL_SOURCES = tmp_path / "data", True
    made = projects.add_project(name="Lists", slug="lists", source=str(source), checks=[], by=user_of("alice", "acme"))
    projects.fetch(made.pk)
    Project.objects.update(max_attempts=1)
    made.refresh_from_db()
    assert made.state == "ready", made.because
    return made


@pytest.fixture(autouse=True)
def invariants(project: Project, team: Team) -> Iterator[None]:
    yield
    assert violations(team.schema_name) == []


class Crew(Hands):
    """Fails what it is told to fail, and holds what it is told to hold."""

    fails: set[str] = set()
    holds: set[str] = set()

    def carry_out(self, assignment: Assignment) -> list[str]:
        if assignment.kind == "work" and key_of(assignment) in self.holds:
            self.held.append(assignment)
            return []
        return super().carry_out(assignment)

    def let_go(self) -> None:
        """Do what was held."""
        self.holds = set()
        for assignment in self.held:
            super().carry_out(assignment)
        self.held = []


def key_of(assignment: Assignment) -> str:
    return assignment.briefing.split("`")[1]


@pytest.fixture
def alice(team: Team) -> User:
    return user_of("alice", "acme")


@pytest.fixture
def crew(team: Team, alice: User) -> Crew:
    def write(assignment: Assignment, folder: Path) -> str | FailureOutcome:
        key = key_of(assignment)
        if key in made.fails:
            return FailureOutcome(reason=FailureReason.AGENT_ERROR, message=f"{key} is too hard")
        (folder / f"{key}.txt").write_text("good\n")
        return f"wrote {key}"

    made = Crew(team, plan(work("a")), write, by=alice)
    return made


def begin(project: Project, crew: Crew, proposal: PlanProposal, *, fails: str = "", holds: str = "") -> Swarm:
    crew.plan, crew.fails, crew.holds = proposal, set(fails), set(holds)
    swarm = goals.state_goal(project, "Write the files", by=crew.by)
    crew.run(swarm)
    return swarm


def states() -> dict[str, str]:
    return dict(Node.objects.values_list("key", "state"))


def tries() -> dict[str, int]:
    return dict(Node.objects.values_list("key", "attempts_made"))


def test_a_failed_swarm_is_tried_again_from_what_failed_and_keeps_what_is_done(
    project: Project, crew: Crew, source: Path, alice: User
) -> None:
    proposal = plan(work("a"), work("f", "a"), work("c", "f"), work("d", "c", "a"), work("p"))
    swarm = begin(project, crew, proposal, fails="f")
    assert swarm.state == "failed"
    assert states() == {"a": "succeeded", "f": "failed", "c": "cancelled", "d": "cancelled", "p": "succeeded"}
    crew.fails = set()
    operations.retry_swarm(swarm, by=alice)
    assert states() | {"f": "", "p": ""} == {"a": "succeeded", "f": "", "c": "blocked", "d": "blocked", "p": ""}
    assert states()["f"] == "ready"
    crew.run(swarm)
    assert swarm.state == "succeeded", swarm.because
    assert tries() == {"a": 1, "f": 2, "c": 1, "d": 1, "p": 1}
    assert sorted(path.stem for path in source.glob("?.txt")) == ["a", "c", "d", "f", "p"]
    moved = Event.objects.filter(subject=swarm.topic, kind="swarm.moved", payload__before="failed").get()
    assert moved.actor == f"user:{alice.pk}"


def test_a_retry_gives_all_attempts_again(project: Project, crew: Crew, alice: User) -> None:
    swarm = begin(project, crew, plan(work("f")), fails="f")
    for attempt in (2, 3):
        operations.retry_swarm(swarm, by=alice)
        crew.run(swarm)
        assert swarm.state == "failed"
        assert tries() == {"f": attempt}
        assert Node.objects.get().failures == 1


def test_checks_of_the_whole_are_run_again_when_a_swarm_is_tried_again(
    project: Project, crew: Crew, tmp_path: Path, alice: User
) -> None:
    flag = tmp_path / "flag"
    swarm = begin(project, crew, plan(work("a"), acceptance=f"test -f {flag}"))
    assert (swarm.state, states()) == ("failed", {"a": "succeeded"})
    flag.touch()
    operations.retry_swarm(swarm, by=alice)
    crew.run(swarm)
    assert swarm.state == "succeeded", swarm.because
    runs = CheckRun.objects.filter(purpose="integration").order_by("created_at")
    assert list(runs.values_list("state", flat=True)) == ["failed", "passed"]
    assert tries() == {"a": 1}


def test_a_rejected_landing_is_asked_for_again_when_the_swarm_is_tried_again(
    project: Project, crew: Crew, alice: User
) -> None:
    crew.plan = plan(work("a"))
    swarm = goals.state_goal(project, "Write the files", by=alice)
    crew.run(swarm, approve=False)
    crew.approve_all()
    crew.run(swarm, approve=False)
    approvals.reject(Approval.objects.get(kind="landing"), by=alice, because="not today")
    crew.run(swarm, approve=False)
    assert swarm.state == "failed"
    operations.retry_swarm(swarm, by=alice)
    crew.run(swarm, approve=False)
    assert swarm.state == "landing"
    crew.run(swarm)
    assert swarm.state == "succeeded", swarm.because
    states = Approval.objects.filter(kind="landing").order_by("requested_at").values_list("state", flat=True)
    assert list(states) == ["rejected", "approved"]


def test_where_there_are_no_checks_no_runner_is_asked_to_run_them(project: Project, crew: Crew) -> None:
    swarm = begin(project, crew, plan(work("a")))
    assert swarm.state == "succeeded", swarm.because
    assert not Execution.objects.filter(kind="check").exists()
    runs = CheckRun.objects.values_list("purpose", "state", "because")
    wanted = ("exact", "integration", "landing", "merged")
    assert sorted(runs) == [(purpose, "passed", "there are no checks") for purpose in wanted]


def test_what_cannot_be_tried_again_says_why(project: Project, crew: Crew, alice: User) -> None:
    swarm = begin(project, crew, plan(work("a")))
    assert swarm.state == "succeeded"
    with pytest.raises(NotNow, match=r"The swarm is succeeded; that is possible only while it is failed"):
        operations.retry_swarm(swarm, by=alice)
    early = goals.state_goal(project, "Another", by=alice)
    operations.set_deadline(early, timezone.now() + timedelta(seconds=60), by=alice)
    Swarm.objects.filter(pk=early.pk).update(deadline_at=timezone.now() - timedelta(seconds=1))
    operations.expire(early.pk)
    crew.run(early)
    assert early.state == "failed", early.because
    assert "retry" not in operations.possible(early)
    with pytest.raises(NotNow, match="before it had a plan"):
        operations.retry_swarm(early, by=alice)


def test_a_node_is_tried_again_with_what_was_left_out_because_of_it(project: Project, crew: Crew, alice: User) -> None:
    proposal = plan(
        work("f", on_failure="skip_descendants"), work("c", "f"), work("d", "c", "w"), work("w"), work("g", "c", "w")
    )
    swarm = begin(project, crew, proposal, fails="f", holds="w")
    assert states() == {"f": "failed", "c": "skipped", "d": "skipped", "w": "running", "g": "skipped"}
    crew.fails = set()
    with pytest.raises(NotNow, match="c could not run: its parents did not end as all_success asks"):
        operations.retry_node(Node.objects.get(key="c"), by=alice)
    operations.retry_node(Node.objects.get(key="f"), by=alice)
    assert states() == {"f": "ready", "c": "blocked", "d": "blocked", "w": "running", "g": "blocked"}
    assert Node.objects.get(key="d").deps_left == 2
    crew.let_go()
    crew.run(swarm)
    assert swarm.state == "succeeded", swarm.because
    assert set(states().values()) == {"succeeded"}


def test_a_ready_child_loses_its_turn_when_its_parent_is_tried_again(project: Project, crew: Crew, alice: User) -> None:
    crew.runner.capacity = 1
    crew.runner.save()
    proposal = plan(work("f", on_failure="continue"), work("w", "f"), work("c", "f", fan_in="all_done"))
    swarm = begin(project, crew, proposal, fails="f", holds="wc")
    held = {key_of(one) for one in crew.held}
    assert len(held) == 1
    free = ({"w", "c"} - held).pop()
    assert states()[free] == "ready"
    assert Ticket.objects.filter(subject=Node.objects.get(key=free).pk).exists()
    with pytest.raises(NotNow, match="began because of how f ended"):
        operations.retry_node(Node.objects.get(key="f"), by=alice)
    crew.let_go()
    crew.run(swarm)
    assert swarm.state == "succeeded", swarm.because


def test_a_skipped_node_is_left_out_with_what_needs_it_and_can_come_back(
    project: Project, crew: Crew, alice: User
) -> None:
    proposal = plan(work("w"), work("s", "w"), work("c", "s"), work("d", "s", fan_in="all_done"), work("x", "d", "w"))
    swarm = begin(project, crew, proposal, holds="w")
    with pytest.raises(NotNow, match="w is running; only a node that has not started can be skipped"):
        operations.skip(Node.objects.get(key="w"), by=alice)
    operations.skip(Node.objects.get(key="s"), by=alice, because="not needed")
    assert states() == {"w": "running", "s": "skipped", "c": "skipped", "d": "ready", "x": "blocked"}
    assert Node.objects.get(key="s").because == f"skipped by {alice}: not needed"
    operations.retry_node(Node.objects.get(key="s"), by=alice)
    assert states() == {"w": "running", "s": "blocked", "c": "blocked", "d": "blocked", "x": "blocked"}
    assert not Ticket.objects.filter(kind="node").exists()
    operations.skip(Node.objects.get(key="c"), by=alice)
    crew.let_go()
    crew.run(swarm)
    assert swarm.state == "succeeded", swarm.because
    assert states() == {"w": "succeeded", "s": "succeeded", "c": "skipped", "d": "succeeded", "x": "succeeded"}


def test_a_node_that_a_person_skipped_stays_out_when_the_swarm_is_tried_again(
    project: Project, crew: Crew, alice: User
) -> None:
    proposal = plan(work("w"), work("s", "w", on_failure="continue"), work("f", "w"), work("z", "f"))
    swarm = begin(project, crew, proposal, fails="f", holds="w")
    operations.skip(Node.objects.get(key="s"), by=alice)
    crew.let_go()
    crew.run(swarm)
    assert (swarm.state, states()["s"], states()["z"]) == ("failed", "skipped", "cancelled")
    crew.fails = set()
    operations.retry_swarm(swarm, by=alice)
    crew.run(swarm)
    assert swarm.state == "succeeded", swarm.because
    assert states() == {"w": "succeeded", "s": "skipped", "f": "succeeded", "z": "succeeded"}


def test_what_fails_while_its_swarm_is_paused_gets_its_next_turn_when_it_is_resumed(
    project: Project, team: Team, crew: Crew, alice: User
) -> None:
    Project.objects.update(max_attempts=3)
    swarm = begin(project, crew, plan(work("w"), work("x")), holds="wx")
    operations.pause(swarm, by=alice)
    crew.fails = {"w"}
    crew.let_go()
    node = Node.objects.get(key="w")
    assert (node.state, node.failures) == ("ready", 1)
    assert not Ticket.objects.filter(kind="node").exists()
    assert violations(team.schema_name) == []
    assert [why.kind for why in conditions.of_node(node)] == ["paused"]
    operations.resume(swarm, by=alice)
    assert Ticket.objects.get(subject=node.pk).not_before == node.not_before > timezone.now()
    operations.drain(swarm, by=alice)
    crew.run(swarm)
    assert (swarm.state, states()) == ("succeeded", {"w": "skipped", "x": "succeeded"}), swarm.because


def test_what_fails_while_its_swarm_is_drained_gets_no_turn_any_more(
    project: Project, team: Team, crew: Crew, alice: User
) -> None:
    Project.objects.update(max_attempts=3)
    swarm = begin(project, crew, plan(work("w"), work("x")), holds="wx")
    operations.drain(swarm, by=alice)
    crew.fails = {"w"}
    crew.let_go()
    assert not Ticket.objects.filter(kind="node").exists()
    assert violations(team.schema_name) == []
    crew.run(swarm)
    assert (swarm.state, states()) == ("succeeded", {"w": "skipped", "x": "succeeded"}), swarm.because


def test_a_drained_swarm_ends_what_runs_leaves_out_the_rest_and_lands(
    project: Project, crew: Crew, source: Path, alice: User
) -> None:
    swarm = begin(project, crew, plan(work("a"), work("w"), work("c", "w"), work("d", "c")), holds="w")
    operations.drain(swarm, by=alice)
    crew.run(swarm)
    assert (swarm.state, states()) == (
        "draining",
        {"a": "succeeded", "w": "running", "c": "skipped", "d": "skipped"},
    )
    crew.let_go()
    crew.run(swarm)
    assert swarm.state == "succeeded", swarm.because
    assert sorted(path.stem for path in source.glob("?.txt")) == ["a", "w"]


def test_a_swarm_is_cancelled_only_when_all_who_work_on_it_have_stopped(
    project: Project, crew: Crew, alice: User
) -> None:
    swarm = begin(project, crew, plan(work("a"), work("v"), work("w"), work("c", "w")), holds="vw")
    operations.cancel(swarm, by=alice)
    crew.run(swarm)
    assert (swarm.state, states()["c"]) == ("cancelling", "cancelled")
    first, second = crew.held
    assert Execution.objects.filter(cancel_at__isnull=False).count() == 2
    _stop(first)
    crew.run(swarm)
    assert swarm.state == "cancelling"
    assert [one.text for one in conditions.of_swarm(swarm)] == ["1 execution has not stopped yet"]
    _stop(second)
    crew.run(swarm)
    assert swarm.state == "cancelled"
    assert conditions.of_swarm(swarm) == []
    assert set(states().values()) == {"succeeded", "cancelled"}


def _stop(assignment: Assignment) -> None:
    """What a runner reports when it was asked to stop."""
    assert executions.accept(assignment.execution, assignment.fence) == "cancel"
    outcome = FailureOutcome(reason=FailureReason.CANCELLED, message="stopped as asked")
    assert executions.settle(assignment.execution, assignment.fence, outcome) == []


def test_a_priority_changes_whose_turn_is_next(project: Project, crew: Crew, alice: User) -> None:
    crew.runner.capacity = 1
    crew.runner.save()
    swarm = begin(project, crew, plan(work("a"), work("b"), work("c"), work("d")), holds="abcd")
    waiting = Ticket.objects.filter(kind="node").count()
    assert waiting == 3
    last = Node.objects.filter(state="ready").order_by("-key")[0]
    operations.set_priority(last, 7, by=alice)
    operations.set_priority(swarm, 20, by=alice)
    assert sorted(Ticket.objects.values_list("priority", flat=True)) == [20, 20, 27]
    assert Ticket.objects.get(priority=27).subject == last.pk
    done = len(crew.done)
    crew.let_go()
    crew.run(swarm)
    works = [line for line in crew.done[done:] if line.startswith("work:")]
    assert works[1] == f"work:{last.title} (attempt 1)"
    with pytest.raises(NotNow, match="It has ended"):
        operations.set_priority(last, 1, by=alice)
    with pytest.raises(ValidationError, match="from -100 to 100"):
        operations.set_priority(swarm, 101, by=alice)


def test_a_swarm_fails_when_its_deadline_has_passed_and_a_retry_goes_on_without_it(
    team: Team, project: Project, crew: Crew, alice: User, client_for: Any
) -> None:
    swarm = begin(project, crew, plan(work("a"), work("w")), holds="w")
    operations.set_deadline(swarm, timezone.now() + timedelta(hours=2), by=alice)
    operations.set_deadline(swarm, timezone.now() + timedelta(hours=1), by=alice)
    due = Due.objects.get(kind="swarm_deadline")
    assert timedelta(minutes=59) < due.due_at - timezone.now() <= timedelta(hours=1)
    reconcile.LOOK["swarm_deadline"](swarm.pk)  # too early: it is only looked at again
    assert Swarm.objects.get(pk=swarm.pk).state == "running"
    assert Due.objects.filter(kind="swarm_deadline").exists()
    Swarm.objects.filter(pk=swarm.pk).update(deadline_at=timezone.now() - timedelta(seconds=1))
    reconcile.LOOK["swarm_deadline"](swarm.pk)
    swarm.refresh_from_db()
    assert swarm.state == "failing"
    assert swarm.because.startswith("deadline: it was 2")
    _stop(crew.held.pop())
    crew.run(swarm)
    assert swarm.state == "failed"
    body = client_for(alice, team).get("/projects/lists/swarms/1/").content.decode()
    assert "Set a later deadline (or none) and retry the swarm: what is done stays done." in body
    assert not Due.objects.filter(kind="swarm_deadline").exists()
    crew.holds = set()
    operations.retry_swarm(swarm, by=alice)
    crew.run(swarm)
    assert (swarm.state, swarm.deadline_at) == ("succeeded", None), swarm.because


def test_an_ended_swarm_leaves_no_deadline_behind(project: Project, crew: Crew, alice: User) -> None:
    crew.plan = plan(work("a"))
    landed = goals.state_goal(project, "Write the files", by=alice)
    cancelled = goals.state_goal(project, "Write the files", by=alice)
    for swarm in (landed, cancelled):
        operations.set_deadline(swarm, timezone.now() + timedelta(hours=1), by=alice)
    operations.cancel(cancelled, by=alice)
    crew.run(cancelled)
    crew.run(landed)
    assert (landed.state, cancelled.state) == ("succeeded", "cancelled"), landed.because
    assert not Due.objects.filter(kind="swarm_deadline").exists()
    with pytest.raises(NotNow, match="has ended"):
        operations.set_deadline(landed, None, by=alice)
    with pytest.raises(ValidationError, match="in the future"):
        operations.set_deadline(landed, timezone.now(), by=alice)


SWARM_VERBS = {
    "pause": operations.pause,
    "resume": operations.resume,
    "drain": operations.drain,
    "cancel": operations.cancel,
    "retry": operations.retry_swarm,
}


def test_what_the_pages_offer_is_what_the_verbs_allow_in_every_state(project: Project, alice: User) -> None:
    swarm = goals.state_goal(project, "Write the files", by=alice)
    Node.objects.create(swarm=swarm, plan=swarm.plans.get(), key="a", title="A", role="developer")
    Swarm.objects.filter(pk=swarm.pk).update(started_at=timezone.now())
    events = Event.objects.filter(subject=swarm.topic)
    before = events.count()
    for state in SwarmState:
        for name, verb in SWARM_VERBS.items():
            with transaction.atomic():
                for step in PATHS[state]:
                    Swarm.objects.filter(pk=swarm.pk).update(**{"state": step})
                offered = name in operations.possible(Swarm.objects.get(pk=swarm.pk))
                refused = _refusal(swarm, verb, alice)
                assert (not refused) is offered, f"{name} in {state}: {refused}"
                if refused:
                    assert f"The swarm is {state.replace('_', ' ')}; that is possible only while it is " in refused
                    assert events.count() == before
                transaction.set_rollback(True)
    swarm.nodes.all().delete()
    Swarm.objects.filter(pk=swarm.pk).update(started_at=None)


def _refusal(swarm: Swarm, verb: Callable[..., None], by: User) -> str:
    try:
        verb(swarm, by=by)
    except NotNow as error:
        return str(error.messages[0])
    return ""


PATHS: dict[str, list[str]] = {SwarmState.PLANNING: []}
for _ in SwarmState:
    for _before, _path in list(PATHS.items()):
        for _after in Swarm.MOVES[_before]:
            PATHS.setdefault(_after, [*_path, _after])


def command(*words: str) -> str:
    out = StringIO()
    call_command("swarm", *words, "--team", "acme", stdout=out)
    return out.getvalue()


def test_the_operator_does_the_same_on_the_command_line(project: Project, crew: Crew) -> None:
    swarm = begin(project, crew, plan(work("w"), work("s", "w"), work("f", "w", on_failure="continue")), holds="w")
    assert "lists #1" in command("pause", "lists#1", "--because", "the <b>network</b> is slow").splitlines()[0]
    assert "paused by the operator: the <b>network</b> is slow" in command("show", str(swarm.pk))
    assert "running, resumed by the operator" in command("resume", "lists#1")
    assert "w                        running" in command("show", "lists#1", "--node", "w")
    assert "s  " not in command("show", "lists#1", "--node", "w")
    assert "skipped by the operator: too late" in command("skip", "lists#1", "--node", "s", "--because", "too late")
    assert "s                        blocked" in command("retry", "lists#1", "--node", "s")
    command("priority", "lists#1", "--to", "9")
    command("priority", "lists#1", "--node", "s", "--to", "-3")
    command("deadline", "lists#1", "--at", (timezone.now() + timedelta(hours=1)).isoformat())
    swarm.refresh_from_db()
    assert (swarm.priority, Node.objects.get(key="s").priority) == (9, -3)
    assert swarm.deadline_at is not None
    command("deadline", "lists#1", "--at", "none")
    assert "draining, drained by the operator: enough" in command("drain", "lists#1", "--because", " enough ")
    command("cancel", "lists#1", "--because", "no more")
    swarm.refresh_from_db()
    assert (swarm.state, swarm.because, swarm.deadline_at) == ("cancelling", "cancelled by the operator: no more", None)
    moved = Event.objects.filter(subject=swarm.topic, kind="swarm.moved", payload__after="cancelling").get()
    assert moved.actor == "system"


WRONG = {
    "The swarm is planning; that is possible only while it is running": ["pause", "lists#1"],
    "the team has no swarm lists#9": ["pause", "lists#9"],
    "neither project#number nor an id": ["pause", "nine"],
    "--node: say which": ["skip", "lists#1"],
    "has no node x. Its nodes: none yet": ["skip", "lists#1", "--node", "x"],
    "--to: say the priority": ["priority", "lists#1"],
    "--at: say until when": ["deadline", "lists#1"],
    "no moment with a time zone": ["deadline", "lists#1", "--at", "tomorrow"],
    "--at: 2030-13-31T18:00+00:00 is no moment": ["deadline", "lists#1", "--at", "2030-13-31T18:00+00:00"],
    "has no node . Its nodes": ["retry", "lists#1", "--node", ""],
    "--because: priority takes none": ["priority", "lists#1", "--to", "1", "--because", "x"],
    "--because: rollback takes none": ["rollback", "lists#1", "--because", "x"],
    "--to: pause takes none; it is for priority": ["pause", "lists#1", "--to", "1"],
    "--at: show takes none": ["show", "lists#1", "--at", "none"],
    "--note: plan takes none": ["plan", "lists#1", "--note", ""],
    "--node: plan takes none": ["plan", "lists#1", "--node", "a"],
    "Say what should be different": ["change", "lists#1", "--note", " "],
    "Priorities go from": ["priority", "lists#1", "--to", str(10**30)],
    "swarm:  is neither project#number nor an id": ["show", ""],
    "A reason has at most 500 characters, and this one 501": ["cancel", "lists#1", "--because", "x" * 501],
    "invalid choice": ["fly", "lists#1"],
}


def test_what_agents_wrote_gives_the_operators_terminal_no_orders(project: Project, alice: User) -> None:
    swarm = goals.state_goal(project, "Write the files", by=alice)
    Swarm.objects.update(because="\x1b]0;pwned\x07 \u202eevil\u202c\r")
    said = command("show", "lists#1") + _of("why", "lists#1") + _of("replay", "lists#1")
    assert "pwned" in said
    assert {letter for letter in said if not letter.isprintable()} == {"\n"}
    Swarm.objects.filter(pk=swarm.pk).update(because="")


def _of(name: str, *words: str) -> str:
    out = StringIO()
    call_command(name, *words, stdout=out)
    return out.getvalue()


OTHERS = {
    "there is no team with the address , or it is not ready": [
        ("why", "lists#1", "--team", ""),
        ("replay", "lists#1", "--team", ""),
        ("swarm", "show", "lists#1", "--team", ""),
        ("fork_swarm", "lists#1", "--at", "1", "--team", ""),
    ],
    "--team : there is no ready team": [("verify", "--team", "")],
    "in the team globex": [
        ("replay", "lists#1", "--team", "globex"),
        ("verify", "--swarm", "lists#1", "--team", "globex"),
    ],
    "the team has no swarm lists#1": [("swarm", "cancel", "lists#1", "--team", "globex")],
    "No node 'lists#1'": [("why", "lists#1", "--team", "globex")],
    "it is from 1 to 100000": [("verify", "--most", "0"), ("verify", "--most", "9" * 30), ("verify", "--most", "-1")],
    "has the events 1 to": [("replay", "lists#1", "--at", "9" * 30), ("replay", "lists#1", "--at", "0")],
    "neither <project>#<number>": [("replay", ""), ("verify", "--swarm", "#"), ("export_swarm", "lists#1/x")],
}


def test_no_command_passes_over_what_it_was_told(project: Project, alice: User, globex: Team) -> None:
    goals.state_goal(project, "Write the files", by=alice)
    for says, commands in OTHERS.items():
        for words in commands:
            with pytest.raises(CommandError, match=re.escape(says)):
                _of(*words)


def test_the_command_says_what_is_wrong(project: Project, alice: User) -> None:
    goals.state_goal(project, "Write the files", by=alice)
    for says, words in WRONG.items():
        with pytest.raises(CommandError, match=re.escape(says)):
            command(*words)
