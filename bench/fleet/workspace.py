"""How soon an attempt has its workspace, of a repository with ten thousand files."""

import asyncio
import shutil
import subprocess
import time
from pathlib import Path

from agents.contracts import Repository
from agents.runner.workspace import Workspace
from bench.figures import Figures, ratio, typical
from bench.stage import Stage
from tests.fake_control_plane import serving

FOLDERS, FILES, RUNS = 100, 100, 7


def measure(at: Stage) -> Figures:
    """A clone as a runner makes it: what it fetched before, from git's own server over HTTP, is borrowed from a mirror.

    The floor writes the same files into empty folders, in the same run and turn by turn: what the disk asks for.
    """
    source = at.folder / "source"
    texts = {f"d{d}/f{f}.py": f"# {d} {f}\n" * 30 for d in range(FOLDERS) for f in range(FILES)}
    _write(source, texts)
    for words in (["init", "-q", "-b", "main"], ["add", "."], ["commit", "-q", "-m", "ten thousand files"]):
        _git(source, *words)
    clones, floors = [], []
    with serving(at.folder / "plane") as plane:
        _git(source, "push", "-q", str(plane.repository), "HEAD:refs/heads/large")
        repository = Repository(url=f"{plane.url}/git/repo.git", commit=_git(source, "rev-parse", "HEAD").strip())
        for number in range(RUNS):
            folder = at.folder / f"floor-{number}"
            began = time.perf_counter()
            _write(folder, texts)
            floors.append((time.perf_counter() - began) * 1000)
            shutil.rmtree(folder)
            folder = at.folder / f"clone-{number}"
            began = time.perf_counter()
            asyncio.run(Workspace.clone(folder, repository, "token", mirrors=at.folder / "mirrors"))
            clones.append((time.perf_counter() - began) * 1000)
            shutil.rmtree(folder)
    return {
        "fleet.workspace10k_ms": typical(clones, "ms"),
        "fleet.workspace10k.floor_ms": typical(floors, "ms"),
        "fleet.workspace10k.ratio": ratio(clones, floors, "x"),
    }


def _write(folder: Path, texts: dict[str, str]) -> None:
    for name, text in texts.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def _git(folder: Path, *words: str) -> str:
    who = ("-c", "user.name=bench", "-c", "user.email=bench@waggle.invalid")
    done = subprocess.run(["git", *who, *words], cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout
