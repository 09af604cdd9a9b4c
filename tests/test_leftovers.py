"""Whatever ends an agent, what it had changed is on the branch of its attempt, or stays on its runner and says so."""

import asyncio
import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from agents.contracts import Assignment, FailureOutcome, PermissionGiven, WorkOutcome
from agents.contracts.link import Order
from agents.runner.execution import Execution
from agents.runner.leftovers import KEPT, Leftovers
from agents.runner.mirror import MIRRORS
from agents.runner.proof import FOLDER as PROOF
from agents.runner.saving import Saving
from agents.runner.workspace import Workspace
from tests.fake_control_plane import FakeControlPlane, call, ended, serving, steps, until
from tests.long import long
from tests.test_runner import DONE, ROOT, begin_sleeping, fleet, processes_now_with, running, shared  # noqa: F401
from tests.test_sandbox import command_lines

TOKEN, RESCUE = "wg_attempt_token", "wg_rescue_token"
HALF = call("write_file", path="half.txt", content="half done\n")


@pytest.fixture
def plane(tmp_path: Path) -> Iterator[FakeControlPlane]:
    with serving(tmp_path / "plane") as plane:
        yield plane


def begin_half(plane: FakeControlPlane, **changes: Any) -> tuple[Assignment, str]:
    """An agent that has written a file, and sleeps."""
    marker = uuid4().hex
    plane.script = steps([HALF], [call("run_command", command=f"sh -c 'sleep 60 # {marker}'; true")], DONE)
    assignment = plane.assignment(**changes)
    plane.assign(assignment)
    until(lambda: processes_now_with(marker), "the command runs")
    return assignment, marker


def on_branch(plane: FakeControlPlane, path: str = "half.txt") -> str:
    return plane.git("show", f"attempts/1:{path}") + "\n"


def has_branch(plane: FakeControlPlane) -> bool:
    return bool(plane.git("for-each-ref", "refs/heads/attempts/1"))


def test_what_a_cancelled_agent_had_changed_is_on_its_branch(fleet: FakeControlPlane) -> None:  # noqa: F811
    assignment, _ = begin_half(fleet)
    fleet.orders = {assignment.execution: Order(verdict="cancel")}
    until(lambda: fleet.ended, "it is over")
    assert isinstance(fleet.outcomes[0], FailureOutcome)
    assert on_branch(fleet) == "half done\n"
    assert fleet.git("log", "-1", "--format=%s", "attempts/1").strip() == "Unfinished: Greet politely"
    assert "is kept on its branch" in fleet.parts("step")[-1].text
    assert fleet.offered == []


def test_a_killed_agent_is_saved_by_its_runner_before_its_failure_is_told(fleet: FakeControlPlane) -> None:  # noqa: F811
    assignment, _ = begin_half(fleet)
    os.kill(child_of(assignment), signal.SIGKILL)
    until(lambda: fleet.outcomes, "its runner tells of it")
    assert on_branch(fleet) == "half done\n"


def child_of(assignment: Assignment) -> int:
    """The process that carries out an assignment, by the folder that it works in."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                tree = [(entry / "fd" / name).readlink() for name in ("1", "2")]
                command = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if b"bwrap" in command and str(assignment.execution).encode() in command and tree:
                status = (entry / "status").read_text()
                return int(next(line for line in status.splitlines() if line.startswith("PPid:")).split()[1])
    raise AssertionError("nobody carries it out")


def test_whose_lease_is_gone_keeps_its_work_until_it_may_push_it(fleet: FakeControlPlane) -> None:  # noqa: F811
    fleet.no_push = {TOKEN}
    assignment, _ = begin_half(fleet)
    fleet.orders = {assignment.execution: Order(verdict="stale")}
    until(lambda: fleet.offered, "the runner offers what it has")
    folder = Path(fleet.offered[0].folder)
    assert folder == fleet.folder.parent / "runner" / "kept" / str(assignment.execution)
    assert (folder / "work" / "half.txt").read_text() == "half done\n"
    assert not has_branch(fleet)
    assert TOKEN not in (folder / "assignment.json").read_text()

    fleet.rescue = RESCUE
    fleet.hang_up()  # the next connection offers it again
    until(lambda: fleet.saved, "it is pushed")
    assert on_branch(fleet) == "half done\n"
    assert fleet.saved[0].commit == fleet.git("rev-parse", "attempts/1").strip()
    assert not folder.parent.exists()


def test_a_second_offer_does_not_end_the_token_of_a_push_that_is_under_way(fleet: FakeControlPlane) -> None:  # noqa: F811
    fleet.no_push = {TOKEN}
    assignment, _ = begin_half(fleet)
    fleet.orders = {assignment.execution: Order(verdict="stale")}
    until(lambda: fleet.offered, "its work is kept and offered")
    fleet.rescue, fleet.holds_pushes = RESCUE, True
    fleet.hang_up()
    until(lambda: f"Bearer {RESCUE}" in fleet.git_headers, "it is being pushed")

    fleet.script = steps(DONE)
    fleet.assign(fleet.assignment())
    until(lambda: len(fleet.ended) == 2, "another execution is over: what is kept is looked at again")
    greeted = len(fleet.hellos)
    fleet.hang_up()
    until(lambda: len(fleet.hellos) > greeted, "there is a new connection")
    time.sleep(0.5)
    fleet.holds_pushes = False
    until(lambda: fleet.saved or fleet.offered[-1].because, "the push has ended")

    assert fleet.saved, fleet.offered[-1].because
    assert fleet.rescues == [RESCUE]
    assert on_branch(fleet) == "half done\n"


def test_what_a_killed_runner_had_is_saved_by_the_next_one(plane: FakeControlPlane, tmp_path: Path) -> None:
    with running(plane, tmp_path / "runner") as first:
        begin_half(plane)
        first.kill()
        first.wait(10)
    plane.rescue = RESCUE
    with running(plane, tmp_path / "runner"):
        until(lambda: plane.saved, "it is pushed")
    assert on_branch(plane) == "half done\n"


def test_what_cannot_be_pushed_stays_and_says_why(fleet: FakeControlPlane) -> None:  # noqa: F811
    fleet.no_push, fleet.rescue = {TOKEN, RESCUE}, RESCUE
    assignment, _ = begin_half(fleet)
    fleet.orders = {assignment.execution: Order(verdict="stale")}
    until(lambda: len(fleet.offered) == 2, "it is tried, and told of")
    assert "git push failed" in fleet.offered[1].because
    assert (Path(fleet.offered[1].folder) / "work" / "half.txt").exists()

    fleet.rescue = "forget"
    fleet.hang_up()
    until(lambda: not Path(fleet.offered[1].folder).exists(), "what nobody needs is removed")


def test_what_can_neither_be_pushed_nor_put_aside_stays_where_it_is_and_is_told_of(
    plane: FakeControlPlane, tmp_path: Path
) -> None:
    plane.no_push = {TOKEN}
    with running(plane, tmp_path / "runner"):
        assignment, _ = begin_half(plane)
        aside = tmp_path / "runner" / KEPT
        aside.touch()  # as on a full disk, no folder can be made
        plane.orders = {assignment.execution: Order(verdict="stale")}
        until(lambda: plane.ended and plane.offered, "it is over, and told of")
        (told,) = plane.offered
        assert "git push failed" in told.because
        assert (Path(told.folder) / "work" / "half.txt").exists()
    aside.unlink()
    plane.rescue = RESCUE
    with running(plane, tmp_path / "runner"):
        until(lambda: plane.saved, "the next runner saves it")
    assert on_branch(plane) == "half done\n"


def test_a_folder_goes_also_when_something_in_it_may_not_be_written(tmp_path: Path) -> None:
    locked = tmp_path / "run" / "work" / "cache"
    locked.mkdir(parents=True)
    (locked / "file").touch()
    (tmp_path / "other").mkdir(mode=0o500)
    (locked / "link").symlink_to(tmp_path / "other")
    locked.chmod(0o500)
    said = f"from pathlib import Path; from agents.runner.disk import remove; remove(Path({str(tmp_path / 'run')!r}))"
    # To the superuser everything is allowed, unless he lays that down.
    humble = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"] if os.geteuid() == 0 else []
    subprocess.run([*humble, sys.executable, "-c", said], check=True, cwd=ROOT)
    assert not (tmp_path / "run").exists()
    assert stat.S_IMODE((tmp_path / "other").stat().st_mode) == 0o500


def test_nothing_is_kept_of_who_changed_nothing_or_delivered(fleet: FakeControlPlane) -> None:  # noqa: F811
    fleet.no_push = {TOKEN}
    idle, _ = begin_sleeping(fleet)
    fleet.orders = {idle.execution: Order(verdict="stale")}
    until(lambda: fleet.ended, "it is over")
    fleet.no_push = set()
    fleet.script = steps([HALF], DONE)
    fleet.assign(fleet.assignment())
    until(lambda: len(fleet.ended) == 2, "it is over")
    assert isinstance(fleet.outcomes[-1], WorkOutcome)
    assert fleet.offered == []
    assert {path.name for path in (fleet.folder.parent / "runner").iterdir() if path.is_dir()} == {MIRRORS, PROOF}


def test_a_runner_that_is_asked_to_stop_lets_its_agents_finish(plane: FakeControlPlane, tmp_path: Path) -> None:
    with running(plane, tmp_path / "runner", WAGGLE_RUNNER_DRAIN_SECONDS="30") as process:
        plane.script = steps([HALF], [call("run_command", command="sleep 1.5")], DONE)
        plane.assign(plane.assignment())
        until(lambda: len(plane.requests) == 2, "it is at work")
        process.terminate()
        until(lambda: plane.leaving, "it says so")
        late = plane.assignment()
        plane.assign(late)
        assert ended(process) == 0
    assert isinstance(plane.outcomes[0], WorkOutcome)
    assert plane.let_go[late.execution] == "leaving"


def test_work_is_handed_back_pushed_whatever_its_agent_waits_for(plane: FakeControlPlane, tmp_path: Path) -> None:
    waits = {
        "its model": [{"pause": 60}],
        "a person's word": [call("ask_person", question="Which one?")],
        "a permission": [call("run_command", command="true")],
    }

    def script(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
        begun = any(message["role"] == "assistant" for message in messages)
        return waits[str(messages[1]["content"])] if begun else [HALF]

    plane.script = script
    plane.judge = lambda asked: PermissionGiven(verdict="ask" if asked.tool == "shell" else "allow")
    with running(plane, tmp_path / "runner") as process:
        given = []
        for number, what in enumerate(waits):
            made = plane.assignment(briefing=what)
            assert made.repository is not None
            branch = made.repository.model_copy(update={"branch": f"attempts/{number}"})
            given.append(made.model_copy(update={"repository": branch}))
            plane.assign(given[-1])
        until(lambda: len(plane.requests) == 6 and plane.parts("question"), "all wait")
        until(lambda: any(asked.tool == "shell" for asked in plane.asked), "all wait")
        process.terminate()
        assert ended(process) == 0
    assert plane.outcomes == []
    assert [plane.let_go[one.execution] for one in given] == ["leaving"] * 3
    assert [plane.git("show", f"attempts/{number}:half.txt") for number in range(3)] == ["half done"] * 3


@pytest.mark.parametrize("times", [1, 2], ids=["its time is up", "somebody asks twice"])
def test_who_does_not_finish_in_time_hands_its_work_back_pushed(
    times: int, plane: FakeControlPlane, tmp_path: Path
) -> None:
    seconds = {1: "1", 2: "600"}[times]
    with running(plane, tmp_path / "runner", WAGGLE_RUNNER_DRAIN_SECONDS=seconds) as process:
        assignment, marker = begin_half(plane)
        process.terminate()
        if times == 2:
            until(lambda: plane.leaving, "it heard")
            process.terminate()
        assert ended(process) == 0
    assert plane.outcomes == []
    assert plane.let_go[assignment.execution] == "leaving"
    assert on_branch(plane) == "half done\n"
    assert not processes_now_with(marker)


def is_pushing(plane: FakeControlPlane) -> bool:
    return any("git-remote-http" in line and plane.url in line for _, line in command_lines())


def test_a_push_that_hangs_is_given_up_and_what_it_had_stays(plane: FakeControlPlane, tmp_path: Path) -> None:
    assignment, said = plane.assignment(), list[Any]()
    assert assignment.repository is not None
    folder, kept, repository = (
        tmp_path / str(assignment.execution),
        Leftovers(tmp_path, 1 << 30, 1),
        assignment.repository,
    )
    plane.holds_pushes = True

    async def send(message: Any) -> None:
        said.append(message)

    async def give_up() -> bool:
        workspace = await Workspace.clone(folder, repository, assignment.token)
        (workspace.work / "half.txt").write_text("half done\n")
        kept.note(assignment, folder)
        saving = Saving(kept, send)
        task = asyncio.create_task(saving.save(Execution(assignment, folder, said.append)))
        while not is_pushing(plane):
            await asyncio.sleep(0.05)
        saving.give_up()
        return await asyncio.wait_for(task, 10)

    assert asyncio.run(give_up())
    assert said == []
    assert (tmp_path / KEPT / folder.name / "work" / "half.txt").read_text() == "half done\n"
    until(lambda: not is_pushing(plane), "no process of it is left")


@long
def test_a_push_that_hangs_holds_up_no_runner_that_stops(plane: FakeControlPlane, tmp_path: Path) -> None:
    with running(plane, tmp_path / "runner") as process:
        assignment, _ = begin_half(plane)
        plane.holds_pushes = True
        process.terminate()
        assert process.wait(12) == 0
    assert plane.let_go[assignment.execution] == "leaving"
    assert (tmp_path / "runner" / KEPT / str(assignment.execution) / "work" / "half.txt").exists()


def test_of_what_is_kept_the_oldest_goes_when_it_is_too_much_or_too_old(tmp_path: Path) -> None:
    with serving(tmp_path / "plane") as plane:
        kept = Leftovers(tmp_path / "runner", at_most_bytes=250_000, days=1)
        folders = []
        for age in (200_000, 3_000, 2_000, 1_000):
            folder = tmp_path / "runner" / str(uuid4())
            kept.note(plane.assignment(execution=folder.name), folder)
            (folder / "work").mkdir()
            (folder / "work" / "large").write_bytes(b"x" * 100_000)
            (folder / "repo.git").mkdir()
            (folder / "repo.git" / "index").touch()
            moved = kept.kept / folder.name
            kept.keep(folder, "a test")
            now = moved.stat().st_mtime
            os.utime(moved, (now - age, now - age))
            folders.append(moved)
    kept.prune()
    assert [folder.exists() for folder in folders] == [False, False, True, True]
    assert {one.folder for one in kept.all()} == {str(folders[2]), str(folders[3])}


def test_what_a_turn_did_to_the_rules_of_what_is_ignored_is_taken_back_with_its_files(
    plane: FakeControlPlane, tmp_path: Path
) -> None:
    def files() -> dict[str, str]:
        return {str(path.relative_to(work)): path.read_text() for path in work.rglob("*") if path.is_file()}

    async def turn() -> None:
        assignment = plane.assignment()
        assert assignment.repository is not None
        workspace = await Workspace.clone(tmp_path / "run", assignment.repository, TOKEN)
        (work / ".gitignore").write_text("cache/\n")
        (work / "cache").mkdir()
        (work / "cache" / "[a]").write_text("cached")
        (work / "kept.txt").write_text("before")
        tree, before = await workspace.remember(), files()

        (work / ".gitignore").write_text("build/\n")
        (work / "build").mkdir()
        (work / "build" / "[b]").write_text("built")
        (work / "kept.txt").write_text("after")
        shutil.rmtree(work / "docs")
        (work / "docs").write_text("a file now")
        after = files()
        await workspace.remember()
        restored = await workspace.restore(tree)
        assert files() == before
        assert not (work / "build").exists()
        assert restored.changed == [".gitignore", "build/[b]", "docs", "docs/use.md", "kept.txt"]

        await workspace.restore(restored.before)
        assert files() == after
        change = await workspace.commit_all("After.")
        assert change is not None
        assert change.files == (".gitignore", "cache/[a]", "docs", "docs/use.md", "kept.txt")

    work = tmp_path / "run" / "work"
    asyncio.run(turn())
