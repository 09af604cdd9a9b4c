"""Processes as /proc shows them: who descends from whom, and what they use."""

import os
import resource
import signal
import stat
import time
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from functools import cache
from pathlib import Path

PAGE = os.sysconf("SC_PAGE_SIZE")
STOPPING_SECONDS = 1.0
"""At most, until a process stops that was told to: on a busy machine it gets its turn late."""


def descendants(pid: int, at_most: int = 1 << 20) -> list[int]:
    """Living descendants of a process, parents before children; itself not included.

    Stops counting soon after `at_most`, so that looking at a fork bomb costs no more than its limit.
    """
    found: list[int] = []
    waiting = [pid]
    while waiting and len(found) <= at_most:
        young = _children(waiting.pop(0))
        found += young
        waiting += young
    return found


def private_bytes(pids: list[int]) -> int:
    """Resident memory that these processes do not share with files or others, in bytes."""
    total = 0
    for pid in pids:
        try:
            resident, shared = Path(f"/proc/{pid}/statm").read_text().split()[1:3]
        except (OSError, ValueError):  # it ended while we looked
            continue
        total += (int(resident) - int(shared)) * PAGE
    return total


def whole_bytes(pids: Iterable[int]) -> int:
    """Memory of these processes, what they share with each other and files in memory included. Takes longer."""
    own = shared = 0
    for pid in pids:
        try:
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        except OSError:
            continue
        parts = {name: int(rest.split()[0]) << 10 for name, _, rest in (line.partition(":") for line in lines[1:])}
        own += parts.get("Pss_Anon", 0)
        shared += parts.get("Pss_Shmem", 0)
    # A file in memory may be mapped, too: it must not count twice.
    return own + max(shared, nameless(pids).get(_memory_device(), 0))


def nameless(pids: Iterable[int]) -> dict[int, int]:
    """Bytes of files that processes hold open though nothing is called so any more, or ever was; by device."""
    found: dict[tuple[int, int], int] = {}
    for pid in pids:
        try:
            numbers = os.listdir(f"/proc/{pid}/fd")
        except OSError:  # it ended while we looked
            continue
        for number in numbers:
            try:
                seen = os.stat(f"/proc/{pid}/fd/{number}")
            except OSError:
                continue
            if stat.S_ISREG(seen.st_mode) and seen.st_nlink == 0:
                found[(seen.st_dev, seen.st_ino)] = seen.st_blocks * 512
    total: Counter[int] = Counter()
    for (device, _), size in found.items():
        total[device] += size
    return total


@cache
def _memory_device() -> int:
    """The device of files that lie in memory alone."""
    file = os.memfd_create("which")
    try:
        return os.fstat(file).st_dev
    finally:
        os.close(file)


def limit_processor(pids: Iterable[int], seconds: int) -> None:
    """Each of these processes, and what it starts from now on, may use a processor for so long, and no longer."""
    for pid in pids:
        with suppress(ProcessLookupError):  # it ended while we looked
            resource.prlimit(pid, resource.RLIMIT_CPU, (seconds, seconds))


def kill_tree(pid: int) -> None:
    """Kills everything that descends from a process, then the process itself."""
    for _ in range(10):
        doomed = descendants(pid)
        if not any([_kill(one) for one in doomed]):
            break
    _kill(pid)


def kill_parent(pid: int) -> None:
    """Kills a process and its children, also one that it is just making, which does not know yet that it must die with
    its parent. It is stopped before we look: no child is made afterwards."""
    if not _signal(pid, signal.SIGSTOP):
        return
    patience = time.monotonic() + STOPPING_SECONDS
    while _may_run(pid) and time.monotonic() < patience:
        time.sleep(0.0005)
    for child in _children(pid):
        _kill(child)
    _kill(pid)


def kill_marked(variable: str) -> None:
    """Kills every process that has a variable of this name in its environment, and what they start meanwhile."""
    for _ in range(10):
        if not any([_kill(pid) for pid in _marked(f"\0{variable}=".encode())]):
            break


def _marked(variable: bytes) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):  # it ended while we looked, or is somebody else's
                if variable in b"\0" + (entry / "environ").read_bytes():
                    found.append(int(entry.name))
    return found


def kill_mentioning(path: Path) -> None:
    """Kills every process on whose command line a path stands."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                line = (entry / "cmdline").read_bytes()
            except OSError:  # it ended while we looked
                continue
            if os.fsencode(path) in line:
                _kill(int(entry.name))


def _kill(pid: int) -> bool:
    return _signal(pid, signal.SIGKILL)


def _may_run(pid: int) -> bool:
    """Whether a process is neither stopped nor gone."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "TtZX"


def _signal(pid: int, number: signal.Signals) -> bool:
    """Whether there was such a process."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True


def _children(pid: int) -> list[int]:
    """Children of all threads of a process; none when it ended."""
    try:
        threads = os.listdir(f"/proc/{pid}/task")
    except OSError:
        return []
    found: list[int] = []
    for thread in threads:
        try:
            found += map(int, Path(f"/proc/{pid}/task/{thread}/children").read_text().split())
        except OSError:
            continue
    return found
