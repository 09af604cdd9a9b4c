"""How a command is locked in, as data: the command lines of bubblewrap and of util-linux's unshare.

Both make the same little world: /usr and the interpreter read-only, a minimal /etc, the work tree at
/workspace, a scratch folder as /tmp, its own processes, no network, no capabilities, nothing else.
"""

import os
import shlex
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from agents.contracts import Limits
from agents.runner.disk import Disk
from agents.runner.syscalls import LOADER

WORKSPACE = "/workspace"
FILE_BYTES = 1 << 30
OPEN_FILES = 4096
SPARE_PROCESSES = 32
"""The kernel's limit lies above ours, so that it is we who stop a command, and say why."""
ETC = (
    "alternatives",
    "hosts",
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "localtime",
    "mime.types",
    "nsswitch.conf",
    "protocols",
    "services",
    "ssl/certs",
    "ssl/openssl.cnf",
)
ACCOUNTS = {
    "passwd": "root:x:0:0::/tmp:/bin/sh\nagent:x:1000:1000::/tmp:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n",
    "group": "root:x:0:\nagent:x:1000:\nnogroup:x:65534:\n",
}
"""The machine's own users are nobody's business."""
DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
MOUNT_FLAGS = frozenset({"nosuid", "nodev", "noexec", "noatime", "nodiratime", "relatime"})


@dataclass(frozen=True)
class Places:
    """Folders of one execution: its work tree, and a folder for everything temporary."""

    work: Path
    scratch: Path
    shown: tuple[tuple[Path, str], ...] = ()
    """Files from elsewhere that commands may read, each with the path under which they see it."""

    @property
    def tmp(self) -> Path:
        return self.scratch / "tmp"

    @property
    def shm(self) -> Path:
        return self.scratch / "shm"

    @property
    def root(self) -> Path:
        return self.scratch / "root"

    @cached_property
    def disk(self) -> Disk:
        """How much of the disk all of it takes."""
        return Disk((self.work, self.tmp, self.shm))

    def prepare(self) -> None:
        """Creates what the sandbox mounts."""
        for folder in (self.work, self.tmp, self.shm, self.root):
            folder.mkdir(parents=True, exist_ok=True)
        for name, text in ACCOUNTS.items():
            (self.scratch / name).write_text(text)


def interpreter() -> str:
    """The folder of our own Python when it lies outside /usr and must be shown to commands; else empty."""
    prefix = os.path.realpath(sys.base_prefix)
    return "" if prefix == "/usr" or prefix.startswith("/usr/") else prefix


def environment(home: str = "/tmp") -> dict[str, str]:
    """The environment of a confined command: where programs are, and nothing of ours."""
    own = [f"{interpreter()}/bin"] if interpreter() else []
    return {
        "PATH": ":".join([*own, "/usr/local/bin", "/usr/bin", "/bin", "/usr/local/sbin", "/usr/sbin", "/sbin"]),
        "HOME": home,
        "TMPDIR": home,
        "LANG": "C.UTF-8",
        "PYTHONDONTWRITEBYTECODE": "1",
        "CI": "true",
    }


def limited(command: str, limits: Limits) -> list[str]:
    """The command under resource limits. Data, not address space: runtimes reserve far more than they use."""
    argv = [
        *("nice", "-n", "5"),
        "prlimit",
        # Not 0: a program that core dumps are piped to gets them whatever the limit is, but for a limit of 1.
        "--core=1",
        f"--cpu={limits.seconds * (os.cpu_count() or 1)}",
        f"--data={limits.memory_mb << 20}",
        f"--fsize={FILE_BYTES}",
        f"--nofile={OPEN_FILES}",
    ]
    if _processes_count_per_namespace():
        argv.append(f"--nproc={limits.processes + SPARE_PROCESSES}")
    return [*argv, "sh", "-c", command]


def bubblewrap(command: str, places: Places, limits: Limits, filters: Sequence[int] = ()) -> list[str]:
    """The command line that runs a command under bubblewrap.

    `filters` are the numbers of open files with filters of system calls (see agents.runner.syscalls), one at most.
    """
    argv = [
        *("bwrap", "--unshare-all", "--unshare-user", "--uid", "1000", "--gid", "1000"),
        *("--cap-drop", "ALL", "--die-with-parent", "--new-session", "--hostname", "sandbox"),
    ]
    for file in filters:
        argv += ["--seccomp", str(file)]
    for path, target in system_paths():
        argv += ["--symlink", target, path] if target else ["--ro-bind", path, path]
    for name in ETC:
        argv += ["--ro-bind-try", f"/etc/{name}", f"/etc/{name}"]
    for name in ACCOUNTS:
        argv += ["--ro-bind", str(places.scratch / name), f"/etc/{name}"]
    for source, target in places.shown:
        argv += ["--ro-bind", str(source), target]
    argv += [
        *("--proc", "/proc", "--dev", "/dev", "--bind", str(places.shm), "/dev/shm"),
        *("--bind", str(places.tmp), "/tmp", "--bind", str(places.work), WORKSPACE),
        # Run by root, the command's user is the machine's root to /proc/sys, whatever its capabilities.
        *("--remount-ro", "/proc", "--remount-ro", "/dev", "--remount-ro", "/", "--chdir", WORKSPACE, "--"),
    ]
    return argv + limited(command, limits)


def unshare(command: str, places: Places, limits: Limits, mountinfo: str, filters: Sequence[int] = ()) -> list[str]:
    """The command line that runs a command in namespaces made by unshare, in a root of its own.

    `mountinfo` is the text of /proc/self/mountinfo: a read-only remount must repeat a mount's other flags. `filters`
    are as for bubblewrap.
    """
    inner = limited(command, limits)
    for file in filters:
        inner = ["python3", "-I", "-S", "-c", LOADER, str(file), *inner]
    root = str(places.root)
    lines = ["set -e", f"mount -t tmpfs -o mode=755,size=16m tmpfs {shlex.quote(root)}"]
    for path, target in system_paths():
        if target:
            lines.append(f"ln -s {shlex.quote(target)} {shlex.quote(root + path)}")
        else:
            lines += _bind(path, root + path, mountinfo)
    for name in ETC:
        if os.path.exists(f"/etc/{name}"):
            lines += _bind(f"/etc/{name}", f"{root}/etc/{name}", mountinfo)
    for name in ACCOUNTS:
        lines += _bind(str(places.scratch / name), f"{root}/etc/{name}", mountinfo)
    for shown, target in places.shown:
        lines += _bind(str(shown), root + target, mountinfo)
    for device in DEVICES:
        if os.path.exists(f"/dev/{device}"):
            lines += _bind(f"/dev/{device}", f"{root}/dev/{device}")
    for fd, name in enumerate(("stdin", "stdout", "stderr")):
        lines.append(f"ln -s /proc/self/fd/{fd} {shlex.quote(f'{root}/dev/{name}')}")
    lines.append(f"ln -s /proc/self/fd {shlex.quote(f'{root}/dev/fd')}")
    for source, path in ((places.shm, "/dev/shm"), (places.tmp, "/tmp"), (places.work, WORKSPACE)):
        lines += _bind(str(source), root + path)
    lines += _entering(root, inner)
    namespaces = ["unshare", "-U", "-r", "-m", "-p", "-n", "-i", "-u", "--fork", "--kill-child"]
    return [*namespaces, "sh", "-c", "\n".join(lines)]


def _entering(root: str, inner: list[str]) -> list[str]:
    """Shell lines that make a prepared folder the root, and become a command without any right."""
    return [
        f"mkdir {shlex.quote(f'{root}/proc')}",
        f"mount -t proc -o ro,nosuid,nodev,noexec proc {shlex.quote(f'{root}/proc')}",
        f"mount -o remount,ro,mode=755,size=16m tmpfs {shlex.quote(root)}",
        f"cd {shlex.quote(root)}",
        "pivot_root . .",
        "umount -l .",
        "cd / && ip link set lo up 2>/dev/null || true",
        f"cd {WORKSPACE}",
        "set +e",
        "setpriv --bounding-set=-all --inh-caps=-all --no-new-privs -- " + shlex.join(inner) + "; exit $?",
    ]


def system_paths() -> Iterator[tuple[str, str]]:
    """Paths of the system that commands see, each with its target when it is a symbolic link."""
    for path in ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"):
        if os.path.islink(path):
            yield path, os.readlink(path)
        elif os.path.isdir(path):
            yield path, ""
    if own := interpreter():
        yield own, ""


def _bind(source: str, target: str, mountinfo: str = "") -> list[str]:
    """Shell lines that show a path elsewhere; read-only when given what is mounted below it."""
    inside = shlex.quote(target)
    parent = f"mkdir -p {shlex.quote(os.path.dirname(target))}"
    make = f"mkdir -p {inside}" if os.path.isdir(source) else f"{parent} && : > {inside}"
    lines = [make, f"mount --rbind {shlex.quote(source)} {inside}"]
    for below, flags in mounts_of(source, mountinfo) if mountinfo else ():
        options = ",".join(["remount", "bind", "ro", *flags])
        lines.append(f"mount -o {options} {shlex.quote(target + below)}")
    return lines


def mounts_of(path: str, mountinfo: str) -> list[tuple[str, list[str]]]:
    """Mounts that a recursive bind of a path brings along, with the flags to keep.

    Each is named relative to the path; the first, named "", is the path itself.
    """
    path = os.path.realpath(path)
    holder, holder_flags = "", list[str]()
    below: list[tuple[str, list[str]]] = []
    for line in mountinfo.splitlines():
        fields = line.split()
        point = fields[4].encode().decode("unicode_escape")
        flags = sorted(MOUNT_FLAGS & set(fields[5].split(",")))
        if point.startswith(path + "/"):
            below.append((point.removeprefix(path), flags))
        elif (path == point or path.startswith(point.rstrip("/") + "/")) and len(point) >= len(holder):
            holder, holder_flags = point, flags
    return [("", holder_flags), *below]


def _processes_count_per_namespace() -> bool:
    """Since Linux 5.14 a user namespace counts its own processes; before, it counted all of the user."""
    major, minor = os.uname().release.split(".")[:2]
    return (int(major), int("".join(filter(str.isdigit, minor)) or 0)) >= (5, 14)
