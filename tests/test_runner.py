"""The runner as a process: its link, its children, and how they end."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from agents.contracts import Delta, FailureOutcome, FailureReason, MessageRecord, PartRecord, WorkOutcome
from agents.contracts.link import Order
from agents.runner.reports import Faults, Reports, Stale
from agents.runner.settings import SettingsError, read
from tests.fake_control_plane import RUNNER_TOKEN, FakeControlPlane, call, ended, serving, steps, until
from tests.test_sandbox import command_lines, parent_of, processes_with

ROOT = Path(__file__).resolve().parent.parent
DONE = [call("final_result", summary="Done.")]


@pytest.fixture
def plane(tmp_path: Path) -> Iterator[FakeControlPlane]:
    """A control plane of one's own, without a runner."""
    with serving(tmp_path / "plane") as plane:
        yield plane


@contextmanager
def running(plane: FakeControlPlane, folder: Path, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    """A runner process; its log lands beside its folder."""
    log = folder.with_suffix(".log").open("ab")
    process = subprocess.Popen(
        [sys.executable, "-m", "agents.runner"],
        cwd=ROOT,
        env={
            "PATH": os.environ["PATH"],
            "HOME": "/nonexistent",
            "WAGGLE_URL": plane.url,
            "WAGGLE_RUNNER_TOKEN": RUNNER_TOKEN,
            "WAGGLE_RUNNER_NAME": "tester",
            "WAGGLE_RUNNER_DIR": str(folder),
            "WAGGLE_RUNNER_DRAIN_SECONDS": "0",
        }
        | environment,
        stdout=log,
        stderr=log,
    )
    greeted = len(plane.hellos)
    try:
        until(lambda: len(plane.hellos) > greeted or process.poll() is not None, "the runner says hello")
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
            ended(process)
        log.close()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeControlPlane]:
    folder = tmp_path_factory.mktemp("shared")
    with serving(folder / "plane") as plane, running(plane, folder / "runner"):
        yield plane


@pytest.fixture
def fleet(shared: FakeControlPlane) -> Iterator[FakeControlPlane]:
    """A control plane with a runner that waits for work; what a test leaves running is ended after it."""
    shared.forget()
    yield shared
    shared.stale = shared.down = shared.holds_pushes = False
    shared.refused = shared.rescue = ""
    shared.no_push = set()
    shared.orders = {execution: Order(verdict="stale") for execution in shared.accepted}
    until(lambda: set(shared.accepted) <= set(shared.ended), "all work ends")


def sleeping(marker: str) -> list[dict[str, Any]]:
    return [call("run_command", command=f"sh -c 'sleep 60 # {marker}'; true")]


def begin_sleeping(plane: FakeControlPlane, **changes: Any) -> tuple[Any, str]:
    """Assigns work that sleeps in the sandbox, and waits until it does."""
    marker = f"{time.time_ns()}"
    plane.script = steps(sleeping(marker), DONE)
    assignment = plane.assignment(**changes)
    plane.assign(assignment)
    until(lambda: processes_now_with(marker), "the command runs")
    return assignment, marker


def processes_now_with(marker: str) -> bool:
    return any(marker in line for _, line in command_lines())


def test_a_runner_greets_with_its_name_capacity_and_sandbox(fleet: FakeControlPlane) -> None:
    hello = fleet.hellos[0]

    assert (hello.name, hello.capacity, hello.holding) == ("tester", 4, ())
    assert hello.sandbox in ("bubblewrap", "unshare")


def test_an_assignment_is_carried_out_reported_and_cleaned_up(fleet: FakeControlPlane) -> None:
    fleet.script = steps([call("write_file", path="a.txt", content="b")], DONE)
    assignment = fleet.assignment()

    fleet.assign(assignment)
    until(lambda: fleet.ended, "the execution ends")

    assert fleet.accepted == [assignment.execution]
    outcome = fleet.outcomes[0]
    assert isinstance(outcome, WorkOutcome)
    assert fleet.git("show", "attempts/1:a.txt") == "b"
    assert not (fleet.folder.parent / "runner" / str(assignment.execution)).exists()


def test_several_assignments_run_at_the_same_time(fleet: FakeControlPlane) -> None:
    fleet.script = steps([{"pause": 1.0}, call("write_file", path="a.txt", content="b")], DONE)
    assignments = [
        fleet.assignment(
            repository=fleet.assignment().repository.model_copy(update={"branch": f"attempts/{number}"})  # type: ignore[union-attr]
        )
        for number in range(3)
    ]

    for assignment in assignments:
        fleet.assign(assignment)
    until(lambda: len(fleet.requests) >= 3 and not fleet.outcomes, "all three ask the model before one is done")
    until(lambda: len(fleet.ended) == 3, "all end")

    assert {type(outcome) for outcome in fleet.outcomes} == {WorkOutcome}


def test_a_child_is_forked_with_everything_imported(fleet: FakeControlPlane) -> None:
    """The model client's native JSON parser is loaded in the process that children are forked from."""
    _, marker = begin_sleeping(fleet)
    parent = parent_of(child_of(marker))

    assert "jiter" in Path(f"/proc/{parent}/maps").read_text()


def test_heartbeats_tell_progress(fleet: FakeControlPlane) -> None:
    assignment, _ = begin_sleeping(fleet)

    until(lambda: any(beat.progress > 3 for beat in fleet.beats), "progress is told")

    assert {(beat.execution, beat.fence) for beat in fleet.beats} == {(assignment.execution, assignment.fence)}


def test_a_cancelled_execution_stops_its_command_and_says_so(fleet: FakeControlPlane) -> None:
    assignment, marker = begin_sleeping(fleet)

    fleet.orders[assignment.execution] = Order(verdict="cancel")
    until(lambda: fleet.ended, "the execution ends")

    assert [outcome.reason for outcome in fleet.outcomes if isinstance(outcome, FailureOutcome)] == [
        FailureReason.CANCELLED
    ]
    assert not processes_with(marker)


def test_a_stale_execution_is_killed_without_a_word(fleet: FakeControlPlane) -> None:
    assignment, marker = begin_sleeping(fleet)

    fleet.orders[assignment.execution] = Order(verdict="stale")
    until(lambda: fleet.ended, "the execution ends")

    assert fleet.outcomes == []
    assert not processes_with(marker)


def test_a_refused_record_stops_an_execution_without_a_word(fleet: FakeControlPlane) -> None:
    fleet.stale = True
    fleet.assign(fleet.assignment())

    until(lambda: fleet.ended, "the execution ends")

    assert fleet.outcomes == []


def test_records_that_are_refused_end_an_execution_with_the_reason(fleet: FakeControlPlane) -> None:
    fleet.refused = "unheard of"
    fleet.script = steps([{"content": "This is unheard of."}, call("run_command", command="sleep 60")], DONE)
    fleet.assign(fleet.assignment())
    until(lambda: fleet.ended, "it is over")
    (outcome,) = fleet.outcomes
    assert isinstance(outcome, FailureOutcome)
    assert "refused records with HTTP 413: too large" in outcome.message


def test_an_execution_that_reaches_its_time_limit_says_so(fleet: FakeControlPlane) -> None:
    _, marker = begin_sleeping(fleet, time_limit=3)

    until(lambda: fleet.ended, "the execution ends")

    assert [outcome.reason for outcome in fleet.outcomes if isinstance(outcome, FailureOutcome)] == [
        FailureReason.TIMED_OUT
    ]
    assert not processes_with(marker)


def test_a_child_that_dies_is_reported_by_its_runner(fleet: FakeControlPlane) -> None:
    _, marker = begin_sleeping(fleet)

    os.kill(child_of(marker), signal.SIGKILL)
    until(lambda: fleet.ended, "the execution ends")

    outcome = fleet.outcomes[0]
    assert isinstance(outcome, FailureOutcome)
    assert outcome.reason == FailureReason.AGENT_ERROR
    assert "died without a word" in outcome.message
    assert '"event": "begins"' in outcome.detail
    assert not processes_with(marker)


def test_what_a_dead_child_left_to_nobody_is_ended_too(fleet: FakeControlPlane) -> None:
    """A sandbox is an orphan when the child dies amid its making."""
    assignment, marker = begin_sleeping(fleet)
    folder = fleet.folder.parent / "runner" / str(assignment.execution)
    orphan = subprocess.Popen(["sh", "-c", f"sleep 60; true # {folder}/scratch/tmp"], start_new_session=True)
    try:
        os.kill(child_of(marker), signal.SIGKILL)
        assert orphan.wait(20) == -signal.SIGKILL
    finally:
        orphan.kill()


def child_of(marker: str) -> int:
    """The process that carries out the execution whose command holds the marker: the leader of its session."""
    rows: dict[int, str] = {}

    def is_seen() -> int:  # amid an exec a process shows no words
        rows.update((pid, line) for pid, line in command_lines() if line)
        return next((pid for pid, line in rows.items() if marker in line), 0)

    until(is_seen, "the command shows")
    pid = is_seen()
    while "multiprocessing.forkserver" not in rows[pid]:
        pid = parent_of(pid)
    return pid


def test_a_killed_runner_takes_its_children_and_their_commands_along(plane: FakeControlPlane, tmp_path: Path) -> None:
    with running(plane, tmp_path / "runner") as runner:
        _, marker = begin_sleeping(plane)
        child = child_of(marker)
        runner.kill()
        runner.wait(10)

    until(lambda: not Path(f"/proc/{child}").exists(), "the child ends", 10)
    assert not processes_with(marker)
    assert plane.outcomes == []


def test_a_runner_that_starts_again_clears_what_it_left_and_works(plane: FakeControlPlane, tmp_path: Path) -> None:
    with running(plane, tmp_path / "runner") as first:
        assignment, _ = begin_sleeping(plane)
        first.kill()
        first.wait(10)
    left = tmp_path / "runner" / str(assignment.execution)
    assert left.exists()

    with running(plane, tmp_path / "runner"):
        assert not left.exists()
        assert plane.hellos[0].boot != plane.hellos[1].boot
        assert plane.hellos[1].holding == ()
        assert [one.after for one in plane.hellos] == [None, plane.hellos[0].boot]
        plane.script = steps([call("write_file", path="a.txt", content="b")], DONE)
        plane.assign(plane.assignment())
        until(lambda: plane.outcomes, "the next assignment is done")


def test_a_stopped_runner_ends_its_work_and_leaves_nothing(plane: FakeControlPlane, tmp_path: Path) -> None:
    with running(plane, tmp_path / "runner") as runner:
        assignment, marker = begin_sleeping(plane)
        runner.terminate()
        assert ended(runner) == 0

    assert plane.ended == [assignment.execution]
    assert plane.let_go == {assignment.execution: "leaving"}
    assert plane.outcomes == []
    assert not processes_with(marker)


def test_work_goes_on_while_the_link_is_down(fleet: FakeControlPlane) -> None:
    before = len(fleet.hellos)
    fleet.script = steps([{"pause": 2.0}, call("write_file", path="a.txt", content="b")], DONE)
    assignment = fleet.assignment()
    fleet.assign(assignment)
    until(lambda: fleet.requests, "the model is asked")

    fleet.hang_up()
    until(lambda: len(fleet.hellos) == before + 1, "the runner comes back")

    assert fleet.hellos[-1].holding == (assignment.execution,)
    assert fleet.hellos[-1].boot == fleet.hellos[0].boot
    until(lambda: fleet.ended, "the execution ends")
    assert isinstance(fleet.outcomes[0], WorkOutcome)


def test_reports_wait_for_a_control_plane_that_is_down(fleet: FakeControlPlane) -> None:
    fleet.script = steps([{"pause": 0.5}, call("write_file", path="a.txt", content="b")], [{"pause": 0.5}, *DONE])
    fleet.assign(fleet.assignment())
    until(lambda: fleet.requests, "the model is asked")

    fleet.down = True
    time.sleep(2)
    fleet.down = False
    until(lambda: fleet.ended, "the execution ends")

    assert isinstance(fleet.outcomes[0], WorkOutcome)


def test_the_same_assignment_twice_is_begun_once(fleet: FakeControlPlane) -> None:
    assignment, _ = begin_sleeping(fleet)

    fleet.assign(assignment)
    until(lambda: len(fleet.accepted) == 2, "it is confirmed again")

    assert fleet.accepted == [assignment.execution] * 2
    assert len(fleet.requests) == 1


def test_what_exceeds_the_capacity_is_let_go(plane: FakeControlPlane, tmp_path: Path) -> None:
    with running(plane, tmp_path / "small", WAGGLE_RUNNER_CAPACITY="1"):
        begin_sleeping(plane)
        second = plane.assignment()
        plane.assign(second)

        until(lambda: plane.ended, "the second is let go")

    assert plane.ended[0] == second.execution
    assert second.execution not in plane.accepted


def test_a_place_that_is_about_to_be_free_is_waited_for(plane: FakeControlPlane, tmp_path: Path) -> None:
    with running(plane, tmp_path / "small", WAGGLE_RUNNER_CAPACITY="1"):
        first, _ = begin_sleeping(plane)
        second = plane.assignment()
        plane.assign(second)
        plane.orders = {first.execution: Order(verdict="stale")}

        until(lambda: second.execution in plane.accepted, "the second begins once the first has ended")


def test_two_runners_do_not_share_a_folder(plane: FakeControlPlane, tmp_path: Path) -> None:
    with running(plane, tmp_path / "runner"), running(plane, tmp_path / "runner") as second:
        assert second.wait(20) == 2

    assert "WAGGLE_RUNNER_DIR" in (tmp_path / "runner.log").read_text()


def test_a_runner_neither_needs_a_database_nor_imports_django() -> None:
    code = (
        "import sys, agents.runner.__main__, agents.runner.child\n"
        "sys.exit(any(name.split('.')[0] in ('django', 'psycopg', 'redis', 'dramatiq') for name in sys.modules))"
    )
    environment = {"PATH": os.environ["PATH"]}

    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment).returncode == 0


def test_wrong_settings_are_named_at_start(tmp_path: Path) -> None:
    started = subprocess.run(
        [sys.executable, "-m", "agents.runner"],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "WAGGLE_URL": "localhost:8000"},
        capture_output=True,
        text=True,
    )

    assert started.returncode == 2
    assert "WAGGLE_URL" in started.stderr
    assert "http://127.0.0.1:8000" in started.stderr
    assert "Traceback" not in started.stderr


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"WAGGLE_URL": ""}, "WAGGLE_URL"),
        ({"WAGGLE_RUNNER_TOKEN": ""}, "WAGGLE_RUNNER_TOKEN_FILE"),
        ({"WAGGLE_RUNNER_TOKEN": "", "WAGGLE_RUNNER_TOKEN_FILE": "/nowhere"}, "/nowhere"),
        ({"WAGGLE_RUNNER_CAPACITY": "many"}, "WAGGLE_RUNNER_CAPACITY"),
        ({"WAGGLE_RUNNER_DRAIN_SECONDS": "-1"}, "WAGGLE_RUNNER_DRAIN_SECONDS"),
        ({"WAGGLE_RUNNER_LINK": "pigeon"}, "WAGGLE_RUNNER_LINK"),
        ({"WAGGLE_LOG_FORMAT": "xml"}, "WAGGLE_LOG_FORMAT"),
    ],
)
def test_each_wrong_setting_is_refused_by_name(changes: dict[str, str], named: str) -> None:
    good = {"WAGGLE_URL": "http://127.0.0.1:8000/", "WAGGLE_RUNNER_TOKEN": "wg_x"}
    assert read(good).link_url == "ws://127.0.0.1:8000/runner/"

    with pytest.raises(SettingsError, match=named):
        read(good | changes)


def test_records_keep_their_order_and_what_follows_on_is_merged(plane: FakeControlPlane) -> None:
    message, part = MessageRecord(id=uuid4(), role="assistant"), uuid4()
    first = PartRecord(id=part, message=message.id, index=0, kind="text", state="open")

    async def report() -> None:
        reports = Reports(plane.assignment())
        reports.record(message, first)
        for offset in range(500):
            reports.record(Delta(part=part, offset=offset, text="x"))
        reports.record(first.model_copy(update={"text": "x" * 500, "state": "done"}))
        reports.record(*(MessageRecord(id=uuid4(), role="user") for _ in range(250)))
        await reports.outcome(FailureOutcome(reason=FailureReason.AGENT_ERROR, message="no"))
        await reports.close()

    asyncio.run(report())

    assert [record.type for record in plane.records[:4]] == ["message", "part", "delta", "part"]
    assert plane.records[2] == Delta(part=part, offset=0, text="x" * 500)
    assert len(plane.records) == 254
    assert plane.batches == 3
    assert len(plane.outcomes) == 1


def test_faults_and_staleness_reach_the_one_who_reports(plane: FakeControlPlane) -> None:
    plane.faults = [["one", "two"]]
    outcome = FailureOutcome(reason=FailureReason.AGENT_ERROR, message="no")

    async def report() -> None:
        reports = Reports(plane.assignment())
        with pytest.raises(Faults) as caught:
            await reports.outcome(outcome)
        assert caught.value.faults == ["one", "two"]
        assert not reports.accepted
        plane.stale = True
        with pytest.raises(Stale):
            await reports.outcome(outcome)
        await reports.close()

    asyncio.run(report())


def test_who_answers_in_the_control_planes_place_is_not_believed(plane: FakeControlPlane) -> None:
    async def talk() -> None:
        reports = Reports(plane.assignment())
        plane.lies = True
        asyncio.get_running_loop().call_later(0.3, setattr, plane, "lies", False)
        await reports.outcome(FailureOutcome(reason=FailureReason.AGENT_ERROR, message="no"))
        await reports.close()

    asyncio.run(talk())
    assert [one.kind for one in plane.outcomes] == ["failure"]


def test_a_control_plane_that_stays_away_ends_the_lease(plane: FakeControlPlane) -> None:
    plane.down = True

    async def report() -> None:
        reports = Reports(plane.assignment(lease_seconds=0.2))
        with pytest.raises(Stale, match="could not be reached"):
            await reports.outcome(FailureOutcome(reason=FailureReason.AGENT_ERROR, message="no"))
        await reports.close()

    asyncio.run(report())
