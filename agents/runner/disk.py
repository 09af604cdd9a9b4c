"""How much disk an execution's commands take: looked at while they run, since the kernel bounds single files only.

A look at the file system costs nothing, a walk through the folders does. So the folders are walked only when the file
system has become fuller than it was at the last walk.
"""

import os
import shutil
import stat
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from agents.runner.processes import nameless

MOST_MB = 4096
"""Of a work tree and the folder for temporary files, together."""
SPARE_MB = 256
"""Left on the disk: a command that takes the last of it is stopped, whatever it has itself."""
STEP = 8
"""A walk is due when the file system has lost this part of what is allowed."""
PAUSE_SECONDS = 1.0
FILE_BYTES = 4096
"""What a file counts at least, so that empty ones have an end, too."""


class Disk:
    """What the folders of one execution take, over all of its commands."""

    def __init__(self, folders: Iterable[Path], most_bytes: int = MOST_MB << 20) -> None:
        self._folders = tuple(folders)
        self._most = most_bytes
        self._free: int | None = None
        self._looked = 0.0

    def is_due(self) -> bool:
        """Whether it is time to look again."""
        return time.monotonic() - self._looked >= PAUSE_SECONDS

    def is_over(self, pids: Iterable[int]) -> bool:
        """Whether the folders, and what these processes hold open without a name, are more than allowed. Blocks."""
        self._looked = time.monotonic()
        left, free = _left(self._folders[0])
        if self._free is None:
            self._free = free  # what a repository brought is not the commands' doing
        lost = self._free - free
        if left < SPARE_MB << 20 and lost > self._most // STEP:
            return True
        if abs(lost) < self._most // STEP:
            return False
        self._free = free
        held = nameless(pids).get(os.stat(self._folders[0]).st_dev, 0)
        return sum(map(taken, self._folders)) + held > self._most


def taken(folder: Path) -> int:
    """Bytes on disk of everything below a folder. Follows no links."""
    total = 0
    waiting = [os.fspath(folder)]
    while waiting:
        try:
            with os.scandir(waiting.pop()) as entries:
                for entry in entries:
                    total += _size(entry.stat(follow_symlinks=False))
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
        except OSError:  # removed while we looked, or shut: its command is then stopped by the other rule
            continue
    return total


def remove(folder: Path) -> None:
    """Removes a folder and all below it, also what may not be written, such as the caches of some tools. What cannot be
    removed stays."""
    shutil.rmtree(folder, ignore_errors=True)
    if not folder.is_dir():
        return
    with suppress(OSError):
        folder.chmod(0o700)
    for _, names, _, here in os.fwalk(folder):
        for name in names:
            with suppress(OSError):
                if not stat.S_ISLNK(os.lstat(name, dir_fd=here).st_mode):
                    os.chmod(name, 0o700, dir_fd=here)
    shutil.rmtree(folder, ignore_errors=True)


def _size(seen: os.stat_result) -> int:
    return max(seen.st_blocks * 512, FILE_BYTES) // max(seen.st_nlink if stat.S_ISREG(seen.st_mode) else 1, 1)


def _left(folder: Path) -> tuple[int, int]:
    """Bytes that the file system has left for us, and what it has free, with each free file counted at least."""
    seen = os.statvfs(folder)
    return seen.f_bavail * seen.f_frsize, seen.f_bfree * seen.f_frsize + seen.f_ffree * FILE_BYTES
