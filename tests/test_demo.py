"""`manage.py demo` as a whole: real processes, real git, the rehearsal; and the same while processes are killed."""

import os
import re
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from config.demo import picture
from config.demo.figures import covered
from config.demo.options import STOPPED, WRONG_CALL
from config.env import PROJECT_ROOT
from config.services import embedded, stop
from config.services.layout import Layout
from config.services.marks import Mark, with_variable
from config.services.ports import free_port
from swarms import sample
from swarms.board import Card
from swarms.looks import look

SECONDS = 180
TESTS = "python3 -m unittest discover -s tests -q"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """One data folder for all runs, so that the second one meets what the first one left."""
    folder = tmp_path_factory.mktemp("demo") / "data"
    yield folder
    stop(folder)


def environment(data: Path) -> dict[str, str]:
    """As a user has it: nothing of the tests' own databases and settings."""
    dropped = ("DATABASE_URL", "REDIS_URL", "DJANGO_SETTINGS_MODULE")
    kept = {name: value for name, value in os.environ.items() if name not in dropped}
    return kept | {"WAGGLE_DATA_DIR": str(data), "WAGGLE_PORT": str(free_port()), "NO_COLOR": "1"}


class Demo:
    """A demo that runs, with what it has printed so far."""

    def __init__(self, data: Path, *arguments: str, command: str = "demo", **variables: str) -> None:
        self.layout = Layout(data)
        self.lines: list[str] = []
        self.process = subprocess.Popen(
            [sys.executable, "manage.py", command, *arguments],
            cwd=PROJECT_ROOT,
            env=environment(data) | variables,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.rstrip())

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    def wait_for(self, pattern: str) -> None:
        """Until a line says so."""
        deadline = time.monotonic() + SECONDS
        while not re.search(pattern, self.text):
            assert self.process.poll() is None, self.text
            assert time.monotonic() < deadline, f"waited in vain for {pattern}:\n{self.text}"
            time.sleep(0.05)

    def end(self) -> int:
        """Its exit code."""
        code = self.process.wait(SECONDS)
        self._reader.join(10)
        return code

    def stop(self) -> None:
        """As Ctrl-C does, if it still runs."""
        self.process.send_signal(signal.SIGINT)
        self.end()

    def remains(self) -> list[Mark]:
        """Processes that still run, of the platform and its databases."""
        return [*with_variable("WAGGLE_DATA_DIR", str(self.layout.root)), *embedded.marks(self.layout.root).values()]


@pytest.fixture
def demo(data: Path) -> Iterator[Demo]:
    running = Demo(data)
    yield running
    running.stop()


@pytest.fixture
def endpoint(tmp_path: Path) -> Iterator[str]:
    """An OpenAI-compatible endpoint that Waggle takes for a real one: it happens to know the sample."""
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", "agents.rehearsal.app:application", "--port", str(port)]
    with (tmp_path / "endpoint.log").open("w") as log:
        process = subprocess.Popen(command, cwd=PROJECT_ROOT, stdout=log, stderr=log)
    yield f"http://127.0.0.1:{port}/v1"
    process.terminate()
    process.wait(20)


def landed(demo: Demo) -> None:
    """What the summary must say, and what must be true of the repository."""
    text = demo.text
    assert re.search(r"Nodes +6 of 6 succeeded", text), text
    assert re.search(r"Fresh clone +tests: before 0 of (\d+), after \1 of \1", text), text
    assert re.search(r"Model .*\$0\.00 \(rehearsal\)", text), text
    assert re.search(r"Merges +5 merged, [1-9]\d* in conflict", text), text
    assert "check failed" in text
    assert re.search(r"Approvals +3 by scripted approver", text), text
    assert "scripted approver approved: Land" in text
    source = max((demo.layout.root / "sample").glob("*.git"), key=lambda path: int(path.stem))
    names = subprocess.run(
        ["git", "--git-dir", str(source), "ls-tree", "-r", "--name-only", "main"],
        capture_output=True, text=True, check=True,
    ).stdout.split()  # fmt: skip
    assert {"textkit/report.py", "textkit/words.py", "docs/reading.md"} <= set(names)


@pytest.mark.timeout(2 * SECONDS)
def test_the_demo_lands_the_sample_goal_and_proves_it(demo: Demo) -> None:
    assert demo.end() == 0, demo.text
    landed(demo)
    assert not demo.remains(), "a process of the platform was left behind"


@pytest.mark.timeout(2 * SECONDS)
def test_an_own_goal_for_an_own_repository_lands_by_a_real_endpoint_on_a_platform_that_runs(
    data: Path, endpoint: str, tmp_path: Path
) -> None:
    bare = sample.build(tmp_path / "bare.git")
    own = tmp_path / "tool"
    subprocess.run(["git", "clone", "--quiet", str(bare.path), str(own)], check=True)
    command = [sys.executable, "manage.py", "demo", f"--goal={sample.GOAL}", f"--repo={own}", f"--check=unit: {TESTS}"]
    platform = Demo(
        data,
        f"--once-ready={shlex.join(command)}",
        command="up",
        WAGGLE_MODEL_BASE_URL=endpoint,
        WAGGLE_MODEL_NAME="some-model",
    )
    try:
        assert platform.end() == 0, platform.text
    finally:
        platform.stop()
    assert "joined the platform" in platform.text
    assert re.search(r"Model .*tokens, price unknown$", platform.text, re.MULTILINE), platform.text
    assert "rehearsal" not in "\n".join(line for line in platform.lines if " | " not in line)
    assert (own / "textkit" / "report.py").exists(), "the work tree of a clean folder follows"
    assert not platform.remains()


@pytest.mark.timeout(2 * SECONDS)
def test_ctrl_c_ends_everything_that_the_demo_started(demo: Demo) -> None:
    demo.wait_for(r"begins attempt 1 of words")
    demo.stop()
    assert demo.process.returncode == STOPPED
    assert "Stopped following" in demo.text
    assert not demo.remains()


@pytest.mark.parametrize("wish", [["--goal=Write a poem"], ["--repo=/tmp"], ["--check=unit: true"]])
def test_wishes_beyond_the_sample_need_a_real_model_and_say_how(tmp_path: Path, wish: list[str]) -> None:
    demo = Demo(tmp_path / "data", *wish)
    assert demo.end() == WRONG_CALL
    assert "WAGGLE_MODEL_BASE_URL" in demo.text
    assert not (tmp_path / "data" / "postgres").exists(), "nothing is started for a call that cannot work"


def board(width: int) -> str:
    """A plan of four nodes as a terminal of this width shows it."""
    waits = look("node", "blocked")
    cards = [
        Card("review", "", "reviewer", waits, parents=("join", "a")),
        Card("join", "", "developer", waits, parents=("a", "b")),
        Card("a", "", "developer", look("node", "running"), agent="developer-1"),
        Card("b", "", "developer", look("node", "succeeded")),
    ]
    console = Console(width=width, file=StringIO(), force_terminal=False)
    console.print(picture.graph(cards, width))
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_the_board_has_a_column_for_each_rank_and_says_every_state_in_words() -> None:
    lines = [line for line in board(120).splitlines() if line.strip()]
    assert re.fullmatch(r"◐ a +○ join +○ review *", lines[0]), lines
    assert "Running · developer-1" in lines[1]
    assert re.search(r"← a, b +← join, a", lines[2])
    assert re.fullmatch(r"✓ b *", lines[3])
    assert "Succeeded" in lines[4]


def test_a_narrow_terminal_gets_the_same_as_a_list_in_order() -> None:
    lines = [line for line in board(50).splitlines() if line.strip()]
    assert [line.split()[0] for line in lines] == ["1", "1", "2", "3"]
    assert max(map(len, lines)) <= 50


def test_time_at_work_counts_overlaps_once_and_gaps_not_at_all() -> None:
    begin = datetime(2026, 1, 1, tzinfo=UTC)

    def at(seconds: float) -> datetime:
        return begin + timedelta(seconds=seconds)

    assert covered([]) == 0
    assert covered([(at(5), at(6)), (at(0), at(3)), (at(1), at(2)), (at(2), at(4))]) == 5
