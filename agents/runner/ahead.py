"""Checkouts that are made ahead, of repositories with many files: an attempt takes one, and git writes what differs.

They lie beside the mirror of their repository, are of it alone, and go with it. Nobody ever worked in one: each is made
anew, from the mirror, when no attempt begins; whoever takes one has git look at each file, see
`agents.runner.checkout`.
"""

import asyncio
import shutil
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

import structlog

from agents.contracts import Repository
from agents.runner.checkout import Checkout, WorkspaceError
from agents.runner.disk import taken
from agents.runner.mirror import MAKING, ahead_of, all_ahead, is_broken, path_of

log = structlog.get_logger(__name__)

FEWEST_FILES = 1000
"""What has fewer is checked out soon enough."""
MOST = 4
"""Of one repository, on a runner that takes as many attempts at once."""
SETTLE_SECONDS = 3.0
"""The start of an attempt has the processors and the disk for itself."""


class Ahead:
    """Those of a runner. They have at most so many bytes together; 0: there are none."""

    def __init__(
        self,
        mirrors: Path,
        capacity: int,
        at_most_bytes: int,
        *,
        fewest_files: int = FEWEST_FILES,
        settle_seconds: float = SETTLE_SECONDS,
    ) -> None:
        self._mirrors = mirrors
        self._each = min(capacity, MOST)
        self._at_most = at_most_bytes
        self._fewest = fewest_files
        self._settle = settle_seconds
        self._wanted: dict[str, Repository] = {}
        self._making: asyncio.Task[None] | None = None

    def used(self, repository: Repository | None) -> None:
        """An attempt on this repository begins or ends: there will be others. In the background."""
        if repository is None or not self._at_most:
            return
        self._wanted[repository.url] = repository
        if self._making is None or self._making.done():
            self._making = asyncio.create_task(self._make_all())

    async def made(self) -> None:
        """Waits until all that are wanted are there."""
        if self._making is not None:
            await self._making

    async def close(self) -> None:
        """Makes none any more."""
        self._at_most = 0
        if self._making is not None:
            self._making.cancel()
            await asyncio.wait({self._making})  # who is cancelled meanwhile ends, too

    async def _make_all(self) -> None:
        while self._wanted:
            await asyncio.sleep(self._settle)
            _, repository = self._wanted.popitem()
            try:
                await self._make_for(repository)
            except (WorkspaceError, OSError) as error:
                log.warning("no checkout is made ahead", repository=repository.url, because=str(error))

    async def _make_for(self, repository: Repository) -> None:
        mirror = path_of(self._mirrors, repository.url)
        if is_broken(mirror) or not await Checkout.is_in(mirror, repository, self._fewest):
            return
        while len(list(all_ahead(mirror))) < self._each:
            if shutil.disk_usage(self._mirrors).free < self._at_most:
                return
            await self._make(mirror, repository)
            if await asyncio.to_thread(self._trim):
                return

    async def _make(self, mirror: Path, repository: Repository) -> None:
        name = uuid4().hex
        making = ahead_of(mirror) / f"{MAKING}{name}"
        making.mkdir(parents=True, mode=0o700)
        try:
            await Checkout.make_ahead(making, mirror, repository)
            making.rename(ahead_of(mirror) / f"{repository.commit}-{name}")
        finally:
            shutil.rmtree(making, ignore_errors=True)

    def _trim(self) -> bool:
        """Removes the oldest of what is too much; whether there was any."""
        sizes: list[tuple[float, int, Path]] = []
        for mirror in self._mirrors.glob("*.git"):
            for checkout in all_ahead(mirror):
                with suppress(FileNotFoundError):  # taken meanwhile
                    sizes.append((checkout.stat().st_mtime, taken(checkout), checkout))
        total = 0
        removed = False
        for _, size, checkout in sorted(sizes, reverse=True):
            total += size
            if total > self._at_most:
                removed = True
                shutil.rmtree(checkout, ignore_errors=True)
        return removed
