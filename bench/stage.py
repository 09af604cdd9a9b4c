"""A platform for measuring: embedded databases in a scratch folder, real workers, a real ticker, and their CPU time."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from config.env import PROJECT_ROOT
from config.services import ensure, stop
from config.services.embedded import marks
from config.services.ports import free_port

TICKS = os.sysconf("SC_CLK_TCK")


@dataclass
class Stage:
    """Where a bench runs. `environment` is that of every process of the platform."""

    folder: Path
    environment: dict[str, str]
    processes: dict[str, "subprocess.Popen[bytes]"] = field(default_factory=dict)

    def start(self, name: str, *command: str, **more: str) -> None:
        """Start one process of the platform; its output goes to a log in the folder."""
        with (self.folder / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                [sys.executable, *command],
                cwd=PROJECT_ROOT,
                env=self.environment | more,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def end(self, *names: str) -> None:
        """End some processes, or all."""
        for name in names or list(self.processes):
            process = self.processes.pop(name)
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def cpu(self) -> float:
        """CPU seconds so far of the platform's processes and its databases."""
        return sum(self.cpu_by_name().values())

    def cpu_by_name(self) -> dict[str, float]:
        """CPU seconds so far of each process of the platform and of each database, with all that it has started."""
        roots = {name: process.pid for name, process in self.processes.items()}
        roots |= {name: mark.pid for name, mark in marks(self.folder).items()}
        return {name: sum(map(seconds_of, descendants([pid]))) for name, pid in roots.items()}

    @contextmanager
    def silence(self, *names: str) -> Iterator[None]:
        """Stop some processes, or all, so that something else is measured on the databases; then let them go on."""
        pids = descendants([self.processes[name].pid for name in names or self.processes])
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in pids:
                os.kill(pid, signal.SIGCONT)

    def cpu_of_services(self) -> float:
        """CPU seconds so far of Postgres and Valkey."""
        found = self.cpu_by_name()
        return sum(found[name] for name in marks(self.folder))

    def log(self, name: str) -> str:
        """What a process printed."""
        return (self.folder / f"{name}.log").read_text()


@contextmanager
def stage(**variables: str) -> Iterator[Stage]:
    """Embedded Postgres and Valkey, migrated, in a folder that is removed at the end; this process uses them too."""
    folder = Path(tempfile.mkdtemp(prefix="waggle-bench-"))
    folder.chmod(0o755)
    os.environ |= {
        "WAGGLE_DATA_DIR": str(folder),
        "WAGGLE_PORT": str(free_port()),
        "WAGGLE_LOG_FORMAT": "json",
        "WAGGLE_LOCAL_SOURCES": "1",
        "WAGGLE_MODEL_BASE_URL": f"http://127.0.0.1:{free_port()}/v1",
        "WAGGLE_MODEL_NAME": "rehearsal",
        "WAGGLE_MODEL_REHEARSAL": "1",
        "DJANGO_SETTINGS_MODULE": "config.settings",
        **variables,
    }
    try:
        os.environ |= ensure(folder, bound=True)
        found = Stage(folder, dict(os.environ))
        with (folder / "prepare.log").open("wb") as log:
            subprocess.run(
                [sys.executable, "manage.py", "prepare", "--migrate"],
                cwd=PROJECT_ROOT,
                env=found.environment,
                stdout=log,
                check=True,
            )
        import django

        django.setup()
        try:
            yield found
        finally:
            found.end()
    finally:
        stop(folder)
        shutil.rmtree(folder, ignore_errors=True)


def workers(at: Stage, count: int = 2) -> None:
    """Start the ticker and `count` worker processes, and wait until they are up."""
    at.start("ticker", "manage.py", "ticker")
    for number in range(count):
        at.start(f"worker-{number}", "-m", "dramatiq", "config.worker", "--processes", "1", "--threads", "4")
    for name in [name for name in at.processes if name.startswith("worker")]:
        wait_for(partial(_says, at, name, "is ready for action"), f"{name} does not start")
    wait_for(partial(_says, at, "ticker", "ticker leads"), "the ticker does not start")


def _says(at: Stage, name: str, words: str) -> bool:
    return words in at.log(name)


def wait_for(holds: Callable[[], bool], otherwise: str, *, seconds: float = 120, every: float = 0.02) -> None:
    """Until `holds()` is true, asking `every` so many seconds. Raises TimeoutError."""
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            raise TimeoutError(otherwise)
        time.sleep(every)


def descendants(roots: list[int]) -> set[int]:
    """These processes, and all that come from them."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue  # it ended meanwhile
    found, wave = set(roots), set(roots)
    while wave:
        wave = {pid for pid, parent in parents.items() if parent in wave} - found
        found |= wave
    return found


def seconds_of(pid: int) -> float:
    """CPU seconds of a process, to the nanosecond, and of those of its children that have ended."""
    try:
        # The clock of another process, as clock_getcpuclockid(3) makes it: `/proc` counts in hundredths of a second.
        own = time.clock_gettime(~pid << 3 | 2)
        words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return own + sum(int(word) for word in words[13:15]) / TICKS
