"""How soon an attempt has its workspace, of a repository with ten thousand files."""

import asyncio
import shutil
import subprocess
import time
from pathlib import Path

from agents.contracts import Repository
from agents.runner.ahead import Ahead
from agents.runner.workspace import Workspace
from bench.figures import Figures, ratio, typical
from bench.stage import Stage
from tests.fake_control_plane import serving

FOLDERS, FILES, RUNS, CHANGED = 100, 100, 7, 50


def measure(at: Stage) -> Figures:
    """What attempts on a runner wait for, one after the other, each on a commit that changes fifty files of the last.

    `first`: the runner never saw the repository, which comes from git's own server over HTTP. `again`: its mirror has
    what was there before, and no checkout was made ahead; nor does the runner get time to make one. The figure: it got
    that time, as between attempts. The floor writes the same files into empty folders, in the same round: what the disk
    asks for.
    """
    source = at.folder / "source"
    texts = {f"d{d}/f{f}.py": f"# {d} {f}\n" * 30 for d in range(FOLDERS) for f in range(FILES)}
    _write(source, texts)
    _git(source, "init", "-q", "-b", "main")
    first, again, ahead, floors = [], [], [], []
    with serving(at.folder / "plane") as plane:
        url = f"{plane.url}/git/repo.git"
        for number in range(RUNS):
            folder = at.folder / f"floor-{number}"
            began = time.perf_counter()
            _write(folder, texts)
            floors.append((time.perf_counter() - began) * 1000)
            shutil.rmtree(folder)
            mirrors = at.folder / f"mirrors-{number}"
            commit = _commit(source, plane.repository, number, 0)
            first.append(_clone(at.folder, Repository(url=url, commit=commit), mirrors))
            newer = _commit(source, plane.repository, number, 1)
            again.append(_clone(at.folder, Repository(url=url, commit=newer), mirrors))
            asyncio.run(_make_ahead(mirrors, Repository(url=url, commit=newer)))
            newest = _commit(source, plane.repository, number, 2)
            ahead.append(_clone(at.folder, Repository(url=url, commit=newest), mirrors))
            shutil.rmtree(mirrors)
    return {
        "fleet.workspace10k_ms": typical(ahead, "ms"),
        "fleet.workspace10k.again_ms": typical(again, "ms"),
        "fleet.workspace10k.first_ms": typical(first, "ms"),
        "fleet.workspace10k.floor_ms": typical(floors, "ms"),
        "fleet.workspace10k.ratio": ratio(ahead, floors, "x"),
        "fleet.workspace10k.again_ratio": ratio(again, floors, "x"),
    }


def _clone(at: Path, repository: Repository, mirrors: Path) -> float:
    """One workspace, whole and then removed; milliseconds until it is there."""
    folder = at / "attempt"
    began = time.perf_counter()
    workspace = asyncio.run(Workspace.clone(folder, repository, "token", mirrors=mirrors))
    took = (time.perf_counter() - began) * 1000
    assert sum(1 for path in workspace.work.rglob("*.py")) == FOLDERS * FILES
    shutil.rmtree(folder)
    return took


async def _make_ahead(mirrors: Path, repository: Repository) -> None:
    """What a runner does some seconds after an attempt has begun or ended."""
    ahead = Ahead(mirrors, 1, 1 << 30, settle_seconds=0)
    ahead.used(repository)
    await ahead.made()


def _commit(source: Path, target: Path, number: int, part: int) -> str:
    """A commit that changes some files, on the control plane."""
    for f in range(CHANGED):
        (source / f"d{(number * 3 + part) % FOLDERS}" / f"f{f}.py").write_text(f"# {number} {part} {f}\n" * 30)
    _git(source, "add", ".")
    _git(source, "commit", "-q", "-m", f"{number}.{part}")
    _git(source, "push", "-q", str(target), "HEAD:refs/heads/large")
    return _git(source, "rev-parse", "HEAD").strip()


def _write(folder: Path, texts: dict[str, str]) -> None:
    for name, text in texts.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def _git(folder: Path, *words: str) -> str:
    who = ("-c", "user.name=bench", "-c", "user.email=bench@waggle.invalid")
    done = subprocess.run(["git", *who, *words], cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout
