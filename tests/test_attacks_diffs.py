"""Changes far too long for a page: shown as far as it goes, and said so."""

import subprocess
from pathlib import Path
from typing import Any

import pytest

from swarms import diffs
from swarms.models import Project
from swarms.workspace import repos
from swarms.workspace.git import GitError, environment
from tenants.models import Team


@pytest.fixture
def project(team: Team, settings: Any, tmp_path: Path) -> Project:
    settings.DATA_DIR = tmp_path
    return Project(slug="x", name="X", source="/srv/x")


def commits(project: Project, **files: str) -> tuple[str, str]:
    """Two commits of a new repository: an empty one, and one with these files."""
    place = repos.path_of(project.pk)
    place.mkdir(parents=True)

    def git(*words: str, given: str = "") -> str:
        done = subprocess.run(
            ["git", *words], cwd=place, env=environment(), input=given, capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    git("init", "-q", "--bare")
    rows = [f"100644 blob {git('hash-object', '-w', '--stdin', given=text)}\t{name}" for name, text in files.items()]
    base = git("commit-tree", git("mktree"), "-m", "base")
    return base, git("commit-tree", git("mktree", given="\n".join(rows) + "\n"), "-m", "work", "-p", base)


def test_a_change_of_any_length_is_read_as_far_as_a_page_can_show_it(project: Project) -> None:
    base, head = commits(project, a="x\n", b="line\n" * 2_000_000, c="y\n")
    text = repos.diff(project, base, head)
    assert len(text) < repos.MOST_DIFF + 1000
    files = diffs.parse(text)
    assert [file.path for file in files] == ["a", "b", repos.CUT]


def test_a_short_change_is_whole_and_an_unknown_commit_is_an_error(project: Project) -> None:
    base, head = commits(project, a="x\n")
    assert [file.path for file in diffs.parse(repos.diff(project, base, head))] == ["a"]
    with pytest.raises(GitError):
        repos.diff(project, base, "1" * 40)


def test_one_line_without_end_is_cut(project: Project) -> None:
    base, head = commits(project, **{"a.js": "<" * 1_000_000 + "\n"})
    [file] = diffs.parse(repos.diff(project, base, head))
    assert file.lines[-1].html == "&lt;" * diffs.WIDEST
