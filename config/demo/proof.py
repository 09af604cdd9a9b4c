"""The demo's own look at the result: a fresh clone of the source, and its tests before and after."""

import asyncio
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from agents.contracts import Check, Limits
from agents.runner import sandbox
from agents.runner.confinement import Places
from agents.runtimes.checks import counts
from swarms.workspace.git import git


@dataclass(frozen=True)
class Ran:
    """One check on one commit; `tests` counts those that passed and those that failed, where the output tells."""

    name: str
    ok: bool
    passed: int | None
    failed: int | None


@dataclass(frozen=True)
class Proof:
    """What a fresh clone of the source shows."""

    head: str
    on_branch: bool
    """Whether the landed commit is on the target branch."""
    log: tuple[str, ...]
    """What came to the branch, newest first."""
    before: tuple[Ran, ...]
    after: tuple[Ran, ...]

    @property
    def red_before(self) -> bool:
        return bool(self.before) and not all(ran.ok for ran in self.before)


def prove(*, source: str, branch: str, base: str, landed: str, checks: Sequence[Check], rehearsal: bool) -> Proof:
    """Clone the source's branch and run the checks on its head and on the commit that it started from.

    Raises GitError when the source cannot be cloned, SandboxMissing where the checks may not run here.
    """
    with tempfile.TemporaryDirectory(prefix="waggle-demo-") as folder:
        work = Path(folder, "work")
        git(None, "clone", "--quiet", "--branch", branch, "--", source, str(work))
        head = _git(work, "rev-parse", "HEAD")
        inside = git(work / ".git", "merge-base", "--is-ancestor", landed or head, head, allow=(0, 1, 128))
        log = _git(work, "log", "--format=%h %s", f"{base}..{head}").splitlines()
        after = _run(checks, work, Path(folder), rehearsal)
        _git(work, f"--work-tree={work}", "checkout", "--quiet", "--force", "--detach", base)
        _git(work, f"--work-tree={work}", "clean", "--quiet", "-dffx")
        before = _run(checks, work, Path(folder), rehearsal)
    return Proof(head, bool(landed) and inside.returncode == 0, tuple(log), before, after)


def _git(work: Path, *arguments: str) -> str:
    return git(work / ".git", *arguments).stdout.strip()


def _run(checks: Sequence[Check], work: Path, folder: Path, rehearsal: bool) -> tuple[Ran, ...]:
    places = Places(work, folder / "scratch")
    found = []
    for check in checks:
        limits = Limits(seconds=check.timeout)
        confined = sandbox.Confined(sandbox.detect(), places, limits, trusted_model=rehearsal)
        result = asyncio.run(confined.run(check.command))
        found.append(Ran(check.name, result.exit_code == 0, *counts(result.output)))
    return tuple(found)
