"""The sample project: a small package with a history, a goal, and tests for a feature not yet there."""

import os
import subprocess
import tempfile
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml

from agents.contracts import Check

_HERE = Path(__file__).parent
_FILES = _HERE / "textkit"

PROJECT_NAME = "textkit"
BRANCH = "main"
GOAL = (_HERE / "goal.md").read_text(encoding="utf-8").strip()

CHECKS = (Check(name="unit tests", command="python3 -m unittest discover -s tests -q", timeout=60),)
"""Checks of the project: green before the goal and after it."""

ACCEPTANCE = (Check(name="acceptance", command="python3 -m unittest discover -s acceptance -q", timeout=60),)
"""Checks of the goal: red before, green when it is reached."""


@dataclass(frozen=True)
class SampleRepository:
    """A bare git repository that was just built."""

    path: Path
    branch: str
    commits: tuple[str, ...]
    """Oldest first."""

    @property
    def commit(self) -> str:
        """Head of the branch."""
        return self.commits[-1]


def build(target: Path) -> SampleRepository:
    """Make the sample's bare repository at `target`: the same commits, to the bit, wherever it runs.

    Raises FileExistsError when `target` exists, subprocess.CalledProcessError when git fails.
    """
    if target.exists():
        raise FileExistsError(f"{target} exists already: choose another folder or remove it")
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".sample-", dir=target.parent) as folder:
        bare = Path(folder) / "bare.git"
        _git(
            "init",
            "--quiet",
            "--bare",
            "--template=",
            "--object-format=sha1",
            f"--initial-branch={BRANCH}",
            str(bare),
        )
        _git("-C", str(bare), "fast-import", "--quiet", stdin=_import_stream(_history()))
        log = _git("-C", str(bare), "rev-list", "--reverse", BRANCH)
        bare.rename(target)
    return SampleRepository(path=target, branch=BRANCH, commits=tuple(log.decode("ascii").split()))


def _history() -> list[dict[str, Any]]:
    history: list[dict[str, Any]] = yaml.safe_load((_HERE / "history.yaml").read_text(encoding="utf-8"))
    return history


def _import_stream(history: list[dict[str, Any]]) -> bytes:
    """The history in the language of `git fast-import`."""
    stream = b""
    for entry in history:
        moment: datetime = entry["date"]
        who = f"{entry['author']} {int(moment.timestamp())} {moment:%z}"
        stream += f"commit refs/heads/{BRANCH}\nauthor {who}\ncommitter {who}\n".encode()
        stream += _data(entry["message"].encode())
        files = {path: (_FILES / path).read_bytes() for path in entry["take"]}
        files |= {path: text.encode() for path, text in entry.get("write", {}).items()}
        for path, content in sorted(files.items()):
            stream += f"M 100644 inline {path}\n".encode() + _data(content)
    return stream


def _data(content: bytes) -> bytes:
    return b"data %d\n%s\n" % (len(content), content)


def _git(*arguments: str, stdin: bytes = b"") -> bytes:
    """Run git untouched by the user's settings and by the repository that we may be called from."""
    environment = {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"}
    environment |= {"GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": os.devnull}
    done = subprocess.run(["git", *arguments], input=stdin, env=environment, capture_output=True, check=True)
    return done.stdout
