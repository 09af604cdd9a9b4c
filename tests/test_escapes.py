"""Nothing that runs in a sandbox gets out: docs/security.md lists every attempt that is made here."""

import asyncio
import ctypes
import fcntl
import os
import pty
import re
import socket
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import get_args
from unittest.mock import patch

import pytest

from agents.contracts import Limits, Repository
from agents.runner import sandbox
from agents.runner.confinement import Places
from agents.runner.disk import Disk
from agents.runner.sandbox import CommandResult, Sandbox
from agents.runner.workspace import Workspace, _remove_nested_repositories
from tests.escapes import PROBES, program, said
from tests.test_sandbox import Walled, processes_with, works

ROOT = Path(__file__).parent.parent
WORD = f"waggle-secret-{os.getpid()}"
OTHERS = {
    "open files: terminal": "test_a_command_cannot_type_on_the_terminal_that_it_was_started_from",
    "git: links": "test_a_link_out_of_the_work_tree_is_committed_as_a_link",
    "git: hooks, filters, alternates": "test_no_git_of_ours_runs_what_an_agent_has_configured",
    "git: a race": "test_a_folder_that_becomes_a_link_meanwhile_leads_nowhere",
    "limits: processes": "test_a_fork_bomb_ends",
    "limits: memory": "test_memory_ends_whatever_it_is_called",
    "limits: disk": "test_the_disk_ends_before_it_is_full",
    "limits: output": "test_an_endless_output_is_cut",
    "limits: core dumps": "test_a_crash_leaves_no_core",
    "limits: left behind": "test_daemons_end_with_their_command",
}
"""What is tried by a test of its own."""


@dataclass(frozen=True)
class Outside:
    """What there is to be reached, each with the word in it."""

    facts: dict[str, object]
    victim: "subprocess.Popen[bytes]"


@pytest.fixture(scope="module")
def outside(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outside]:
    folder = tmp_path_factory.mktemp("outside")
    other, data = folder / "other", folder / "data"
    for each, name in ((other, "secret"), (data, "token")):
        each.mkdir()
        (each / name).write_text(WORD)
    home = Path.home() / f".{WORD}"
    home.write_text(WORD)
    victim = subprocess.Popen(["sleep", "600"], env={"PATH": os.environ["PATH"], "X": WORD}, start_new_session=True)
    with (
        socket.create_server(("127.0.0.1", 0)) as tcp,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp,
        socket.socket(socket.AF_UNIX) as abstract,
        socket.socket(socket.AF_UNIX) as named,
    ):
        udp.bind(("127.0.0.1", 0))
        threading.Thread(target=echo, args=[udp], daemon=True).start()
        abstract.bind(f"\0{WORD}")
        named.bind(str(folder / "s"))
        abstract.listen()
        named.listen()
        facts = {
            "tcp": tcp.getsockname()[1],
            "udp": udp.getsockname()[1],
            "abstract": WORD,
            "socket": folder / "s",
            "home": home,
            "data": data,
            "other": other,
            "victim": victim.pid,
            "word": WORD,
        }
        try:
            yield Outside(facts, victim)
        finally:
            home.unlink()
            victim.kill()
            victim.wait()
            udp.sendto(b"", udp.getsockname())


def echo(udp: socket.socket) -> None:
    """Sends back what comes, until nothing comes."""
    while True:
        said, whom = udp.recvfrom(100)
        if not said:
            return
        udp.sendto(said, whom)


@pytest.fixture(scope="module")
def working(tmp_path_factory: pytest.TempPathFactory) -> list[Walled]:
    found = [kind for kind in get_args(Walled) if works(kind, tmp_path_factory.mktemp(kind))]
    assert found, "No sandbox works on this machine; install bubblewrap, or allow user namespaces."
    return found


Run = Callable[..., CommandResult]


@pytest.fixture(params=get_args(Walled))
def kind(request: pytest.FixtureRequest, working: list[Walled]) -> Walled:
    """Each sandbox that works here."""
    if request.param not in working:
        pytest.skip(f"{request.param} does not work on this machine")
    return request.param  # type: ignore[no-any-return]


@pytest.fixture
def run(kind: Walled, tmp_path: Path) -> Run:
    places = Places(tmp_path / "work", tmp_path / "scratch")

    def run(command: str, **limits: int) -> CommandResult:
        return asyncio.run(sandbox.run(command, kind, places, Limits(**{"seconds": 20, **limits})))

    return run


@contextmanager
def surroundings() -> Iterator[None]:
    """What a runner may have about it: a variable, an open file, a key of its session."""
    libc = ctypes.CDLL(None)
    keyctl, add_key = {"x86_64": (250, 248), "aarch64": (219, 217)}[os.uname().machine]
    libc.syscall(keyctl, 1, None)
    libc.syscall(add_key, b"user", WORD.encode(), WORD.encode(), len(WORD), -3)
    file = os.open("/etc/passwd", os.O_RDONLY)
    os.set_inheritable(file, True)
    try:
        with patch.dict(os.environ, WAGGLE_RUNNER_TOKEN=WORD, LD_WAGGLE=WORD):
            yield
    finally:
        os.close(file)


@pytest.fixture(scope="module")
def tried(
    outside: Outside, working: list[Walled], tmp_path_factory: pytest.TempPathFactory
) -> dict[Sandbox, dict[str, str]]:
    """What came of every attempt, in each sandbox that works here; and without one, of those that may be made there."""
    found: dict[Sandbox, dict[str, str]] = {}
    for kind in (*working, "none"):
        names = [name for name, probe in PROBES.items() if kind != "none" or probe.tells]
        text = program(names, outside.facts | {"walled": kind != "none"})
        folder = tmp_path_factory.mktemp("tried")
        places = Places(folder / "work", folder / "scratch")
        places.prepare()
        (places.work / "attempts.py").write_text(text)
        with surroundings():
            result = asyncio.run(sandbox.run("python3 attempts.py", kind, places, Limits(seconds=60)))
        found[kind] = said(result.output)
    return found


@pytest.mark.parametrize("name", PROBES)
def test_an_attempt_to_get_out_fails(
    name: str, kind: Walled, tried: dict[Sandbox, dict[str, str]], outside: Outside
) -> None:
    assert tried[kind][name] == "tried\n"
    assert outside.victim.poll() is None


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gets all of it where there is no sandbox")
@pytest.mark.parametrize("name", [name for name, probe in PROBES.items() if probe.tells])
def test_without_a_sandbox_the_same_attempt_succeeds(name: str, tried: dict[Sandbox, dict[str, str]]) -> None:
    assert "ESCAPED" in tried["none"][name], tried["none"][name]


def test_security_md_lists_every_attempt_and_no_other() -> None:
    text = (ROOT / "docs/security.md").read_text()
    table = text.partition("## What cannot get out")[2].partition("\n## ")[0]
    listed = re.findall(r"^\| ([^|]+?) \|", table, re.MULTILINE)[1:]

    assert listed == [*PROBES, *OTHERS]
    assert len(listed) >= 20
    for test in OTHERS.values():
        assert callable(globals()[test])


TYPE = """
import asyncio, sys
from pathlib import Path
from agents.contracts import Limits
from agents.runner import sandbox
from agents.runner.confinement import Places
command = '''python3 -c "
import fcntl, os
file = os.open('/dev/tty', os.O_RDWR)
for letter in b'typed':
    fcntl.ioctl(file, 0x5412, bytes([letter]))
"; echo tried $?'''
folder = Path(sys.argv[2])
print(asyncio.run(sandbox.run(command, sys.argv[1], Places(folder / "work", folder / "scratch"), Limits())).output)
"""


@pytest.mark.parametrize("walled", [True, False])
def test_a_command_cannot_type_on_the_terminal_that_it_was_started_from(
    kind: Walled, tmp_path: Path, walled: bool
) -> None:
    ours, theirs = pty.openpty()

    def take_terminal() -> None:
        os.setsid()
        fcntl.ioctl(theirs, termios.TIOCSCTTY, 0)

    which = kind if walled else "none"
    found = subprocess.run(
        [sys.executable, "-c", TYPE, which, str(tmp_path)],
        stdin=theirs,
        capture_output=True,
        text=True,
        preexec_fn=take_terminal,
        cwd=ROOT,
        timeout=60,
    )
    os.set_blocking(ours, False)
    os.close(theirs)
    try:
        typed = os.read(ours, 100)
    except OSError:
        typed = b""
    os.close(ours)

    assert "tried 1" in found.stdout, found.stdout + found.stderr
    assert typed == b""


def workspace(tmp_path: Path) -> Workspace:
    """A workspace at its first commit, with one file."""
    made = Workspace(
        tmp_path, Repository(url="http://127.0.0.1:1/x.git", commit="0" * 40, author="A <a@x.invalid>"), "wg_t", 1
    )
    made.work.mkdir(parents=True)

    def git(*arguments: str) -> str:
        argv = ["git", f"--git-dir={made.git_dir}", f"--work-tree={made.work}", *arguments]
        return subprocess.run(argv, check=True, capture_output=True, text=True, cwd=made.work).stdout.strip()

    subprocess.run(["git", "init", "-q", "--bare", "--initial-branch=work", str(made.git_dir)], check=True)
    (made.work / "README").write_text("x\n")
    git("add", "--all")
    git("-c", "user.name=A", "-c", "user.email=a@x.invalid", "commit", "-qm", "First")
    first = made.repository.model_copy(update={"commit": git("rev-parse", "HEAD")})
    return Workspace(tmp_path, first, "wg_t", 1)


def shown(made: Workspace, *arguments: str) -> str:
    return subprocess.run(
        ["git", f"--git-dir={made.git_dir}", *arguments], check=True, capture_output=True, text=True
    ).stdout


def test_a_link_out_of_the_work_tree_is_committed_as_a_link(kind: Walled, tmp_path: Path) -> None:
    made = workspace(tmp_path)
    (tmp_path / "token").write_text(WORD)
    places = Places(made.work, tmp_path / "scratch")
    command = f"ln -s {tmp_path}/token link; ln -s {tmp_path} folder; ln -s ../token up; mkfifo pipe; echo new > new"
    asyncio.run(sandbox.run(command, kind, places, Limits()))
    change = asyncio.run(made.commit_all("Links"))

    assert change is not None
    assert set(change.files) == {"link", "folder", "up", "new"}
    assert WORD not in change.diff
    for name in ("link", "folder", "up"):
        assert shown(made, "ls-tree", "HEAD", name).startswith("120000 ")
        assert WORD not in shown(made, "show", f"HEAD:{name}")


def test_no_git_of_ours_runs_what_an_agent_has_configured(kind: Walled, tmp_path: Path) -> None:
    made = workspace(tmp_path)
    marker = tmp_path / "ran"
    places = Places(made.work, tmp_path / "scratch")
    settings = (
        f"[core]\n fsmonitor = {run}\n hooksPath = hooks\n pager = {run}\n sshCommand = {run}\n"
        f'[filter "evil"]\n clean = {run}\n smudge = {run}\n process = {run}\n required = true\n'
        f'[diff "evil"]\n textconv = {run}\n command = {run}\n[include]\n path = /etc/passwd\n'
        f"[alias]\n status = !{run}\n[diff]\n external = {run}\n[gpg]\n program = {run}\n"
    )
    script = (
        "for d in . sub sub/deep; do mkdir -p $d; (cd $d; git init -q; cat > .git/config <<'E'\n" + settings + "E\n"
        f"mkdir -p .git/hooks hooks; for h in pre-commit post-index-change pre-push reference-transaction; do\n"
        f"printf '#!/bin/sh\\n{run}\\n' | tee .git/hooks/$h > hooks/$h; chmod +x .git/hooks/$h hooks/$h; done\n"
        f"mkdir -p .git/objects/info; echo {tmp_path}/other/objects > .git/objects/info/alternates\n"
        "echo '* filter=evil diff=evil merge=evil' > .gitattributes; echo text > file); done\n"
        f"mkdir linked; echo 'gitdir: {tmp_path}/other' > linked/.git; ln -s {tmp_path}/other linked.git; ls -a"
    )
    other = tmp_path / "other"
    (other / "objects").mkdir(parents=True)
    result = asyncio.run(sandbox.run(script, kind, places, Limits()))
    assert ".gitattributes" in result.output
    change = asyncio.run(made.commit_all("Tricks"))
    saved = asyncio.run(made.diff())

    assert change is not None
    assert {"file", "sub/file", "sub/deep/file"} <= set(change.files)
    assert not [name for name in change.files if ".git/" in name]
    assert "text" in saved
    assert not marker.exists()
    assert (other / "objects").is_dir()
    assert not (made.git_dir / "objects/info/alternates").exists()


def test_a_folder_that_becomes_a_link_meanwhile_leads_nowhere(tmp_path: Path) -> None:
    work, outside = tmp_path / "work", tmp_path / "outside"
    (outside / ".git").mkdir(parents=True)
    (outside / ".git/kept").write_text("x")
    (work / "a").mkdir(parents=True)
    over = threading.Event()

    def swap() -> None:
        while not over.is_set():
            os.rename(work / "a", work / "b")
            os.symlink(outside, work / "a")
            os.unlink(work / "a")
            os.rename(work / "b", work / "a")

    thread = threading.Thread(target=swap)
    thread.start()
    try:
        until = time.monotonic() + 1
        while time.monotonic() < until:
            _remove_nested_repositories(work)
    finally:
        over.set()
        thread.join()

    assert (outside / ".git/kept").exists()


def test_a_fork_bomb_ends(run: Run) -> None:
    marker = f"bomb{time.time_ns()}"
    result = run(f"bomb() {{ bomb {marker} | bomb {marker} & }}; bomb; sleep 20; wait", processes=60, seconds=10)

    assert result.stopped == "processes"
    assert not processes_with(marker)


@pytest.mark.parametrize(
    "take",
    [
        "x = mmap.mmap(-1, 700 << 20); [x.write(bytes(1 << 20)) for i in range(700)]",
        "f = os.memfd_create('x'); [os.write(f, bytes(1 << 20)) for i in range(700)]",
        "[os.write(os.memfd_create('x'), b'x' * (7 << 20)) for i in range(100)]",
        "s = ctypes.CDLL(None).shmget(0, 700 << 20, 0o1600); sys.exit(9 if s < 0 else 0)",
    ],
    ids=["shared", "a file in memory", "many", "a segment"],
)
def test_memory_ends_whatever_it_is_called(run: Run, take: str) -> None:
    result = run(f'python3 -c "import ctypes, mmap, os, sys, time\n{take}\ntime.sleep(10)"', memory_mb=256, seconds=20)

    assert result.stopped == "memory" or result.exit_code in (9, 137), result
    assert result.stopped != "time"


@pytest.mark.parametrize(
    "take",
    [
        "for i in $(seq 60); do dd if=/dev/zero of=$i bs=1M count=1 2>/dev/null; done",
        "for i in $(seq 60); do dd if=/dev/zero of=/tmp/$i bs=1M count=1 2>/dev/null; done",
        "for i in $(seq 60); do dd if=/dev/zero of=/dev/shm/$i bs=1M count=1 2>/dev/null; done",
        "exec 5> gone; rm gone; dd if=/dev/zero bs=1M count=60 >&5 2>/dev/null",
        "mkdir -p $(seq 13000)",
    ],
    ids=["work tree", "tmp", "shm", "without a name", "empty folders"],
)
def test_the_disk_ends_before_it_is_full(kind: Walled, tmp_path: Path, take: str) -> None:
    places = Places(tmp_path / "work", tmp_path / "scratch")
    places.__dict__["disk"] = Disk((places.work, places.tmp, places.shm), 40 << 20)

    async def twice() -> CommandResult:
        await sandbox.run("true", kind, places, Limits())
        return await sandbox.run(f"{take}; sleep 10", kind, places, Limits(seconds=20))

    result = asyncio.run(twice())

    assert result.stopped == "disk", result
    assert "of the disk" in result.output


def test_an_endless_output_is_cut(run: Run) -> None:
    result = run("yes", seconds=1, output_bytes=5000)

    assert (result.truncated, result.stopped) == (True, "time")
    assert len(result.output) < 6000


def test_a_crash_leaves_no_core(run: Run, tmp_path: Path) -> None:
    result = run("ulimit -c unlimited 2>/dev/null; ulimit -Hc; sh -c 'kill -SEGV $$'; ls -A; ls -A /tmp")

    assert result.output.splitlines()[0] == "0" or "core" not in result.output
    assert not list(tmp_path.rglob("core*"))


def test_daemons_end_with_their_command(run: Run) -> None:
    marker = f"daemon{time.time_ns()}"
    daemon = f"import os,time\nif not os.fork():\n os.setsid()\n if not os.fork(): time.sleep(60) # {marker}"
    result = run(f"python3 -c '{daemon}'; trap '' TERM HUP; echo over")

    assert result.output == "over\n"
    assert not processes_with(marker)
