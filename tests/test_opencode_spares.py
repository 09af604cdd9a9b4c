"""Servers of OpenCode that are started before their attempts: as closed as others, used once, and never in the way."""

import asyncio
import os
import signal
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from agents.contracts import FailureOutcome, FailureReason, Limits, Outcome, WorkOutcome
from agents.contracts.assignment import Frozen
from agents.contracts.link import Order
from agents.runner import spares
from agents.runner.leftovers import NOTE, Leftovers
from agents.runner.pool import Pool
from agents.runner.reports import Reports
from agents.runner.sandbox import detect
from agents.runner.spares import PREFIX
from agents.runtimes import runtime_of
from agents.runtimes.context import Context
from agents.runtimes.opencode.spare import ready
from tests.conformance import server_of
from tests.escapes import PROBES
from tests.escapes import program as probing
from tests.escapes import said as said_by
from tests.fake_control_plane import FakeControlPlane, call, steps
from tests.test_escapes import Outside, outside, surroundings  # noqa: F401
from tests.test_opencode_runtime import DONE, WRITES, plane, program, work  # noqa: F401
from tests.test_runner import processes_now_with
from tests.test_spares import turns
from tests.test_steered_agents import seen

LOOK = (
    "grep -E '^(Cap|NoNewPrivs|Seccomp|Uid|Gid)' /proc/self/status; cat /proc/self/limits; "
    "sed 's/^[0-9]* [0-9]* [0-9:]* [^ ]* \\([^ ]* [^ ]*\\) .*/mount \\1/' /proc/self/mountinfo | sort; "
    "ls -l /proc/self/ns | sed 's/.*-> //; s/:.*//'; env | sort"
)
"""What a command can see of its sandbox."""
CHANGE = "cd /opt/waggle/told && ls && echo x > opencode.json || echo y > more"
TOLD = "mount /opt/waggle/told ro"
pytestmark = pytest.mark.timeout(300)


def bash(command: str) -> list[dict[str, Any]]:
    return [call("bash", command=command, description="look")]


def outputs(plane: FakeControlPlane) -> list[str]:  # noqa: F811
    return [part.output for part in plane.parts("tool") if part.tool == "bash"]


def seen_by(output: str) -> list[str]:
    """Lines, without what differs from one server to the next."""
    return [line for line in output.splitlines() if not line.startswith(("OPENCODE", "mount /opt/waggle/told"))]


def test_a_spare_is_as_closed_as_a_server_of_the_attempt_and_its_session_goes_on_without_it(
    plane: FakeControlPlane,  # noqa: F811
    outside: Outside,  # noqa: F811
    tmp_path: Path,
) -> None:
    text = probing(list(PROBES), outside.facts | {"walled": True})
    answers = iter(
        [
            # By files: of a command that names places outside of the workspace nothing is run.
            [call("write", filePath="a.py", content=text), call("write", filePath="a.sh", content=LOOK)],
            bash("python3 a.py; rm -rf a.py [0-9]*"),
            bash("sh a.sh; true"),
            [call("write", filePath="b.sh", content=CHANGE)],
            bash("sh b.sh; rm b.sh"),
            [{"content": "I ponder"}, {"pause": 60}],
            bash("sh a.sh; rm a.sh; touch a.txt"),
            DONE,
        ]
    )
    plane.script = lambda messages: next(answers)
    folder = tmp_path / "run"
    assignment = work(plane, time_limit=300, limits=Limits(seconds=60, memory_mb=512))

    async def kill() -> int:
        first = server_of(folder)
        await seen(lambda: [part for part in plane.parts("text") if part.text == "I ponder"])
        os.kill(first, signal.SIGKILL)
        return first

    async def carry_out() -> Outcome:
        async with ready(folder, detect()) as spare:
            server = server_of(folder)
            reports = Reports(assignment)
            sending = asyncio.create_task(reports.run())
            killing = asyncio.create_task(kill())
            context = Context(folder, detect(), reports, ready=spare)
            outcome = await runtime_of(assignment).run(assignment, context)
            assert await killing == server, "the spare was not used"
            sending.cancel()
            await reports.close()
            return outcome

    with surroundings():
        outcome = asyncio.run(carry_out())

    assert isinstance(outcome, WorkOutcome), outcome
    assert outcome.files == ("a.txt",)
    tried, warm, told, cold = outputs(plane)
    assert said_by(tried) == dict.fromkeys(PROBES, "tried\n")
    assert outside.victim.poll() is None
    # The second server was started for the attempt alone. What a command sees of its sandbox is the same.
    assert seen_by(warm) == seen_by(cold)
    assert f"{TOLD}," in warm
    assert "Max cpu time" in warm
    assert told.count("Read-only file system") == 2, told
    assert told.startswith("opencode.json\n")
    # Nothing is left of its practice: the model was never asked, and there is one session.
    assert len(plane.requests) == 8
    assert all("Practise" not in str(request) for request in plane.requests)
    assert "interrupted in the middle" in str(plane.requests[-1]["messages"])


def pool_in(plane: FakeControlPlane, folder: Path, ended: list[Frozen], most: int = 1) -> Pool:  # noqa: F811
    async def send(message: Frozen) -> None:
        ended.append(message)

    folder.mkdir()
    return Pool(plane.url, folder, 4, detect(), "console", Leftovers(folder, 1 << 30, 1), send, most)


def test_a_runner_gives_a_spare_to_one_attempt_and_a_broken_one_to_nobody(
    plane: FakeControlPlane,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(spares, "SETTLE_SECONDS", 0)
    plane.script = steps(WRITES, [{"content": "I ponder"}, {"pause": 60}])
    folder = tmp_path / "runner"
    said: list[Frozen] = []

    async def go() -> None:
        pool = pool_in(plane, folder, said)
        warming = asyncio.create_task(pool.warm())
        assert pool.spares.take(work(plane)) is None
        await turns(lambda: pool.spares.ready)
        (first,) = folder.glob(f"{PREFIX}*")
        assignment = work(plane, time_limit=200, lease_seconds=60)
        pool.take(assignment)
        await turns(lambda: [part for part in plane.parts("text") if part.text == "I ponder"])
        assert str(assignment.execution) in (first / NOTE).read_text()
        pool.obey({assignment.execution: Order(verdict="cancel")})
        await turns(lambda: plane.outcomes and not pool.holding)
        (outcome,) = plane.outcomes
        assert isinstance(outcome, FailureOutcome)
        assert outcome.reason == FailureReason.CANCELLED
        assert plane.git("show", "attempts/1:a.txt") == "a"
        await turns(lambda: not first.exists())
        assert not processes_now_with(str(first))
        assert len(plane.requests) == 2

        await turns(lambda: pool.spares.ready)
        (second,) = folder.glob(f"{PREFIX}*")
        assert second != first
        os.kill(server_of(second), signal.SIGKILL)
        await turns(lambda: not pool.spares.ready)
        assert pool.spares.take(work(plane)) is None
        await turns(lambda: not second.exists())
        await pool.close()
        warming.cancel()
        with suppress(asyncio.CancelledError):
            await warming
        assert not list(folder.glob(f"{PREFIX}*"))
        assert not processes_now_with(str(folder))

    asyncio.run(go())
