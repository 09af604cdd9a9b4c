"""What a runner has fetched of each repository: workspaces borrow these objects, and fetch only what is new.

A mirror is the runner's alone. Agents see none of it: the git directories of workspaces lie outside of what their
commands see, and which commit an attempt may have is for the control plane to say.
"""

import asyncio
import fcntl
import hashlib
import os
import shutil
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path

import structlog

from agents.runner.settings import env_number

log = structlog.get_logger(__name__)

MIRRORS = "mirrors"
"""The folder of them all, beside those of executions."""
SLOTS = 16
"""Refs of a mirror: the newest commits, from which the next fetch goes on."""
PACKS = 50
"""A mirror with more is packed anew."""
DAY_SECONDS = 86_400
REST_SECONDS = 600
"""Who held a mirror so lately may be about to borrow from it."""
MAKING = "making-"
"""Of the names of checkouts that are not whole yet."""


def path_of(mirrors: Path, url: str) -> Path:
    """Where the mirror of the repository at this address is."""
    return mirrors / f"{hashlib.sha256(url.encode()).hexdigest()[:32]}.git"


def slot(commit: str) -> str:
    """The ref under which a mirror keeps a commit until another one takes its place."""
    return f"refs/waggle/{int(commit[:4], 16) % SLOTS}"


def ahead_of(mirror: Path) -> Path:
    """The folder of the checkouts that are made ahead of its repository (see `agents.runner.ahead`)."""
    return mirror.with_suffix(".ahead")


def all_ahead(mirror: Path) -> Iterator[Path]:
    """Those that are whole. Their names begin with their commits."""
    folder = ahead_of(mirror)
    return (one for one in (folder.iterdir() if folder.is_dir() else ()) if not one.name.startswith(MAKING))


def claim(mirror: Path, commit: str, into: Path) -> str:
    """Moves one of them there, best one of this commit, for the caller alone; its commit. Empty: there is none."""
    for one in sorted(all_ahead(mirror), key=lambda one: not one.name.startswith(commit)):
        with suppress(OSError):  # somebody else has it
            one.rename(into)
            return one.name.partition("-")[0]
    return ""


def packs(mirror: Path) -> int:
    """How many packs it has."""
    return sum(1 for _ in (mirror / "objects" / "pack").glob("*.pack"))


def give_up(mirror: Path, because: str) -> None:
    """It cannot be used: workspaces fetch by themselves until the runner begins anew, which removes it."""
    log.error("a mirror is broken and not used any more", folder=str(mirror), because=because)
    mirror.with_suffix(".broken").touch()


def is_broken(mirror: Path) -> bool:
    """Whether somebody gave it up."""
    return mirror.with_suffix(".broken").exists()


@asynccontextmanager
async def held(mirror: Path) -> AsyncIterator[None]:
    """Alone with a mirror, among all processes of this runner. What a git that was killed left locked is free again."""
    mirror.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with mirror.with_suffix(".lock").open("w") as lock:
        while True:
            with suppress(BlockingIOError):
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            await asyncio.sleep(0.02)
        for left in mirror.glob("**/*.lock"):
            left.unlink(missing_ok=True)
        yield


def prune(mirrors: Path, kept: Path, days: float) -> None:
    """Removes mirrors that are broken or that nobody used for so many days, when the runner begins; not those that kept
    work needs. Checkouts go with them, and those that the runner before could not finish."""
    for half in mirrors.glob(f"*.ahead/{MAKING}*"):
        shutil.rmtree(half, ignore_errors=True)
    needed = set(_borrowed(kept))
    for mirror in mirrors.glob("*.git"):
        used = mirror.with_suffix(".lock").stat().st_mtime if mirror.with_suffix(".lock").exists() else 0
        is_old = time.time() - used > days * DAY_SECONDS
        if str(mirror) not in needed and (is_old or is_broken(mirror)):
            log.info(
                "a mirror is removed", folder=str(mirror), because=f"unused for {days} days" if is_old else "broken"
            )
            shutil.rmtree(ahead_of(mirror), ignore_errors=True)
            shutil.rmtree(mirror, ignore_errors=True)
            for suffix in (".lock", ".broken"):
                mirror.with_suffix(suffix).unlink(missing_ok=True)


def most_bytes(environment: Mapping[str, str]) -> int:
    """How much all mirrors of this runner may take. Raises SettingsError."""
    return env_number("WAGGLE_RUNNER_MIRROR_MB", environment, 10_240, most=1 << 20) << 20


def make_room(mirrors: Path, at_most: int) -> None:
    """Removes what was not used for longest, until all mirrors take no more than so many bytes; nothing that is in use:
    that a workspace of this runner borrows, kept ones too, or that somebody holds or has held a moment ago."""
    sizes = {mirror: _size(mirror) for mirror in sorted(mirrors.glob("*.git"), key=_used)}
    total = sum(sizes.values())
    for mirror, size in sizes.items():
        if total <= at_most or time.time() - _used(mirror) < REST_SECONDS:
            return
        with _held_now(mirror) as ours:
            if ours and str(mirror) not in {*_borrowed(mirrors.parent), *_borrowed(mirrors.parent / "kept")}:
                log.info("a mirror is removed", folder=str(mirror), because=f"all take more than {at_most >> 20} MB")
                shutil.rmtree(mirror.with_suffix(".ahead"), ignore_errors=True)
                shutil.rmtree(mirror, ignore_errors=True)
                total -= size


@contextmanager
def _held_now(mirror: Path) -> Iterator[bool]:
    """Whether we are alone with a mirror while the block lasts. That counts as no use of it."""
    with mirror.with_suffix(".lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True


def _used(mirror: Path) -> float:
    """When somebody held it last."""
    lock = mirror.with_suffix(".lock")
    return lock.stat().st_mtime if lock.exists() else 0


def _size(mirror: Path) -> int:
    total = 0
    for folder, _, files in os.walk(mirror):
        for name in files:
            with suppress(FileNotFoundError):  # packed anew meanwhile
                total += os.lstat(os.path.join(folder, name)).st_size
    return total


def _borrowed(folder: Path) -> Iterator[str]:
    """The mirrors from which workspaces in a folder borrow."""
    for borrows in folder.glob("*/repo.git/objects/info/alternates"):
        with suppress(FileNotFoundError):  # its workspace is just being removed
            for line in borrows.read_text().splitlines():
                yield line.removesuffix("/objects")
