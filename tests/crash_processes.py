"""Processes of the platform: started or forked, listened to, ended. Each dies at a crash point if it is told so."""

import json
import os
import signal
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any

from config.env import PROJECT_ROOT

SECONDS = 90.0
"""A limit against hanging, and no measure of speed."""


def wait_for(what: Callable[[], Any], otherwise: Callable[[], object], seconds: float = SECONDS) -> Any:
    """The first true value of `what`."""
    deadline, pause = time.monotonic() + seconds, 0.01
    while not (value := what()):
        assert time.monotonic() < deadline, f"waited in vain: {otherwise()}"
        time.sleep(pause)
        pause = min(pause * 1.1, 0.1)  # asking again and again takes from those who are waited for
    return value


class Lines:
    """A program of ours that answers a line of JSON with another one."""

    def __init__(self, environment: dict[str, str], log: Path, *command: str) -> None:
        self.log = log
        with log.open("wb") as errors:
            self.running = subprocess.Popen(
                [sys.executable, *command],
                cwd=PROJECT_ROOT,
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )

    def write(self, **words: object) -> None:
        """Ask something."""
        assert self.running.stdin is not None
        self.running.stdin.write(json.dumps(words) + "\n")
        self.running.stdin.flush()

    def ask(self, **words: object) -> Any:
        """Ask something, and wait for the answer."""
        self.write(**words)
        assert self.running.stdout is not None
        line = self.running.stdout.readline()
        assert line, self.log.read_text()
        return json.loads(line)

    def end(self) -> None:
        """Nothing more is asked."""
        assert self.running.stdin is not None
        self.running.stdin.close()
        self.running.wait(20)


class Process(ABC):
    """A process of the platform in a session of its own, told to die at a crash point if one is named."""

    pid: int

    def __init__(self, point: str, log: Path) -> None:
        self.point, self.log = point, log

    @abstractmethod
    def poll(self) -> int | None:
        """The exit code, once it has ended."""

    @property
    def text(self) -> str:
        """What it has said."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def says(self, words: str, looks: Callable[[], object] = str) -> None:
        """Wait until it has said so."""
        wait_for(lambda: words in self.text or self.poll() is not None, lambda: f"{words}: {looks()}\n{self.text}")
        assert words in self.text, self.text

    def code(self) -> int:
        """How it has ended."""
        wait_for(lambda: self.poll() is not None, lambda: self.text)
        code = self.poll()
        assert code is not None
        return code

    def signal(self, number: signal.Signals) -> None:
        """To it and to those of its children that have no sessions of their own."""
        if self.poll() is None:
            os.killpg(self.pid, number)

    def end(self) -> None:
        """Let it end in good order."""
        if self.poll() is None:
            os.kill(self.pid, signal.SIGTERM)
            self.code()


class Started(Process):
    """Started as a user starts it."""

    def __init__(self, point: str, log: Path, environment: dict[str, str], *command: str) -> None:
        super().__init__(point, log)
        with log.open("wb") as output:
            self._running = subprocess.Popen(
                [sys.executable, "-m", *command],
                cwd=PROJECT_ROOT,
                env=environment | {"WAGGLE_CRASH_AT": point},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.pid = self._running.pid

    def poll(self) -> int | None:
        """See above."""
        return self._running.poll()


class Forked(Process):
    """From the nursery."""

    def __init__(self, point: str, log: Path, nursery: Lines, *command: str) -> None:
        super().__init__(point, log)
        self._nursery = nursery
        self._code: int | None = None
        self.pid = nursery.ask(command=command, crash_at=point, log=str(log))

    def poll(self) -> int | None:
        """See above."""
        if self._code is None:
            self._code = self._nursery.ask(pid=self.pid)
        return self._code


class Person(Process):
    """Somebody who uses the platform: see tests.crash_driver."""

    def __init__(self, point: str, log: Path, environment: dict[str, str]) -> None:
        super().__init__(point, log)
        words = ("-c", "import config.worker; from tests import crash_driver; crash_driver.main()")
        self.lines = Lines(environment | {"WAGGLE_CRASH_AT": point}, log, *words)
        self.pid = self.lines.running.pid

    def poll(self) -> int | None:
        """See above."""
        return self.lines.running.poll()

    def end(self) -> None:
        """Nothing more is asked."""
        self.lines.end()
