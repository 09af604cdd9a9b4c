"""What waits for an attempt at a runner: when it is there, who has it, and what is known of it."""

import asyncio
import multiprocessing
import os
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.test import Client
from django.utils import timezone

from agents import linking
from agents.contracts import Assignment, Host, Limits
from agents.contracts.assignment import Frozen
from agents.contracts.link import Ended, Heartbeat
from agents.runner import spares
from agents.runner.forked import Child
from agents.runner.leftovers import NOTE, Leftovers
from agents.runner.pool import Pool
from agents.runner.spares import PREFIX, Spares
from agents.runtimes import companion
from tenants.models import Runner, Team
from tests.conftest import user_of
from tests.fake_control_plane import FakeControlPlane
from tests.test_gateway import working
from tests.waiting_child import waits


async def turns(holds: Callable[[], object], seconds: float = 120) -> None:
    async with asyncio.timeout(seconds):
        while not holds():
            await asyncio.sleep(0.05)


@pytest.fixture
def forked() -> tuple[Callable[[str, Path], Awaitable[Child]], list[str]]:
    """How spares are forked here, each to say the next of these words."""
    words: list[str] = []
    processes = multiprocessing.get_context("forkserver")

    async def fork(runtime: str, folder: Path) -> Child:
        return await Child.fork(processes, waits, folder, words.pop(0), name=runtime)

    return fork, words


def test_spares_are_there_when_they_are_wanted_and_no_longer(
    forked: tuple[Callable[[str, Path], Awaitable[Child]], list[str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fork, words = forked
    monkeypatch.setattr(spares, "SETTLE_SECONDS", 0)
    plane = FakeControlPlane(tmp_path)
    wanted = plane.assignment(runtime="opencode")
    host = Host(id=uuid4(), name="big", url="http://127.0.0.1:1")

    async def go() -> None:
        kept = Spares(1, tmp_path, fork)
        keeping = asyncio.create_task(kept.keep())
        # Nobody who wants none has one started.
        for other in (
            plane.assignment(),
            plane.assignment(runtime="opencode", kind="check"),
            wanted.model_copy(update={"host": host}),
        ):
            assert kept.take(other) is None
        assert Spares(0, tmp_path, fork).take(wanted) is None
        await asyncio.sleep(0.1)
        assert not list(tmp_path.glob(f"{PREFIX}*"))

        # One that does not become ready is not tried again until somebody wants one again.
        words.append("")
        assert kept.take(wanted) is None
        await turns(lambda: not words and not list(tmp_path.glob(f"{PREFIX}*")))
        await asyncio.sleep(0.2)
        words.append("ready")
        assert kept.ready == 0
        assert kept.take(wanted) is None
        await turns(lambda: kept.ready)

        # One that is not ready yet is nobody's.
        words.append("later")
        child = kept.take(wanted)
        assert child is not None
        child.kill()
        await turns(lambda: child.has_ended)
        child.folder.rmdir()
        await turns(lambda: list(tmp_path.glob(f"{PREFIX}*")) and not words)
        await asyncio.sleep(0.2)
        assert kept.ready == 0
        assert kept.take(wanted) is None
        (late,) = kept._spares
        words.append("ready")
        late.child.kill()
        await turns(lambda: late.child.has_ended)
        await asyncio.sleep(0.2)
        assert kept.take(wanted) is None
        await turns(lambda: kept.ready)

        # It is somebody's, and the next one begins.
        words.append("ready")
        child = kept.take(wanted)
        assert child is not None
        await turns(lambda: kept.ready)
        assert child.say("anything")
        await turns(lambda: child.has_ended)
        assert child.folder.exists(), "the folder is its execution's now"
        child.folder.rmdir()

        # One that was killed is nobody's, and another one does not follow at once.
        (folder,) = tmp_path.glob(f"{PREFIX}*")
        words.append("ready")
        for spare in list(kept._spares):
            os.kill(spare.child.pid, signal.SIGKILL)
        await turns(lambda: not folder.exists())
        assert kept.ready == 0
        await asyncio.sleep(0.2)
        assert words == ["ready"]

        # Nobody has wanted one for a while.
        monkeypatch.setattr(spares, "KEEP_SECONDS", 1.0)
        assert kept.take(wanted) is None
        await turns(lambda: not words)
        await turns(lambda: not list(tmp_path.glob(f"{PREFIX}*")))
        monkeypatch.undo()
        monkeypatch.setattr(spares, "SETTLE_SECONDS", 0)

        # At the end there are none, and none begins.
        words.append("ready")
        assert kept.take(wanted) is None
        await turns(lambda: kept.ready)
        await kept.close()
        assert kept.take(wanted) is None
        assert not list(tmp_path.glob(f"{PREFIX}*"))
        await asyncio.wait_for(keeping, 5)

    asyncio.run(go())


def test_a_spare_whose_assignment_cannot_begin_does_not_stay(
    forked: tuple[Callable[[str, Path], Awaitable[Child]], list[str]], tmp_path: Path
) -> None:
    fork, words = forked
    wanted = FakeControlPlane(tmp_path).assignment(runtime="opencode")

    async def send(message: Frozen) -> None:
        said.append(message)

    async def go() -> None:
        pool = Pool("http://127.0.0.1:1", tmp_path, 1, "bubblewrap", "json", Leftovers(tmp_path, 0, 1), send)
        child = await fork("opencode", tmp_path / "spare")
        pool.spares.take = lambda assignment: child  # type: ignore[method-assign]
        (child.folder / NOTE).mkdir()  # as on a full disk, nothing can be written
        pool.take(wanted)
        await turns(lambda: any(isinstance(one, Ended) for one in said))
        await turns(lambda: child.has_ended, 5)
        assert not child.folder.exists()

    said: list[Frozen] = []
    words.append("ready")
    asyncio.run(go())


@pytest.mark.parametrize(
    ("changes", "fits"),
    [
        ({}, True),
        ({"limits": Limits(memory_mb=companion.MEMORY_MB + 1)}, False),
        ({"limits": Limits(processes=companion.PROCESSES + 1)}, False),
        ({"time_limit": companion.LONGEST_SECONDS}, False),
    ],
)
def test_who_may_have_more_than_a_spare_was_given_has_a_server_of_its_own(
    changes: dict[str, Any], fits: bool, tmp_path: Path
) -> None:
    assignment = FakeControlPlane(tmp_path).assignment(runtime="opencode", **changes)

    assert companion.within(companion.limits_of(assignment), companion.limits_of(None)) is fits


def test_work_that_is_left_in_a_spares_folder_is_kept_under_the_name_of_its_execution(tmp_path: Path) -> None:
    assignment: Assignment = FakeControlPlane(tmp_path).assignment(runtime="opencode")
    kept = Leftovers(tmp_path / "runner", 1 << 30, 1)
    begun, unbegun = (tmp_path / "runner" / f"{PREFIX}{number}" for number in "12")
    kept.note(assignment, begun)
    (begun / "repo.git").mkdir()
    (begun / "repo.git" / "index").touch()
    unbegun.mkdir()

    kept.recover()

    assert [path.name for path in kept.folder.iterdir()] == ["kept"]
    assert [one.folder for one in kept.all()] == [str(kept.kept / str(assignment.execution))]


def test_a_page_says_how_many_servers_wait_on_a_runner_that_is_there(
    team: Team, client_for: Callable[..., Client]
) -> None:
    working(team)
    runner = Runner.objects.get()
    client = client_for(user_of("alice", "acme"), team)
    Runner.objects.update(channel="x", seen_at=timezone.now())
    assert "servers that wait" not in client.get("/agents/").text

    linking.hear(runner.pk, Heartbeat(spares=2), "x")
    assert "servers that wait <b>2</b>" in client.get("/agents/").text

    Runner.objects.update(channel="")
    assert "servers that wait" not in client.get("/agents/").text
