"""`manage.py up`: real processes that are started, kept, and ended with everything they started."""

import os
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured

from config.env import PROJECT_ROOT
from config.services import embedded, ensure, stop
from config.services.layout import Layout, read_json
from config.services.marks import Mark, wait_gone, with_variable
from config.services.ports import free_port
from config.services.prepare import check_reachable
from config.services.processes import Process, pause_after
from config.services.programs import Program, Site

NAMES = {"rehearsal", "web", "worker", "ticker", "runner", "discover"}


def wait_for(what: Callable[[], Any], seconds: float = 120) -> Any:
    """The first true value of `what`; a limit against hanging, not a claim about speed."""
    deadline = time.monotonic() + seconds
    while not (value := what()):
        assert time.monotonic() < deadline, f"waited {seconds} s in vain"
        time.sleep(0.05)
    return value


class Kept:
    """A program under a `Process`, with what it said."""

    def __init__(self, code: str, folder: Path) -> None:
        self.lines: list[str] = []
        self.starts = 0
        program = Program("bee", (sys.executable, "-u", "-c", code), {"PATH": os.environ["PATH"]})
        self.log = folder / "bee.log"
        self.process = Process(program, self.log, lambda name, line: self.lines.append(f"{name}: {line}"), self._count)
        self.process.start()

    def _count(self) -> None:
        self.starts += 1

    def end(self) -> None:
        self.process.kill()
        self.process.join(10)
        assert not self.process.is_alive()


def test_what_a_program_says_reaches_sink_and_log(tmp_path: Path) -> None:
    kept = Kept("import time; print('hum'); print('grün', flush=True); time.sleep(60)", tmp_path)
    wait_for(lambda: len(kept.lines) == 2)
    kept.process.ask_to_stop()
    kept.process.join(10)
    assert kept.lines == ["bee: hum", "bee: grün"]
    assert kept.log.read_text() == "hum\ngrün\n"
    assert kept.starts == 1


def test_a_dead_program_is_started_again_and_that_is_said(tmp_path: Path) -> None:
    kept = Kept("import time; time.sleep(60)", tmp_path)
    first = wait_for(lambda: kept.process.mark)
    os.kill(first.pid, signal.SIGKILL)
    wait_for(lambda: kept.starts == 2)
    assert kept.process.mark is not None
    assert kept.process.mark.alive()
    assert kept.process.mark != first
    assert kept.lines == ["bee: [up] bee was ended by SIGKILL; it starts again in 0.2 s"]
    kept.end()


def test_pauses_between_starts_double_up_to_five_seconds() -> None:
    assert [pause_after(deaths) for deaths in (1, 2, 3, 5, 6, 500)] == [0.2, 0.4, 0.8, 3.2, 5.0, 5.0]


def test_the_children_of_a_dead_program_end_before_it_starts_again(tmp_path: Path) -> None:
    code = "import subprocess, sys; p = subprocess.Popen(['sleep', '600']); print(p.pid, flush=True); p.wait()"
    kept = Kept(code, tmp_path)
    child = Mark.of(int(wait_for(lambda: kept.lines)[0].removeprefix("bee: ")))
    assert child.alive()
    assert kept.process.mark is not None
    os.kill(kept.process.mark.pid, signal.SIGKILL)
    wait_for(lambda: kept.starts == 2)
    assert wait_gone([child], 10)
    kept.end()


def test_a_program_that_ignores_sigterm_is_killed_with_its_children(tmp_path: Path) -> None:
    code = (
        "import signal, subprocess; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
        "p = subprocess.Popen(['sleep', '600']); print(p.pid, flush=True)\nwhile True: signal.pause()"
    )
    kept = Kept(code, tmp_path)
    child = Mark.of(int(wait_for(lambda: kept.lines)[0].removeprefix("bee: ")))
    kept.process.ask_to_stop()
    kept.process.join(0.5)
    assert kept.process.is_alive()
    kept.end()
    assert wait_gone([child], 10)
    assert kept.starts == 1


class Up:
    """A `manage.py up` of its own folder and port."""

    def __init__(self, folder: Path, port: int) -> None:
        self.layout = Layout(folder)
        self.port = port
        self.output: list[str] = []
        self.process = start_up(folder, port)
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        self.output.extend(iter(self.process.stdout.readline, ""))

    def said(self, text: str) -> bool:
        if self.process.poll() is not None:
            raise AssertionError(f"up ended with {self.process.returncode}:\n{''.join(self.output)}")
        return any(text in line for line in self.output)

    def marks(self) -> dict[str, Mark]:
        record = read_json(self.layout.platform)["processes"]
        services = read_json(self.layout.services)
        found = {name: Mark.parse(process) for name, process in record.items()}
        return found | {name: Mark.parse(services[name]) for name in ("postgres", "valkey")}

    def mark_word(self) -> str:
        return str(read_json(self.layout.platform)["mark"])

    def ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/readyz", timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False


def start_up(folder: Path, port: int) -> "subprocess.Popen[str]":
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    return subprocess.Popen(
        [sys.executable, "manage.py", "up", "--port", str(port)],
        cwd=PROJECT_ROOT,
        # Empty variables keep a developer's .env out.
        env=kept | {"WAGGLE_DATA_DIR": str(folder), "DATABASE_URL": "", "REDIS_URL": "", "WAGGLE_MODEL_BASE_URL": ""},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Callable[[], Up]]:
    started: list[Up] = []
    port = free_port()

    def begin() -> Up:
        started.append(Up(tmp_path / "data", port))
        return started[-1]

    yield begin
    for each in started:
        if each.process.poll() is None:
            each.process.send_signal(signal.SIGINT)
            each.process.wait(60)


@pytest.mark.timeout(600)
def test_up_keeps_all_running_survives_its_own_kill_and_leaves_nothing(up: Callable[[], Up]) -> None:
    first = up()
    wait_for(lambda: first.said("Sign in to team acme"), 240)
    assert first.ready()
    assert set(first.marks()) == NAMES | {"postgres", "valkey"}
    assert all(mark.alive() for mark in first.marks().values())

    # A second one is refused and changes nothing.
    second = start_up(first.layout.root, free_port())
    said = second.communicate(timeout=120)[0]
    assert second.returncode == 1
    where = f"at http://waggle.localhost:{first.port} (pid {first.process.pid})"
    assert f"already runs in {first.layout.root} {where}" in said

    # What is killed comes back.
    before = first.marks()
    for name in ("web", "worker", "postgres"):
        os.kill(before[name].pid, signal.SIGKILL)
    wait_for(lambda: all(first.marks()[name] != before[name] for name in ("web", "worker", "postgres")))
    wait_for(first.ready)
    assert first.said("[up] web was ended by SIGKILL")

    # The supervisor itself is killed: all end with it, and the next start works.
    word, left = first.mark_word(), list(first.marks().values())
    first.process.kill()
    first.process.wait()
    if sys.platform.startswith("linux"):
        assert wait_gone(left, 60), [mark for mark in left if mark.alive()]
    third = up()
    wait_for(lambda: third.said("Sign in to team acme"), 240)
    assert third.ready()
    assert with_variable("WAGGLE_PLATFORM", word) == []
    assert third.mark_word() != word

    # Ctrl-C leaves nothing.
    word, living = third.mark_word(), list(third.marks().values())
    third.process.send_signal(signal.SIGINT)
    assert third.process.wait(60) == 0, "".join(third.output)
    assert with_variable("WAGGLE_PLATFORM", word) == []
    assert [mark for mark in living if mark.alive()] == []
    assert not third.layout.platform.exists()


def test_up_refuses_a_database_that_gives_no_answer_by_the_name_of_its_variable(tmp_path: Path) -> None:
    port = free_port()
    done = subprocess.run(
        [sys.executable, "manage.py", "up", "--port", str(free_port())],
        cwd=PROJECT_ROOT,
        env={
            "PATH": os.environ["PATH"],
            "WAGGLE_DATA_DIR": str(tmp_path),
            "DATABASE_URL": f"postgresql://waggle:hunter2@127.0.0.1:{port}/waggle",
        },
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 1
    assert f"DATABASE_URL: no answer from Postgres at 127.0.0.1:{port}/waggle" in done.stderr
    assert "for example DATABASE_URL=postgresql://" in done.stderr
    assert "hunter2" not in done.stderr
    assert embedded.marks(tmp_path) == {}, "what was begun must be stopped"


def test_a_redis_that_gives_no_answer_is_refused_by_the_name_of_its_variable(tmp_path: Path) -> None:
    port = free_port()
    url = ensure(tmp_path, only=["postgres"])["DATABASE_URL"]
    try:
        with pytest.raises(ImproperlyConfigured) as refusal:
            check_reachable(Site(tmp_path, 8000, url, f"redis://:hunter2@127.0.0.1:{port}", "m", None))
    finally:
        stop(tmp_path)
    assert str(refusal.value).startswith(f"REDIS_URL: no answer from Redis at 127.0.0.1:{port}")
    assert "for example REDIS_URL=redis://" in str(refusal.value)
    assert "hunter2" not in str(refusal.value)
