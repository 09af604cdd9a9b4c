"""The clone in which one execution works."""

import asyncio
import os
import shutil
import stat
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from agents.contracts import Repository
from agents.runner.checkout import NETWORK_TROUBLE, SAVED, Checkout, WorkspaceError
from agents.runner.mirror import give_up, is_broken, path_of
from sessions import storable

DIFF_BYTES = 400_000
NAMED = ("--pathspec-from-file=-", "--pathspec-file-nul")
"""Paths come by the standard input."""


@dataclass(frozen=True)
class Change:
    """What a commit changed against the commit that the workspace started from."""

    commit: str
    files: tuple[str, ...]
    diff: str


@dataclass(frozen=True)
class Restored:
    """A work tree that is what it was."""

    changed: list[str]
    """The files that changed by that."""
    before: str
    """What it was until then, to be restored in its turn."""


class Workspace(Checkout):
    """A clone of one repository at one commit. Make it with `await Workspace.clone(...)`."""

    @classmethod
    async def clone(
        cls, folder: Path, repository: Repository, token: str, patience: float = 60, mirrors: Path | None = None
    ) -> "Workspace":
        """Fetches a commit with its history and checks it out in `folder`/work.

        `patience`: seconds for which an unreachable control plane is tried again. With `mirrors`, what was fetched of
        the repository before is borrowed from there. Raises WorkspaceError.
        """
        self = cls(folder, repository, token, patience)
        self.work.mkdir(parents=True, exist_ok=True)
        mirror = path_of(mirrors, repository.url) if mirrors else None
        if mirror is None or is_broken(mirror):
            await self._fetch_and_check_out()
            return self
        try:
            await self._bring(mirror)
            if not await self._take(mirror, folder / "ahead"):
                await self._borrow_and_check_out(mirror)
        except WorkspaceError as error:
            if any(sign in str(error) for sign in NETWORK_TROUBLE):
                raise
            await self._fetch_and_check_out()
            give_up(mirror, str(error))  # it is the mirror: without it all is well
        return self

    @classmethod
    def left_in(cls, folder: Path, repository: Repository, token: str, patience: float) -> "Workspace | None":
        """The workspace that somebody who is gone had in `folder`; None when it was never whole."""
        self = cls(folder, repository, token, patience)
        if not (self.git_dir / "index").is_file():
            return None
        for lock in self.git_dir.glob("**/*.lock"):
            lock.unlink()  # of a git that was killed
        return self

    async def hide(self, paths: Collection[str]) -> None:
        """Takes tracked files and folders out of the work tree; commits go on to have them as they are.

        Raises WorkspaceError."""
        names = await self._git("ls-files", "-z", "--", *(f":(top,literal){path}" for path in paths))
        if not names:
            return
        await self._git("update-index", "--skip-worktree", "-z", "--stdin", text=names)
        for name in filter(None, names.split("\0")):
            (self.work / name).unlink(missing_ok=True)

    async def remember(self) -> str:
        """The work tree as it is now, as a tree of git; what is ignored is left out. Nobody may work in it meanwhile.

        Raises WorkspaceError."""
        await self._leave_out_repositories()
        if not self._aside.exists():
            await asyncio.to_thread(shutil.copyfile, self.git_dir / "index", self._aside)
        await self._git("add", "--all", "--", ".", extra=self._beside)
        return (await self._git("write-tree", extra=self._beside)).strip()

    async def restore(self, tree: str) -> Restored:
        """Makes the work tree what it was; what is ignored by the rules of then stays as it is. Right after `remember`.

        Raises WorkspaceError."""
        there = (await self._git("write-tree", extra=self._beside)).strip()
        listed = ("diff-index", "--cached", "--no-renames", "--name-only", "-z")
        changed = await self._git(*listed, tree, extra=self._beside)
        gone = await self._git(*listed, "--diff-filter=A", tree, extra=self._beside)
        await self._git("read-tree", "--reset", "-u", tree, extra=self._beside)
        # Rules about what is ignored may have changed, too: some files came with them, others were only forgotten.
        ignored = gone and await self._git("check-ignore", "--no-index", "--stdin", "-z", text=gone, nothing=1)
        if ignored:
            await self._git("restore", f"--source={there}", "--worktree", *NAMED, text=ignored, extra=self._beside)
        if came := await self._git("ls-files", "--others", "--exclude-standard", "-z", extra=self._beside):
            await self._git("read-tree", there, extra=self._beside)
            await self._git("add", "--force", *NAMED, text=came, extra=self._beside)
            there = (await self._git("write-tree", extra=self._beside)).strip()
            await self._git("read-tree", tree, extra=self._beside)
            await self._git("clean", "--force", "-d", "--quiet", extra=self._beside)
        names = {*changed.split("\0"), *came.split("\0")} - {"", *ignored.split("\0")}
        return Restored(sorted(names), there)

    @property
    def _beside(self) -> dict[str, str]:
        return {"GIT_INDEX_FILE": str(self._aside), "GIT_LITERAL_PATHSPECS": "1"}

    @property
    def _aside(self) -> Path:
        """An index beside the one that commits are made with."""
        return self.git_dir / "aside"

    async def save(self, message: str) -> str | None:
        """Commits and pushes what is not yet on the branch; the commit, or None when there was nothing.

        Raises WorkspaceError; then the commit is here, and nothing is lost.
        """
        if await self._git("status", "--porcelain", "-z"):
            await self.commit_all(message)
        commit, saved = (await self._git("rev-parse", "HEAD", SAVED)).split()
        if commit == saved:
            return None
        await self.push()
        return commit

    async def commit_all(self, message: str, beside: Collection[str] = ()) -> Change | None:
        """Commits everything that changed in the work tree; None when nothing did.

        New files that are named `beside` the commit stay out of it. Raises WorkspaceError.
        """
        await self._leave_out_repositories()
        await self._git("add", "--all", "--", ".")
        for path in beside:
            here = f":(top,literal){path}"
            added = await self._git(
                "diff", "--cached", "--no-renames", "--name-only", "--diff-filter=A", self.repository.commit, "--", here
            )
            if added:
                await self._git("rm", "--cached", "--quiet", "--force", "--", here)
        if not await self._git("diff", "--cached", "--name-only", "-z", self.repository.commit):
            return None
        name, _, mail = self.repository.author.partition("<")
        who = {"NAME": name.strip() or "Waggle agent", "EMAIL": mail.rstrip("> ") or "agent@waggle.invalid"}
        people = {f"GIT_{part}_{key}": value for part in ("AUTHOR", "COMMITTER") for key, value in who.items()}
        said = storable.text(message)
        await self._git("commit", "--quiet", "--no-verify", "--allow-empty", "--file=-", text=said, extra=people)
        commit = (await self._git("rev-parse", "HEAD")).strip()
        names = await self._git("diff", "--name-only", "-z", self.repository.commit, commit)
        return Change(commit, tuple(filter(None, names.split("\0"))), await self.diff())

    async def _leave_out_repositories(self) -> None:
        try:
            await asyncio.to_thread(_remove_nested_repositories, self.work)
        except OSError as error:
            raise WorkspaceError(f"A repository within the workspace cannot be removed: {error}") from error

    async def diff(self) -> str:
        """The patch from the starting commit to HEAD, cut off when it is very long."""
        patch = await self._git("diff", "--no-ext-diff", "--no-textconv", "--no-color", self.repository.commit, "HEAD")
        return patch if len(patch) <= DIFF_BYTES else patch[:DIFF_BYTES] + "\n[… the patch is longer …]\n"

    async def push(self) -> None:
        """Pushes HEAD to the branch of the assignment. Raises WorkspaceError."""
        branch = self.repository.branch
        if not branch:
            raise WorkspaceError("The assignment names no branch to push to.")
        ref = branch if branch.startswith("refs/") else f"refs/heads/{branch}"
        await self._git("push", "--quiet", self.repository.url, f"HEAD:{ref}", network=True)
        await self._git("update-ref", SAVED, "HEAD")


def _remove_nested_repositories(work: Path) -> None:
    """Removes every .git that a command made in the work tree: `git add` would read its configuration.

    By open folders, not by paths: whoever still works there could put a link in the place of a folder on the way.
    """
    for _, names, files, here in os.fwalk(work):
        if ".git" in names or ".git" in files:
            os.fchmod(here, stat.S_IMODE(os.fstat(here).st_mode) | stat.S_IRWXU)
        if ".git" in names:
            names.remove(".git")
            if stat.S_ISLNK(os.lstat(".git", dir_fd=here).st_mode):
                os.unlink(".git", dir_fd=here)
            else:
                shutil.rmtree(".git", dir_fd=here)
        if ".git" in files:
            os.unlink(".git", dir_fd=here)
