"""A checkout of a repository that a runner carries out work in, and how it comes to be.

The git directory lies outside the work tree that commands see, so that nothing an agent writes there is
ever configuration or a hook to a git that we run.
"""

import asyncio
import random
import shutil
import time
from pathlib import Path

from agents.contracts import Repository
from agents.runner.git_settings import environment
from agents.runner.mirror import PACKS, claim, held, packs, slot
from agents.runner.processes import kill_tree

NETWORK_TROUBLE = (
    "Could not resolve host",
    "Failed to connect",
    "Connection refused",
    "Connection reset",
    "Couldn't connect",
    "Empty reply from server",
    "Recv failure",
    "Operation too slow",
    "early EOF",
    "timed out",
    "unexpected disconnect",
    "The requested URL returned error: 5",
)
SAVED = "refs/waggle/saved"
"""The last commit of a workspace that its branch on the control plane has, or that it started from."""
NOBODY = "-"
"""In the place of a token, for what asks nobody."""


class WorkspaceError(Exception):
    """Git said no; the message is what it said."""


class Checkout:
    """A work tree and its git directory, in one folder."""

    def __init__(self, folder: Path, repository: Repository, token: str, patience: float) -> None:
        self.work = folder / "work"
        self.git_dir = folder / "repo.git"
        self.repository = repository
        self._patience = patience
        self._gently: tuple[str, ...] = ()
        self._environment = environment(token)

    async def _fetch_and_check_out(self) -> None:
        await self._begin()
        self._borrows.unlink(missing_ok=True)
        await self._git("fetch", "--quiet", "--no-tags", self.repository.url, self.repository.commit, network=True)
        await self._check_out()

    async def _borrow_and_check_out(self, mirror: Path) -> None:
        await self._begin()
        self._borrows.parent.mkdir(exist_ok=True)
        self._borrows.write_text(f"{mirror / 'objects'}\n")
        await self._check_out()

    async def _begin(self) -> None:
        await self._git("init", "--quiet", "--bare", "--template=", "--initial-branch=work", str(self.git_dir))

    async def _check_out(self) -> None:
        commit = self.repository.commit
        refs = f"update refs/heads/work {commit}\nupdate {SAVED} {commit}\n"
        await self._git("update-ref", "--stdin", text=refs)
        await self._git("reset", "--quiet", "--hard")

    @property
    def _borrows(self) -> Path:
        """Where git reads whose objects are taken for ours."""
        return self.git_dir / "objects" / "info" / "alternates"

    async def _bring(self, mirror: Path) -> None:
        """Brings the commit into the mirror, unless it is there."""
        commit = self.repository.commit
        async with held(mirror):
            if not (mirror / "HEAD").exists():
                await self._git("init", "--quiet", "--bare", "--template=", str(mirror))
            # That a commit is there does not say that its history is: a fetch may have been killed. A ref does.
            if not await self._git("for-each-ref", f"--points-at={commit}", at=mirror):
                refspec = f"+{commit}:{slot(commit)}"
                await self._git(
                    "fetch", "--quiet", "--no-tags", "--no-write-fetch-head", self.repository.url, refspec,
                    at=mirror, network=True,
                )  # fmt: skip
            if packs(mirror) > PACKS:
                await self._git("repack", "-a", "-d", "-k", "-q", at=mirror)

    async def _take(self, mirror: Path, ahead: Path) -> bool:
        """Takes a checkout that was made ahead, by way of the folder `ahead`, and has git make it what it shall be.

        False: there is none, or it is no good; then nothing of it is left. Who is killed meanwhile leaves no
        repository.
        """
        if any(self.work.iterdir()) or not (made_of := claim(mirror, self.repository.commit, ahead)):
            return False
        place, self.git_dir = self.git_dir, ahead / "repo.git"
        try:
            # One by one: somebody may show this work tree to a sandbox already.
            for entry in list((ahead / "work").iterdir()):
                entry.rename(self.work / entry.name)
            is_good = await self._become(made_of)
            if is_good:
                self.git_dir.rename(place)
        except (WorkspaceError, OSError):
            is_good = False
        finally:
            self.git_dir = place
        await asyncio.to_thread(shutil.rmtree, ahead, ignore_errors=True)
        if not is_good:
            await asyncio.to_thread(shutil.rmtree, self.work)
            self.work.mkdir()
        return is_good

    async def _become(self, made_of: str) -> bool:
        """From a checkout of one commit to that of ours; whether it is that, file by file, and nothing else."""
        commit = self.repository.commit
        if made_of != commit:
            # These say how all others are written, also those that do not differ.
            rules = ":(top,glob)**/.gitattributes"
            if await self._git("diff", "--no-renames", "--name-only", made_of, commit, "--", rules):
                return False
        await self._check_out()
        return not await self._git("status", "--porcelain", "-z", "--ignored", "--untracked-files=all")

    @classmethod
    async def is_in(cls, mirror: Path, repository: Repository, files: int) -> bool:
        """Whether a mirror has the commit, with so many files or more. Raises WorkspaceError."""
        self = cls(mirror.parent, repository, NOBODY, 0)
        if not (mirror / "HEAD").exists():
            return False
        if not await self._git("for-each-ref", f"--points-at={repository.commit}", at=mirror):
            return False
        names = await self._git("ls-tree", "-r", "-z", "--name-only", repository.commit, at=mirror)
        return names.count("\0") >= files

    @classmethod
    async def make_ahead(cls, folder: Path, mirror: Path, repository: Repository) -> None:
        """Checks out in `folder`, gently, what the mirror has of a commit. Raises WorkspaceError."""
        self = cls(folder, repository, NOBODY, 0)
        self._gently = ("nice", "-n", "9")
        self.work.mkdir(mode=0o700)
        await self._borrow_and_check_out(mirror)

    def _where(self, verb: str, at: Path | None) -> tuple[str, ...]:
        if verb == "init":
            return ()
        return (f"--git-dir={at}",) if at else (f"--git-dir={self.git_dir}", f"--work-tree={self.work}")

    async def _git(
        self,
        *arguments: str,
        text: str = "",
        extra: dict[str, str] | None = None,
        network: bool = False,
        at: Path | None = None,
        nothing: int = 0,
    ) -> str:
        """Runs git on this workspace, or on the bare repository `at`; network trouble is waited out for as long as the
        patience lasts. `nothing`: the exit code with which it says that it found nothing."""
        deadline = time.monotonic() + self._patience
        pause = 0.25
        while True:
            process = await asyncio.create_subprocess_exec(
                *self._gently,
                "git",
                *self._where(arguments[0], at),
                *arguments,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                cwd=self.work if self.work.is_dir() else self.work.parent,
                umask=0o077,  # what is made ahead is made by another process
                env=self._environment | (extra or {}),
            )
            try:
                output, errors = await process.communicate(text.encode())
            finally:
                if process.returncode is None:
                    kill_tree(process.pid)  # what it started waits for the network
            if process.returncode in (0, nothing):
                return output.decode("utf-8", "replace")
            said = errors.decode("utf-8", "replace").strip()
            if not (network and any(sign in said for sign in NETWORK_TROUBLE)) or time.monotonic() > deadline:
                raise WorkspaceError(f"git {arguments[0]} failed: {said or f'exit code {process.returncode}'}")
            await asyncio.sleep(pause * random.uniform(0.5, 1))
            pause = min(pause * 2, 3)
