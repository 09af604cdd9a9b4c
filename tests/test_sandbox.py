"""Commands of agents are locked in: probes that try to get out, and limits that they run into."""

import asyncio
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Literal, get_args

import pytest

from agents.contracts import Limits
from agents.runner import sandbox
from agents.runner.cage import PREFIX, cage, clear
from agents.runner.clipped import Clipped
from agents.runner.confinement import Places, environment, mounts_of
from agents.runner.processes import descendants
from agents.runner.sandbox import CommandResult, Confined, Sandbox, SandboxMissing, command_line
from agents.runner.settings import read

Walled = Literal["bubblewrap", "unshare"]


def works(kind: Walled, folder: Path) -> bool:
    places = Places(folder / "work", folder / "scratch")
    places.prepare()
    try:
        # An ordinary user's own path may not lead to what makes the walls.
        argv, variables = command_line("true", kind, places, Limits()), environment()
        return subprocess.run(argv, env=variables, capture_output=True).returncode == 0
    except FileNotFoundError:
        return False


WORKING: list[Walled] = []


@pytest.fixture(scope="module", autouse=True)
def working(tmp_path_factory: pytest.TempPathFactory) -> None:
    WORKING[:] = [kind for kind in get_args(Walled) if works(kind, tmp_path_factory.mktemp(kind))]
    assert WORKING, "No sandbox works on this machine; install bubblewrap, or allow user namespaces."


Run = Callable[..., CommandResult]


@pytest.fixture(params=get_args(Walled))
def run(request: pytest.FixtureRequest, tmp_path: Path) -> Run:
    """Runs a command in each kind of sandbox; where one kind does not work, in the other again."""
    kind: Walled = request.param if request.param in WORKING else WORKING[0]
    places = Places(tmp_path / "work", tmp_path / "scratch")

    def run(command: str, **limits: int) -> CommandResult:
        return asyncio.run(sandbox.run(command, kind, places, Limits(**{"seconds": 20, **limits})))

    return run


def test_detection_finds_a_sandbox_that_works() -> None:
    assert sandbox.detect() == WORKING[0]


def test_a_command_runs_at_the_root_of_the_work_tree_and_may_change_it(run: Run, tmp_path: Path) -> None:
    result = run("pwd; echo out; echo err >&2; mkdir -p a && echo x > a/b; exit 3")

    assert (result.exit_code, result.stopped, result.truncated) == (3, "", False)
    assert result.output == "/workspace\nout\nerr\n"
    assert (tmp_path / "work/a/b").read_text() == "x\n"


def test_there_is_a_python_for_checks(run: Run) -> None:
    result = run(
        "python3 -c 'import sys, ssl, sqlite3, multiprocessing; multiprocessing.Lock(); print(sys.version_info[0])'"
    )

    assert (result.exit_code, result.output) == (0, "3\n")


def test_there_is_no_network(run: Run) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        result = run(
            "python3 - <<'E'\n"
            "import socket\n"
            f"for address in (('127.0.0.1', {port}), ('1.1.1.1', 53), ('10.0.0.1', 80)):\n"
            "    try:\n"
            "        socket.create_connection(address, 2)\n"
            "        print('reached', address)\n"
            "    except OSError:\n"
            "        print('refused')\n"
            "E"
        )

    assert result.output == "refused\n" * 3


def test_secrets_of_the_machine_are_out_of_sight(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "secret").write_text("s3cret")
    home_secret = Path.home() / f".waggle-probe-{os.getpid()}"
    home_secret.write_text("s3cret")
    monkeypatch.setenv("WAGGLE_RUNNER_TOKEN", "s3cret")
    try:
        result = run(
            f"cat {tmp_path}/secret {home_secret} /proc/{os.getpid()}/environ /etc/shadow 2>/dev/null;"
            f"ls -a {tmp_path} {Path.home()}; env; cat /proc/[0-9]*/environ | tr '\\0' '\\n'; cat /etc/passwd"
        )
    finally:
        home_secret.unlink()

    assert "s3cret" not in result.output
    assert home_secret.name not in result.output
    assert "DJANGO" not in result.output
    assert "agent:x:1000" in result.output


def test_nothing_outside_the_work_tree_can_be_written(run: Run, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    places = f"{outside}/x /usr/x /etc/x /x /dev/x /proc/sys/kernel/x {os.path.realpath('/usr/bin')}/x"
    run(f"for place in {places}; do touch $place && echo wrote $place; done; ln -s {outside} link; touch link/x")
    files = "/proc/sys/kernel/core_pattern /proc/sys/kernel/hostname /proc/sysrq-trigger /proc/sys/vm/swappiness"
    nested = "mount -t proc proc /proc && : >> /proc/sys/kernel/core_pattern && echo opened"
    kernel = run(
        f"for file in {files}; do (: >> $file) 2>/dev/null && echo opened $file; done;"
        f" unshare -Urmpf sh -c '{nested}' 2>/dev/null; echo end"
    )

    assert list(outside.iterdir()) == []
    assert not Path("/usr/x").exists()
    assert kernel.output == "end\n"


def test_a_command_has_no_capabilities_and_gains_none(run: Run) -> None:
    result = run("grep -E '^(CapEff|CapPrm|CapBnd|NoNewPrivs)' /proc/self/status; mount -t tmpfs tmpfs /tmp; echo $?")

    lines = dict(line.split(":\t") for line in result.output.splitlines() if ":\t" in line)
    assert {int(lines[name], 16) for name in ("CapEff", "CapPrm", "CapBnd")} == {0}
    assert lines["NoNewPrivs"] == "1"
    assert not result.output.endswith("\n0\n")


def test_other_processes_are_out_of_sight_and_out_of_reach(run: Run) -> None:
    result = run(f"kill -0 {os.getpid()} 2>/dev/null && echo reached; ls /proc | grep -c '^[0-9]'")

    assert "reached" not in result.output
    assert int(result.output) < 10


def test_a_command_that_runs_too_long_is_stopped_with_all_its_processes(run: Run, tmp_path: Path) -> None:
    marker = f"{time.time_ns()}"
    result = run(f"echo begun; (sleep 60; echo {marker}) & sh -c 'trap \"\" TERM; sleep 60 # {marker}'", seconds=1)

    assert (result.stopped, result.timed_out, result.exit_code) == ("time", True, 137)
    assert result.output.startswith("begun\n")
    assert "longer than 1 s" in result.output
    assert not processes_with(marker)


def test_what_a_command_leaves_in_the_background_ends_with_it(run: Run) -> None:
    marker = f"{time.time_ns()}"
    result = run(f"setsid nohup sh -c 'sleep 60 # {marker}' >/dev/null 2>&1 & echo done")

    assert (result.exit_code, result.output) == (0, "done\n")
    assert not processes_with(marker)


def test_one_process_cannot_take_more_memory_than_allowed(run: Run) -> None:
    result = run("python3 -c 'x = bytearray(600 << 20); print(len(x))'", memory_mb=256)

    assert result.exit_code != 0
    assert "MemoryError" in result.output


def test_many_processes_together_cannot_either(run: Run) -> None:
    one = "python3 -c 'import time; x = bytearray(b\"x\") * (150 << 20); time.sleep(20)'"
    result = run(f"{one} & {one} & {one} & {one} & wait", memory_mb=256)

    assert result.stopped == "memory"
    assert "more than 256 MB" in result.output


def test_a_command_with_too_many_processes_is_stopped(run: Run) -> None:
    many = "for i in $(seq 70); do sleep 20 & done; wait"
    result = run(many, processes=50)

    assert result.stopped == "processes"
    assert "more than 50 processes" in result.output


def test_the_kernel_itself_bounds_the_processes_where_it_can(tmp_path: Path) -> None:
    crowd = "for i in $(seq 40); do sleep 2 & done; wait"

    async def crowded() -> tuple[list[str], bytes]:
        async with cage(10, 512) as entrance:
            process = await asyncio.create_subprocess_exec(
                *entrance, "sh", "-c", crowd, stderr=subprocess.PIPE, start_new_session=True
            )
            _, errors = await process.communicate()
            return entrance, errors

    entrance, errors = asyncio.run(crowded())

    assert bool(entrance) == (b"fork" in errors)
    if entrance:
        assert not Path(entrance[-1]).exists(), "the cgroup is removed with its last process"
    else:
        walls = command_line(crowd, WORKING[0], Places(tmp_path, tmp_path), Limits(processes=50))
        assert os.geteuid() == 0 or "--nproc=82" in walls


def test_a_runner_that_begins_removes_the_cgroups_of_dead_ones_alone() -> None:
    async def beside_another() -> None:
        async with cage(10, 512) as entrance:
            if not entrance:
                return  # there are none here
            made = Path(entrance[-1])
            dead = subprocess.Popen(["true"])
            dead.wait()
            left = made.with_name(f"{PREFIX}{dead.pid}-0")
            left.mkdir()
            clear()
            assert made.exists()
            assert not left.exists()

    asyncio.run(beside_another())


def test_of_a_long_output_the_beginning_and_the_end_are_kept(run: Run) -> None:
    result = run("seq 1 200000", output_bytes=2000)

    assert result.truncated
    assert result.output.startswith("1\n2\n3\n")
    assert result.output.endswith("199999\n200000\n")
    assert "bytes left out" in result.output
    assert len(result.output) < 2100


def test_a_file_cannot_grow_without_end(run: Run, tmp_path: Path) -> None:
    run("dd if=/dev/zero of=big bs=64M count=32 2>&1", seconds=60)

    assert (tmp_path / "work/big").stat().st_size <= 1 << 30


def test_without_a_sandbox_nothing_runs_but_the_rehearsal(tmp_path: Path) -> None:
    places = Places(tmp_path / "work", tmp_path / "scratch")

    with pytest.raises(SandboxMissing, match="bubblewrap"):
        asyncio.run(Confined("none", places, Limits()).run("touch ran"))
    result = asyncio.run(Confined("none", places, Limits(), trusted_model=True).run("touch ran; echo ok"))

    assert (tmp_path / "work/ran").exists()
    assert result.output.endswith("here]\nok\n")
    assert result.output.startswith("[not sandboxed")


def test_an_operator_may_let_commands_run_without_a_sandbox(tmp_path: Path) -> None:
    places = Places(tmp_path / "work", tmp_path / "scratch")
    confined = Confined("unconfined", places, Limits())
    result = asyncio.run(confined.run("pwd"))

    assert not confined.is_walled
    assert result.output == f"{sandbox.UNCONFINED}{places.work}\n"


def test_without_a_sandbox_what_leaves_its_command_is_ended_with_it_and_not_waited_for(tmp_path: Path) -> None:
    places, marker = Places(tmp_path / "work", tmp_path / "scratch"), f"90.{time.time_ns()}"

    result = asyncio.run(sandbox.run(f"setsid sleep {marker} & echo begun", "unconfined", places, Limits(seconds=5)))

    assert not processes_with(marker)
    assert (result.exit_code, result.output) == (0, f"{sandbox.UNCONFINED}begun\n")
    assert result.seconds < 80, "it was waited for"


@pytest.mark.parametrize(("found", "asked", "told"), [("none", "1", "unconfined"), ("none", "0", "none")])
def test_a_runner_says_whether_it_is_unconfined(
    found: Sandbox, asked: str, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = {"WAGGLE_URL": "http://127.0.0.1:1", "WAGGLE_RUNNER_TOKEN": "wg_x", "WAGGLE_RUNNER_UNCONFINED": asked}

    assert sandbox.allowed(found, unconfined=read(given).unconfined) == told
    assert sandbox.allowed("bubblewrap", unconfined=True) == "bubblewrap"


def test_without_a_sandbox_limits_still_hold(tmp_path: Path) -> None:
    places = Places(tmp_path / "work", tmp_path / "scratch")
    marker = f"{time.time_ns()}"
    result = asyncio.run(sandbox.run(f"sh -c 'sleep 60 # {marker}'; true", "none", places, Limits(seconds=1)))

    assert result.stopped == "time"
    assert not processes_with(marker)


def test_while_all_stands_still_a_commands_time_does_too(tmp_path: Path) -> None:
    places = Places(tmp_path / "work", tmp_path / "scratch")
    marker = f"{time.time_ns()}"

    async def stand_still() -> CommandResult:
        command = f"touch begun; sleep 1; echo done # {marker}"
        task = asyncio.create_task(sandbox.run(command, WORKING[0], places, Limits(seconds=2)))
        while not (places.work / "begun").exists():
            await asyncio.sleep(0.02)
        mine = [pid for pid, line in command_lines() if marker in line]
        stopped = {one for pid in mine for one in (pid, *descendants(pid))}
        for pid in stopped:
            os.kill(pid, signal.SIGSTOP)
        time.sleep(2.5)  # we stand still as well
        await asyncio.sleep(0.2)  # and have a turn before the command has
        for pid in stopped:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
        return await task

    result = asyncio.run(stand_still())

    assert (result.output, result.stopped) == ("done\n", "")


def test_stopping_the_task_stops_the_command(tmp_path: Path) -> None:
    places = Places(tmp_path / "work", tmp_path / "scratch")
    marker = f"{time.time_ns()}"

    async def cancel() -> None:
        command = f"touch begun; sh -c 'sleep 60 # {marker}'; true"
        task = asyncio.create_task(sandbox.run(command, WORKING[0], places, Limits()))
        while not (places.work / "begun").exists():
            await asyncio.sleep(0.02)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancel())

    assert not processes_with(marker)


def test_a_sandbox_that_is_stopped_amid_its_making_leaves_nothing(tmp_path: Path) -> None:
    """Its first process makes the one that all others die with, which knows only some time later that it must die."""
    places = Places(tmp_path / "work", tmp_path / "scratch")
    marker = f"{time.time_ns()}"

    async def cancel_after(seconds: float) -> bool:
        task = asyncio.create_task(sandbox.run(f"sleep 20 # {marker}", WORKING[0], places, Limits()))
        await asyncio.sleep(seconds)
        task.cancel()
        await asyncio.wait({task}, timeout=10)
        return task.done()

    async def cancel_young_ones() -> None:
        for milliseconds in range(0, 60, 4):
            assert await cancel_after(milliseconds / 1000)

    asyncio.run(cancel_young_ones())

    assert not processes_with(marker)


def test_a_clipped_output_never_cuts_what_fits() -> None:
    kept = Clipped(10)
    for piece in (b"abc", b"defgh", b"ij"):
        kept.add(piece)

    assert (kept.text(), kept.truncated) == ("abcdefghij", False)
    kept.add(b"k")
    assert kept.text() == "abcde\n[… 1 bytes left out …]\nghijk"


def test_mounts_below_a_path_are_made_read_only_too() -> None:
    mountinfo = (
        "1 0 0:1 / / rw,relatime - ext4 /dev/vda rw\n"
        "2 1 0:2 / /usr rw,nosuid,relatime - ext4 /dev/vdb rw\n"
        "3 2 0:3 / /usr/local\\040x ro,nodev - tmpfs t rw\n"
        "4 1 0:4 / /usrlocal rw - tmpfs t rw\n"
    )

    assert mounts_of("/usr", mountinfo) == [("", ["nosuid", "relatime"]), ("/local x", ["nodev"])]


def command_lines() -> Iterator[tuple[int, str]]:
    """Pids and command lines of all processes but this one. Read here: tests ask again and again until one shows."""
    for entry in os.scandir("/proc"):
        if entry.name.isdigit() and entry.name != str(os.getpid()):
            try:
                line = Path(entry.path, "cmdline").read_bytes()
            except OSError:
                continue
            yield int(entry.name), line.replace(b"\0", b" ").decode("utf-8", "replace")


def parent_of(pid: int) -> int:
    """Who started it, or took it over."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def processes_with(marker: str) -> list[str]:
    """Command lines of living processes that hold a marker; waits a moment for the dying."""
    deadline = time.monotonic() + 5
    while True:
        found = [line for _, line in command_lines() if marker in line]
        if not found or time.monotonic() > deadline:
            return found
        time.sleep(0.05)
