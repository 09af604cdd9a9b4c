"""Checkouts that a runner makes ahead: taken, made what they shall be, of nobody else, within their bounds."""

import asyncio
import os
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from agents.contracts import Repository
from agents.runner import mirror
from agents.runner.ahead import FEWEST_FILES, Ahead
from agents.runner.disk import taken
from agents.runner.workspace import Workspace
from tests.fake_control_plane import FakeControlPlane, call, serving, steps, until
from tests.test_runner import running

TOKEN = "wg_attempt_token"
PLENTY = 1 << 30
BASE = {"a.txt": "a\n", "b/c.txt": "c\n", "b/d.txt": "d\n", "run.sh": "#!/bin/sh\n", ".gitignore": "*.log\n"}


@pytest.fixture
def plane(tmp_path: Path) -> Iterator[FakeControlPlane]:
    with serving(tmp_path / "plane") as plane:
        yield plane


@pytest.fixture
def mirrors(tmp_path: Path) -> Path:
    return tmp_path / "runner" / mirror.MIRRORS


class Source:
    """A repository on the control plane, and the runner's mirror of it."""

    def __init__(self, plane: FakeControlPlane, folder: Path, mirrors: Path) -> None:
        self.plane, self.folder, self.mirrors = plane, folder, mirrors
        folder.mkdir()
        self._git("init", "-q", "-b", "main")
        self.base = self.commit(BASE)
        self.made = 0

    def _git(self, *words: str) -> str:
        who = ("-c", "user.name=x", "-c", "user.email=x@x.invalid")
        done = subprocess.run(["git", *who, *words], cwd=self.folder, check=True, capture_output=True, text=True)
        return done.stdout.strip()

    def commit(self, texts: dict[str, str], *removed: str) -> str:
        for name, text in texts.items():
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        (self.folder / "run.sh").chmod(0o755)
        for name in removed:
            (self.folder / name).unlink()
        self._git("add", "-A")
        self._git("commit", "-q", "-m", "one")
        self._git("push", "-q", "-f", str(self.plane.repository), "HEAD:refs/heads/large")
        return self._git("rev-parse", "HEAD")

    def at(self, commit: str) -> Repository:
        found = self.plane.assignment().repository
        assert found
        return found.model_copy(update={"commit": commit})

    @property
    def mirror(self) -> Path:
        return mirror.path_of(self.mirrors, self.at(self.base).url)

    @property
    def ahead(self) -> list[Path]:
        return list(mirror.all_ahead(self.mirror))

    def clone(self, commit: str) -> Workspace:
        self.made += 1
        folder = self.mirrors.parent / f"attempt-{self.made}"
        return asyncio.run(Workspace.clone(folder, self.at(commit), TOKEN, 5, self.mirrors))

    def make_ahead(self, capacity: int = 1, at_most: int = PLENTY) -> None:
        """What a runner does after an attempt on this repository."""

        async def make() -> None:
            ahead = Ahead(self.mirrors, capacity, at_most, fewest_files=len(BASE), settle_seconds=0)
            ahead.used(self.at(self.base))
            await ahead.made()

        asyncio.run(make())


@pytest.fixture
def source(plane: FakeControlPlane, tmp_path: Path, mirrors: Path) -> Source:
    source = Source(plane, tmp_path / "source", mirrors)
    source.clone(source.base)
    source.make_ahead()
    assert len(source.ahead) == 1
    return source


def contents(work: Path) -> dict[str, tuple[int, str]]:
    """Mode and text of each file."""
    files = (path for path in work.rglob("*") if path.is_file())
    return {str(path.relative_to(work)): (stat.S_IMODE(path.stat().st_mode), path.read_text()) for path in files}


def same_as_fresh(source: Source, workspace: Workspace, tmp_path: Path) -> bool:
    """Whether it is what a clone without any mirror is."""

    async def fresh() -> Workspace:
        return await Workspace.clone(tmp_path / "fresh", workspace.repository, TOKEN, 5)

    before = os.umask(0o077)
    try:
        other = asyncio.run(fresh())
    finally:
        os.umask(before)
    return contents(workspace.work) == contents(other.work) and status(workspace) == ""


def status(workspace: Workspace) -> str:
    return asyncio.run(workspace._git("status", "--porcelain", "--ignored", "--untracked-files=all"))


def inode(path: Path) -> int:
    return path.stat().st_ino


def test_an_attempt_takes_what_was_made_ahead_of_its_commit(source: Source, tmp_path: Path) -> None:
    (made,) = source.ahead
    file = inode(made / "work" / "b" / "c.txt")
    workspace = source.clone(source.base)
    assert source.ahead == []
    assert inode(workspace.work / "b" / "c.txt") == file
    assert same_as_fresh(source, workspace, tmp_path)
    (workspace.work / "new.txt").write_text("new\n")

    async def deliver() -> None:
        assert await workspace.commit_all("More")
        await workspace.push()

    asyncio.run(deliver())
    assert source.plane.git("show", "attempts/1:new.txt") == "new"


def test_of_another_commit_only_what_differs_is_written(source: Source, tmp_path: Path) -> None:
    newer = source.commit({"b/c.txt": "changed\n", "e/f.txt": "f\n"}, "a.txt")
    file = inode(source.ahead[0] / "work" / "b" / "d.txt")
    workspace = source.clone(newer)
    assert source.ahead == []
    assert inode(workspace.work / "b" / "d.txt") == file
    assert (workspace.work / "b" / "c.txt").read_text() == "changed\n"
    assert same_as_fresh(source, workspace, tmp_path)


@pytest.mark.parametrize("name", ["b/more.txt", "more.log", "b/c.txt"])
def test_what_does_not_belong_there_is_not_in_the_workspace(source: Source, tmp_path: Path, name: str) -> None:
    (source.ahead[0] / "work" / name).write_text("of somebody else\n")
    assert same_as_fresh(source, source.clone(source.base), tmp_path)
    assert source.ahead == []


def test_rules_for_how_files_are_written_count_for_all_of_them(source: Source, tmp_path: Path) -> None:
    newer = source.commit({".gitattributes": "*.txt eol=crlf\n"})
    workspace = source.clone(newer)
    assert (workspace.work / "b" / "c.txt").read_bytes() == b"c\r\n"
    assert same_as_fresh(source, workspace, tmp_path)


def test_a_checkout_that_git_cannot_use_costs_nothing_but_time(source: Source, tmp_path: Path) -> None:
    (source.ahead[0] / "repo.git" / "HEAD").unlink()
    assert same_as_fresh(source, source.clone(source.base), tmp_path)
    assert not mirror.is_broken(source.mirror)


def test_a_sandbox_that_was_made_before_sees_the_files(source: Source, mirrors: Path) -> None:
    work = mirrors.parent / "attempt-2" / "work"
    work.mkdir(parents=True)
    shown = os.open(work, os.O_RDONLY)
    try:
        source.clone(source.base)
        assert sorted(os.listdir(shown)) == [".gitignore", "a.txt", "b", "run.sh"]
    finally:
        os.close(shown)


def test_who_was_killed_over_it_left_no_work(source: Source, mirrors: Path) -> None:
    folder = mirrors.parent / "killed"
    (folder / "work").mkdir(parents=True)
    assert mirror.claim(source.mirror, source.base, folder / "ahead")
    for entry in (folder / "ahead" / "work").iterdir():
        entry.rename(folder / "work" / entry.name)
    assert Workspace.left_in(folder, source.at(source.base), TOKEN, 1) is None


def test_many_at_once_get_one_each(source: Source, mirrors: Path) -> None:
    source.make_ahead(capacity=3)
    assert len(source.ahead) == 3

    async def all_at_once() -> list[Workspace]:
        folders = [mirrors.parent / f"at-once-{n}" for n in range(5)]
        clones = [Workspace.clone(folder, source.at(source.base), TOKEN, 5, mirrors) for folder in folders]
        return list(await asyncio.gather(*clones))

    for workspace in asyncio.run(all_at_once()):
        assert sorted(contents(workspace.work)) == sorted(BASE)
        assert status(workspace) == ""
    assert source.ahead == []


def test_another_repository_has_none_of_it(source: Source, mirrors: Path) -> None:
    here = source.at(source.base)
    others = here.model_copy(update={"url": here.url.replace("127.0.0.1", "localhost")})
    asyncio.run(Workspace.clone(mirrors.parent / "others", others, TOKEN, 5, mirrors))
    assert len(source.ahead) == 1


def test_they_have_an_end(source: Source) -> None:
    one = taken(source.ahead[0])
    source.make_ahead(capacity=4, at_most=2 * one + one // 2)
    assert len(source.ahead) == 2
    source.clone(source.base)
    source.make_ahead(capacity=4, at_most=one // 2)
    assert source.ahead == []
    source.make_ahead(capacity=4, at_most=0)
    assert source.ahead == []


def test_they_go_with_their_mirror_and_halves_go_at_once(source: Source, mirrors: Path, tmp_path: Path) -> None:
    half = mirror.ahead_of(source.mirror) / f"{mirror.MAKING}x"
    half.mkdir()
    mirror.prune(mirrors, tmp_path / "kept", days=14)
    assert (half.exists(), len(source.ahead)) == (False, 1)
    mirror.give_up(source.mirror, "a test")
    source.make_ahead(capacity=4)
    assert len(source.ahead) == 1
    mirror.prune(mirrors, tmp_path / "kept", days=14)
    assert list(mirrors.iterdir()) == []


def test_who_stops_waiting_for_the_last_one_is_not_kept(mirrors: Path) -> None:
    """A runner that is asked to stop a second time, just then."""

    async def stops_slowly() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0.2)  # as git does

    async def close() -> None:
        ahead = Ahead(mirrors, 1, PLENTY)
        ahead._making = asyncio.create_task(stops_slowly())
        await asyncio.sleep(0)
        closing = asyncio.create_task(ahead.close())
        await asyncio.sleep(0.05)
        closing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await closing

    asyncio.run(close())


def test_small_repositories_have_none(source: Source) -> None:
    source.clone(source.base)
    smaller = source.commit({}, "a.txt")
    source.clone(smaller)
    source.base = smaller
    source.make_ahead()
    assert source.ahead == []


def test_a_runner_makes_one_when_an_attempt_is_over_and_gives_it_to_the_next(
    plane: FakeControlPlane, tmp_path: Path
) -> None:
    source = Source(plane, tmp_path / "source", tmp_path / "runner" / mirror.MIRRORS)
    commit = source.commit({f"d{n % 20}/f{n}.txt": f"{n}\n" for n in range(FEWEST_FILES)})
    plane.script = steps([call("final_result", summary="Done.")])
    seen: list[set[Path]] = []
    with running(plane, tmp_path / "runner", WAGGLE_RUNNER_CAPACITY="1"):
        for _ in (1, 2):
            plane.assign(plane.assignment(repository=source.at(commit)))
            until(lambda: set(source.ahead) - set().union(*seen), "another one is made ahead")
            until(lambda: len(plane.ended) > len(seen), "it is over")
            seen.append(set(source.ahead))
    assert [len(one) for one in seen] == [1, 1]
    assert not seen[0] & seen[1]
