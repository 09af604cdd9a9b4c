"""What agents had changed when they ended without an outcome: it goes to the branch of its attempt, or it stays.

A workspace is removed only when its branch has everything. What cannot be pushed at once (nobody at the other end, a
lease that is over) is kept on the runner's disk, offered to the control plane with every new connection, and pushed
with a token for just that.
"""

import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import structlog
from pydantic import ValidationError

from agents.contracts import Assignment
from agents.contracts.link import Unsaved
from agents.runner import mirror
from agents.runner.disk import remove
from agents.runner.mirror import MIRRORS
from agents.runner.proof import FOLDER
from agents.runner.workspace import Workspace

log = structlog.get_logger(__name__)

NOTE = "assignment.json"
"""In the folder of an execution: what it was asked to do, without token and password."""
KEPT = "kept"
"""The folder of those whose work is on no branch."""
NO_TOKEN = "-"
DAY_SECONDS = 86_400


async def save(assignment: Assignment, folder: Path, patience: float) -> str | None:
    """Brings what an execution left in its folder to its branch; the commit, or None when there was nothing.

    `patience`: seconds for which an unreachable control plane is tried again. Raises WorkspaceError.
    """
    workspace = _workspace(assignment, folder, patience)
    return await workspace.save(f"Unfinished: {assignment.title}\n") if workspace else None


def _workspace(assignment: Assignment, folder: Path, patience: float) -> Workspace | None:
    repository = assignment.repository
    if assignment.kind != "work" or repository is None or not repository.branch:
        return None  # it may push nothing, so that nothing of it is owed
    return Workspace.left_in(folder, repository, assignment.token, patience)


@dataclass(frozen=True)
class Leftovers:
    """The work on this runner's disk that is on no branch yet, up to so many bytes and days."""

    folder: Path
    at_most_bytes: int
    days: float

    @property
    def kept(self) -> Path:
        return self.folder / KEPT

    def note(self, assignment: Assignment, folder: Path) -> None:
        """Writes down whose folder this is, for the case that we end before it does."""
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        (folder / NOTE).write_text(assignment.model_copy(update={"token": NO_TOKEN, "host": None}).model_dump_json())

    def keep(self, folder: Path, because: str, execution: UUID | None = None) -> Path:
        """An execution is over, and its work could not be pushed: its folder stays, under the name of the execution.

        `execution`: where the folder is not called so yet. Gives where it lies now: where it was, when it cannot be
        moved, because the disk is full for example; the next runner will try again."""
        target = self.kept / (str(execution) if execution else folder.name)
        try:
            self.kept.mkdir(exist_ok=True, mode=0o700)
            remove(target)
            folder.rename(target)
        except OSError as error:
            log.error("work that is on no branch stays where it was", folder=str(folder), because=f"{because}; {error}")
            return folder
        remove(target / "scratch")
        log.warning("work that is on no branch stays here", folder=str(target), because=because)
        self.prune()
        return target

    def recover(self) -> None:
        """A runner begins: of what the one before it left, keep workspaces and remove the rest."""
        for left in self.folder.iterdir():
            if not left.is_dir() or left.name in (KEPT, MIRRORS, FOLDER):
                continue
            try:
                assignment = Assignment.model_validate_json((left / NOTE).read_bytes(), extra="ignore")
            except (OSError, ValidationError):
                assignment = None
            if assignment is not None and _workspace(assignment, left, 0):
                self.keep(left, "its runner was killed", assignment.execution)
            else:
                remove(left)
        self.prune()
        mirror.prune(self.folder / MIRRORS, self.kept, self.days)

    def all(self) -> Iterator[Unsaved]:
        """What is kept, as the control plane is told of it."""
        for folder, assignment in self._all():
            yield Unsaved(execution=assignment.execution, team=assignment.team, folder=str(folder))

    async def save(self, execution: UUID, token: str, patience: float) -> str | None:
        """Pushes what is kept of an execution, with a token for that, and removes it. The commit, if there was one.

        Raises WorkspaceError; then it stays.
        """
        folder = self.kept / str(execution)
        if not folder.is_dir():
            return None
        assignment = Assignment.model_validate_json((folder / NOTE).read_bytes(), extra="ignore")
        commit = await save(assignment.model_copy(update={"token": token}), folder, patience)
        self.forget(execution)
        return commit

    def forget(self, execution: UUID) -> None:
        """Nobody needs it any more."""
        remove(self.kept / str(execution))
        with suppress(OSError):
            self.kept.rmdir()  # unless another one is kept

    def prune(self) -> None:
        """Removes what is too old, and the oldest of what is too much."""
        newest = sorted(self._all(), key=lambda one: one[0].stat().st_mtime, reverse=True)
        total = 0
        for folder, _ in newest:
            is_old = time.time() - folder.stat().st_mtime > self.days * DAY_SECONDS
            total += 0 if is_old else _size(folder)
            if is_old or total > self.at_most_bytes:
                why = f"it is older than {self.days:g} days" if is_old else "there is too much"
                log.error("work that is on no branch is removed", folder=str(folder), because=why)
                remove(folder)

    def _all(self) -> Iterator[tuple[Path, Assignment]]:
        for folder in self.kept.iterdir() if self.kept.is_dir() else ():
            try:
                yield folder, Assignment.model_validate_json((folder / NOTE).read_bytes(), extra="ignore")
            except (OSError, ValidationError) as error:
                log.warning("a kept folder cannot be read", folder=str(folder), because=str(error))


def _size(folder: Path) -> int:
    return sum(path.lstat().st_size for path in folder.rglob("*"))
