"""A cgroup that bounds how many processes a command has.

Only root needs it and may make it: the kernel holds nobody else's resource limit on processes against root.
"""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import cache
from itertools import count
from pathlib import Path

HIERARCHIES = (Path("/sys/fs/cgroup"), Path("/sys/fs/cgroup/pids"))
PREFIX = "waggle-sandbox-"
ENTER = 'echo $$ > "$0/cgroup.procs" && exec "$@"'
_numbers = count()


@asynccontextmanager
async def cage(processes: int) -> AsyncIterator[list[str]]:
    """Gives the beginning of a command line that enters a new cgroup; empty where there can be none."""
    parent = _parent()
    if parent is None:
        yield []
        return
    folder = parent / f"{PREFIX}{os.getpid()}-{next(_numbers)}"
    folder.mkdir()
    try:
        (folder / "pids.max").write_text(str(processes))
        yield ["sh", "-c", ENTER, str(folder)]
    finally:
        await _remove(folder)


def clear() -> None:
    """Removes empty cgroups that killed runners left. To be called before any command runs."""
    if (parent := _parent()) is not None:
        for left in parent.glob(f"{PREFIX}*"):
            with suppress(OSError):
                left.rmdir()


@cache
def _parent() -> Path | None:
    """Where cgroups with a limit on processes can be made, found by making one."""
    for parent in HIERARCHIES:
        trial = parent / f"{PREFIX}{os.getpid()}-trial"
        try:
            trial.mkdir()
        except OSError:
            continue
        counts = (trial / "pids.max").exists()
        trial.rmdir()
        if counts:
            return parent
    return None


async def _remove(folder: Path) -> None:
    """Removes a cgroup as soon as the last of its processes is gone."""
    for _ in range(100):
        try:
            folder.rmdir()
        except FileNotFoundError:
            return
        except OSError:
            await asyncio.sleep(0.02)
        else:
            return
