"""The sample project: a repository that is the same everywhere, and checks red and green as promised."""

import subprocess
from pathlib import Path

import pytest

from swarms import sample
from swarms.sample import ACCEPTANCE, CHECKS, SampleRepository, build


def git(folder: Path, *arguments: str) -> str:
    return subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=True).stdout


def clone(repository: SampleRepository, folder: Path, commit: str | None = None) -> Path:
    git(folder.parent, "clone", "-q", str(repository.path), str(folder))
    git(folder, "checkout", "-q", commit or repository.commit)
    return folder


def run(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, shell=True, cwd=folder, capture_output=True, text=True, check=False)


@pytest.fixture
def repository(tmp_path: Path) -> SampleRepository:
    return build(tmp_path / "textkit.git")


def test_two_builds_have_the_same_commits_whatever_the_users_git_is_set_to(
    repository: SampleRepository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = tmp_path / "gitconfig"
    settings.write_text(
        "[user]\nname = Somebody\nemail = some@body\n[init]\ndefaultBranch = trunk\n[core]\nautocrlf = true\n"
    )
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(settings))
    monkeypatch.setenv("GIT_AUTHOR_DATE", "2001-01-01T00:00:00Z")
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere.git"))
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    again = build(tmp_path / "deep" / "again.git")
    assert again.commits == repository.commits
    assert len(set(again.commits)) == 4
    assert again.branch == "main"
    assert not (tmp_path / "elsewhere.git").exists()


def test_the_repository_is_bare_and_sound(repository: SampleRepository) -> None:
    assert git(repository.path, "rev-parse", "--is-bare-repository").strip() == "true"
    assert git(repository.path, "symbolic-ref", "HEAD").strip() == "refs/heads/main"
    assert git(repository.path, "rev-parse", "main").strip() == repository.commit
    git(repository.path, "fsck", "--strict")


def test_the_last_commit_is_the_tree_of_the_sample(repository: SampleRepository, tmp_path: Path) -> None:
    source = Path(sample.__file__).parent / "textkit"
    kept = {
        str(path.relative_to(source))
        for path in source.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert set(git(repository.path, "ls-tree", "-r", "--name-only", "main").split()) == kept
    folder = clone(repository, tmp_path / "clone")
    assert {name for name in kept if (folder / name).read_bytes() != (source / name).read_bytes()} == set()


def test_the_projects_checks_are_green_at_each_commit(repository: SampleRepository, tmp_path: Path) -> None:
    for number, commit in enumerate(repository.commits):
        folder = clone(repository, tmp_path / str(number), commit)
        for check in CHECKS:
            done = run(check.command, folder)
            assert done.returncode == 0, done.stderr
            assert "Ran 0 tests" not in done.stderr


def test_acceptance_is_red_before_the_goal(repository: SampleRepository, tmp_path: Path) -> None:
    folder = clone(repository, tmp_path / "clone")
    for check in ACCEPTANCE:
        done = run(check.command, folder)
        assert done.returncode == 1
        assert "No module named 'textkit.words'" in done.stderr


def test_running_the_checks_leaves_nothing_to_commit(repository: SampleRepository, tmp_path: Path) -> None:
    folder = clone(repository, tmp_path / "clone")
    for check in (*CHECKS, *ACCEPTANCE):
        run(check.command, folder)
    assert git(folder, "status", "--porcelain") == ""


def test_an_existing_folder_is_refused_and_left_alone(tmp_path: Path) -> None:
    target = tmp_path / "mine"
    target.mkdir()
    with pytest.raises(FileExistsError, match="exists already: choose another folder"):
        build(target)
    assert list(target.iterdir()) == []
