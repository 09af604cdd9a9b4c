"""A runner's mirrors: what was fetched once is borrowed, whoever is killed, and whatever breaks."""

import asyncio
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from agents.contracts import Repository
from agents.runner import git_settings, mirror
from agents.runner.settings import SettingsError
from agents.runner.workspace import Workspace, WorkspaceError
from tests.fake_control_plane import FILES, FakeControlPlane, serving, until
from tests.test_runner import running

TOKEN = "wg_attempt_token"


@pytest.fixture
def plane(tmp_path: Path) -> Iterator[FakeControlPlane]:
    with serving(tmp_path / "plane") as plane:
        yield plane


@pytest.fixture
def mirrors(tmp_path: Path) -> Path:
    return tmp_path / "runner" / mirror.MIRRORS


def repository(plane: FakeControlPlane, commit: str = "") -> Repository:
    found = plane.assignment().repository
    assert found
    return found.model_copy(update={"commit": commit or plane.head})


def clone(plane: FakeControlPlane, folder: Path, mirrors: Path, commit: str = "") -> Workspace:
    return asyncio.run(Workspace.clone(folder, repository(plane, commit), TOKEN, 5, mirrors))


def another_commit(plane: FakeControlPlane, text: str) -> str:
    """One more commit on the main branch of the control plane."""
    blob = subprocess.run(
        ["git", "-C", str(plane.repository), "hash-object", "-w", "--stdin"],
        input=text, text=True, capture_output=True, check=True,
    ).stdout.strip()  # fmt: skip
    index = {"GIT_INDEX_FILE": str(plane.folder / "index"), **os.environ}
    for words in (["read-tree", plane.head], ["update-index", "--add", "--cacheinfo", f"100644,{blob},more.txt"]):
        subprocess.run(["git", "-C", str(plane.repository), *words], env=index, check=True)
    tree = subprocess.run(
        ["git", "-C", str(plane.repository), "write-tree"], env=index, check=True, capture_output=True, text=True
    ).stdout.strip()
    who = ("-c", "user.name=x", "-c", "user.email=x@x.invalid")
    commit = plane.git(*who, "commit-tree", tree, "-p", plane.head, "-m", text).strip()
    plane.git("update-ref", "refs/heads/main", commit)
    return commit


def test_who_says_nothing_at_all_is_not_waited_for_without_an_end(
    plane: FakeControlPlane, tmp_path: Path, mirrors: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(git_settings.CONFIG, "http.lowSpeedTime", "1")

    async def ask(url: str) -> None:
        silent = repository(plane).model_copy(update={"url": url})
        async with asyncio.timeout(60):
            await Workspace.clone(tmp_path / "1", silent, TOKEN, 0, mirrors)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        url = f"http://127.0.0.1:{listening.getsockname()[1]}/repo.git"
        with pytest.raises(WorkspaceError, match="Operation too slow"):
            asyncio.run(ask(url))


def test_what_was_fetched_once_is_not_fetched_again(plane: FakeControlPlane, tmp_path: Path, mirrors: Path) -> None:
    first = clone(plane, tmp_path / "1", mirrors)
    asked = len(plane.git_headers)
    assert asked > 0
    second = clone(plane, tmp_path / "2", mirrors)
    assert len(plane.git_headers) == asked
    for workspace in (first, second):
        assert (workspace.work / "greet.py").read_text() == FILES["greet.py"]

    newer = another_commit(plane, "more\n")
    third = clone(plane, tmp_path / "3", mirrors, newer)
    assert len(plane.git_headers) > asked
    assert (third.work / "more.txt").read_text() == "more\n"
    assert mirror.packs(mirror.path_of(mirrors, repository(plane).url)) == 2


def test_work_on_borrowed_objects_is_committed_and_pushed(
    plane: FakeControlPlane, tmp_path: Path, mirrors: Path
) -> None:
    workspace = clone(plane, tmp_path / "1", mirrors)
    (workspace.work / "new.txt").write_text("new\n")

    async def deliver() -> None:
        assert await workspace.commit_all("More")
        await workspace.push()

    asyncio.run(deliver())
    assert plane.git("show", "attempts/1:new.txt") == "new"


def test_many_at_once_fetch_one_after_the_other(plane: FakeControlPlane, tmp_path: Path, mirrors: Path) -> None:
    async def all_at_once() -> list[Workspace]:
        clones = [Workspace.clone(tmp_path / str(n), repository(plane), TOKEN, 5, mirrors) for n in range(6)]
        return list(await asyncio.gather(*clones))

    for workspace in asyncio.run(all_at_once()):
        assert (workspace.work / "greet.py").exists()
    assert mirror.packs(mirror.path_of(mirrors, repository(plane).url)) == 1


def test_what_a_killed_git_left_does_not_stand_in_the_way(
    plane: FakeControlPlane, tmp_path: Path, mirrors: Path
) -> None:
    clone(plane, tmp_path / "1", mirrors)
    own = mirror.path_of(mirrors, repository(plane).url)
    newer = another_commit(plane, "more\n")
    locked = own / f"{mirror.slot(newer)}.lock"
    locked.parent.mkdir(parents=True, exist_ok=True)
    locked.touch()
    (own / "objects" / "pack" / "tmp_pack_x").write_text("half")
    assert (clone(plane, tmp_path / "2", mirrors, newer).work / "more.txt").exists()


def test_a_broken_mirror_is_given_up_and_removed_when_the_runner_begins(
    plane: FakeControlPlane, tmp_path: Path, mirrors: Path
) -> None:
    clone(plane, tmp_path / "1", mirrors)
    own = mirror.path_of(mirrors, repository(plane).url)
    for pack in (own / "objects" / "pack").glob("*"):
        pack.unlink()
    for number in (2, 3):
        assert (clone(plane, tmp_path / str(number), mirrors).work / "greet.py").exists()
    assert mirror.is_broken(own)
    mirror.prune(mirrors, tmp_path / "runner" / "kept", days=14)
    assert list(mirrors.iterdir()) == []
    assert (clone(plane, tmp_path / "4", mirrors).work / "greet.py").exists()
    assert not mirror.is_broken(own)


def test_what_nobody_used_goes_unless_kept_work_needs_it(
    plane: FakeControlPlane, tmp_path: Path, mirrors: Path
) -> None:
    own, kept = mirror.path_of(mirrors, repository(plane).url), tmp_path / "runner" / "kept"
    clone(plane, kept / "1", mirrors)
    long_ago = time.time() - 15 * mirror.DAY_SECONDS
    os.utime(own.with_suffix(".lock"), (long_ago, long_ago))
    mirror.prune(mirrors, kept, days=14)
    assert own.exists()
    (kept / "1").rename(tmp_path / "gone")
    mirror.prune(mirrors, kept, days=14)
    assert not own.exists()


def test_too_much_goes_least_recently_used_first_and_nothing_that_is_in_use(tmp_path: Path, mirrors: Path) -> None:
    megabyte = 1 << 20
    names = ["oldest", "borrowed", "kept", "old", "held", "new"]
    for number, name in enumerate(names):
        pack = mirrors / f"{name}.git" / "objects" / "pack" / "x.pack"
        pack.parent.mkdir(parents=True)
        pack.write_bytes(b"x" * megabyte)
        lock = mirrors / f"{name}.lock"
        lock.touch()
        os.utime(lock, (1e9 + number, 1e9 + number))
    for name, folder in (("borrowed", mirrors.parent), ("kept", mirrors.parent / "kept")):
        borrows = folder / "1" / "repo.git" / "objects" / "info" / "alternates"
        borrows.parent.mkdir(parents=True)
        borrows.write_text(f"{mirrors / name}.git/objects\n")

    def left(megabytes: int) -> list[str]:
        mirror.make_room(mirrors, megabytes * megabyte)
        return sorted(path.stem for path in mirrors.glob("*.git"))

    async def while_held() -> list[str]:
        async with mirror.held(mirrors / "held.git"):
            os.utime(mirrors / "held.lock", (1e9 + 4, 1e9 + 4))
            return left(0)

    assert left(6) == sorted(names)
    assert left(5) == sorted(set(names) - {"oldest"})
    assert left(4) == ["borrowed", "held", "kept", "new"]
    assert asyncio.run(while_held()) == ["borrowed", "held", "kept"]
    assert left(0) == ["borrowed", "kept"]


def test_who_has_just_held_a_mirror_may_be_about_to_borrow_from_it(
    plane: FakeControlPlane, tmp_path: Path, mirrors: Path
) -> None:
    clone(plane, tmp_path / "elsewhere", mirrors)
    own = mirror.path_of(mirrors, repository(plane).url)
    mirror.make_room(mirrors, 0)
    assert own.exists()
    long_ago = time.time() - 2 * mirror.REST_SECONDS
    os.utime(own.with_suffix(".lock"), (long_ago, long_ago))
    mirror.make_room(mirrors, 0)
    assert not own.exists()
    assert (clone(plane, tmp_path / "again", mirrors).work / "greet.py").exists()


def test_a_runner_keeps_its_mirrors_within_their_limit(plane: FakeControlPlane, tmp_path: Path, mirrors: Path) -> None:
    (mirrors / "old.git").mkdir(parents=True)
    (mirrors / "old.git" / "HEAD").write_text("x")
    with running(plane, mirrors.parent, WAGGLE_RUNNER_MIRROR_MB="0"):
        until(lambda: not (mirrors / "old.git").exists(), "it is removed")
    with pytest.raises(SettingsError, match="WAGGLE_RUNNER_MIRROR_MB"):
        mirror.most_bytes({"WAGGLE_RUNNER_MIRROR_MB": "much"})


def test_who_may_not_fetch_gets_no_workspace(plane: FakeControlPlane, tmp_path: Path, mirrors: Path) -> None:
    nothing = repository(plane, "0" * 39 + "1")
    with pytest.raises(WorkspaceError):
        asyncio.run(Workspace.clone(tmp_path / "1", nothing, TOKEN, 0.5, mirrors))
    assert not mirror.is_broken(mirror.path_of(mirrors, nothing.url))
