"""Cgroups that bound how many processes a command has, and how much memory they use together.

Only root needs the first and may make either: the kernel holds nobody else's resource limit on processes against root.
The second also counts memory that belongs to no process: files in memory, shared segments.
"""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import cache
from itertools import count
from pathlib import Path

TREE = Path("/sys/fs/cgroup")
PREFIX = "waggle-sandbox-"
ENTER = 'echo $$ > "$0/cgroup.procs" && exec "$@"'
_numbers = count()


@asynccontextmanager
async def cage(processes: int, memory_mb: int) -> AsyncIterator[list[str]]:
    """Gives the beginning of a command line that enters new cgroups; empty where there can be none."""
    bounds: dict[Path, dict[str, int]] = {}
    for (parent, file), bound in zip(_controls(), (processes, memory_mb << 20), strict=True):
        if parent is not None:
            bounds.setdefault(parent, {})[file] = bound
    name = f"{PREFIX}{os.getpid()}-{next(_numbers)}"
    entrance: list[str] = []
    async with AsyncExitStack() as stack:
        for parent, files in bounds.items():
            folder = parent / name
            folder.mkdir()
            stack.push_async_callback(_remove, folder)
            for file, bound in files.items():
                (folder / file).write_text(str(bound))
            entrance += ["sh", "-c", ENTER, str(folder)]
        yield entrance


def clear() -> None:
    """Removes empty cgroups that killed runners left. To be called before any command runs.

    Those of other runners of this machine stay: they are empty, too, until a command enters.
    """
    for parent in {parent for parent, _ in _controls() if parent is not None}:
        for left in parent.glob(f"{PREFIX}*"):
            maker = left.name.removeprefix(PREFIX).partition("-")[0]
            if not Path("/proc", maker).exists():
                with suppress(OSError):
                    left.rmdir()


@cache
def _controls() -> tuple[tuple[Path | None, str], tuple[Path | None, str]]:
    """Where processes and where memory can be bounded, and by which file; None: nowhere."""
    # Below our own, so that what bounds us goes on to bound what we run.
    own = TREE / "memory" / _own("memory").lstrip("/")
    return (
        _first((TREE, "pids.max"), (TREE / "pids", "pids.max")),
        _first((TREE, "memory.max"), (own, "memory.limit_in_bytes"), (TREE / "memory", "memory.limit_in_bytes")),
    )


def _first(*places: tuple[Path, str]) -> tuple[Path | None, str]:
    """The first place where a cgroup with this file can be made, found by making one."""
    for parent, file in places:
        trial = parent / f"{PREFIX}{os.getpid()}-trial"
        try:
            trial.mkdir()
        except OSError:
            continue
        has_it = (trial / file).exists()
        trial.rmdir()
        if has_it:
            return parent, file
    return None, ""


def _own(controller: str) -> str:
    """The cgroup of this process in a hierarchy of the first version; empty when there is none."""
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, names, path = line.split(":", 2)
        if controller in names.split(","):
            return path
    return ""


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
