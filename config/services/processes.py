"""Keeps one program of the platform running."""

import signal
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

from config.env import PROJECT_ROOT
from config.services.launch import death_signal
from config.services.marks import Mark, signal_quietly
from config.services.programs import Program

Sink = Callable[[str, str], None]
"""Takes the name of a process and one line of its output; called from several threads."""

FIRST_PAUSE, LONGEST_PAUSE, HEALTHY_AFTER = 0.2, 5.0, 30.0
LOG_LIMIT = 10_000_000


def pause_after(deaths: int) -> float:
    """Seconds to wait before a new start, after so many deaths in a row (1 or more)."""
    return min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(deaths - 1, 10))


class Process(threading.Thread):
    """A program that is started again whenever it dies, until `ask_to_stop`.

    Its output goes to `log` and, line by line, to `sink`. `changed` is called after each start.
    The program gets SIGTERM when this process is killed, since this thread ends then (Linux).
    """

    def __init__(self, program: Program, log: Path, sink: Sink, changed: Callable[[], None]) -> None:
        super().__init__(name=f"keep-{program.name}", daemon=True)
        self.program = program
        self.mark: Mark | None = None
        self._log = log
        self._sink = sink
        self._changed = changed
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._child: subprocess.Popen[str] | None = None

    def run(self) -> None:
        """Start, wait, start again."""
        if self._log.exists() and self._log.stat().st_size > LOG_LIMIT:
            self._log.replace(self._log.with_suffix(".log.1"))
        deaths = 0
        while not self._stopping.is_set():
            began = time.monotonic()
            ended = self._live()
            if self._stopping.is_set():
                return
            deaths = 1 if time.monotonic() - began >= HEALTHY_AFTER else deaths + 1
            pause = pause_after(deaths)
            self._say(f"[up] {self.program.name} {ended}; it starts again in {pause:.1f} s")
            self._stopping.wait(pause)

    def ask_to_stop(self) -> None:
        """SIGTERM, and no new start."""
        self._stopping.set()
        self._signal(signal.SIGTERM, group=False)

    def kill(self) -> None:
        """SIGKILL for the program and all of its group."""
        self._stopping.set()
        self._signal(signal.SIGKILL, group=True)

    def _signal(self, number: signal.Signals, *, group: bool) -> None:
        with self._lock:
            if self._child is not None and self._child.poll() is None:
                signal_quietly(self._child.pid, number, group=group)

    def _live(self) -> str:
        """One life of the program. Returns how it ended, in words."""
        with self._lock:
            if self._stopping.is_set():
                return "was not started"
            try:
                child = self._spawn()
            except OSError as error:
                return f"could not be started ({error})"
            self._child, self.mark = child, Mark.of(child.pid)
        self._changed()
        reader = threading.Thread(target=self._pass_on, args=[child], daemon=True)
        reader.start()
        code = child.wait()
        # What it started in its group goes with it; the group may well be empty.
        signal_quietly(child.pid, signal.SIGKILL, group=True)
        reader.join(timeout=2)
        return f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"

    def _spawn(self) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            self.program.command,
            env=dict(self.program.environment),
            cwd=PROJECT_ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            errors="replace",
            start_new_session=True,
            preexec_fn=death_signal(signal.SIGTERM),
        )

    def _pass_on(self, child: "subprocess.Popen[str]") -> None:
        assert child.stdout is not None
        with child.stdout:
            for line in child.stdout:
                self._say(line.rstrip("\n"))

    def _say(self, line: str) -> None:
        with self._log.open("a", encoding="utf-8") as file:
            file.write(line + "\n")
        self._sink(self.program.name, line)
