"""Knows a process again: a pid alone may belong to somebody else tomorrow."""

import os
import signal
import subprocess
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

PROC = Path("/proc")
LINUX = (PROC / "self/stat").exists()


@dataclass(frozen=True)
class Mark:
    """A pid with the moment its process began, which together name one process for good."""

    pid: int
    began: str

    @classmethod
    def of(cls, pid: int) -> "Mark":
        """Mark of a process that runs now (a dead one gets a mark that is never alive)."""
        return cls(pid, _began(pid))

    @classmethod
    def parse(cls, record: Mapping[str, Any] | None) -> "Mark":
        """From `record()`; anything else gives a mark that is never alive."""
        record = record or {}
        return cls(int(record.get("pid", 0)), str(record.get("began", "")))

    def record(self) -> dict[str, Any]:
        """As JSON data."""
        return {"pid": self.pid, "began": self.began}

    def alive(self) -> bool:
        """Whether this very process still runs (a zombie does not)."""
        return bool(self.began) and self.pid > 0 and _began(self.pid) == self.began

    def send(self, number: signal.Signals) -> None:
        """Signal the process. A dead one is left alone."""
        if self.alive():
            signal_quietly(self.pid, number)


def stop_all(marks: Iterable[Mark], first: signal.Signals, seconds: float) -> None:
    """Ask every process with `first`, and kill those that still run after `seconds`."""
    waiting = list(marks)
    for mark in waiting:
        mark.send(first)
    if not wait_gone(waiting, seconds):
        for mark in waiting:
            mark.send(signal.SIGKILL)
        wait_gone(waiting, 5)


def wait_gone(marks: Iterable[Mark], seconds: float) -> bool:
    """Wait until none of them runs; False when one still does after `seconds`."""
    deadline = time.monotonic() + seconds
    waiting = list(marks)
    while waiting := [mark for mark in waiting if mark.alive()]:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def signal_quietly(pid: int, number: signal.Signals, *, group: bool = False) -> None:
    """Signal a process or a process group that may have ended meanwhile, which is no error."""
    try:
        if group:
            os.killpg(pid, number)
        else:
            os.kill(pid, number)
    except ProcessLookupError:
        return


def with_variable(name: str, value: str) -> list[Mark]:
    """Other processes of ours that were started with this environment variable (found on Linux only)."""
    wanted = f"{name}={value}".encode()
    found = []
    for folder in PROC.glob("[0-9]*"):
        try:
            if wanted in (folder / "environ").read_bytes().split(b"\0"):
                found.append(Mark.of(int(folder.name)))
        except OSError:
            continue  # ended meanwhile, or somebody else's
    return [mark for mark in found if mark.pid != os.getpid()]


def command_of(pid: int) -> str:
    """Command line of a process, empty when there is none."""
    if not LINUX:
        return _ps(pid, "command=")
    try:
        return (PROC / str(pid) / "cmdline").read_bytes().decode(errors="replace").replace("\0", " ").strip()
    except OSError:
        return ""


def _began(pid: int) -> str:
    if not LINUX:
        return _ps(pid, "lstart=")
    try:
        # The name in parentheses may hold spaces and parentheses, so count from its end.
        fields = (PROC / str(pid) / "stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in "ZX" else f"{_boot()}:{fields[19]}"


@cache
def _boot() -> str:
    return (PROC / "sys/kernel/random/boot_id").read_text().strip()


def _ps(pid: int, column: str) -> str:
    found = subprocess.run(["ps", "-o", column, "-p", str(pid)], capture_output=True, text=True, check=False)
    return found.stdout.strip()
