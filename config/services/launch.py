"""Starts the programs of the embedded services, as root or as an ordinary user."""

import ctypes
import os
import pwd
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

PR_SET_PDEATHSIG = 1
FALLBACK_ACCOUNTS = ("postgres", "nobody")
UNSHARE = ("unshare", "--user", "--map-user=1000", "--map-group=1000", "--")


class StartFailed(Exception):
    """A service or a process did not come up; the message says which one, why and where its log is."""


@dataclass(frozen=True)
class Footing:
    """How to run a program that refuses root: a command before it, or another account."""

    prefix: tuple[str, ...] = ()
    account: str | None = None

    def run(self, command: Sequence[str | Path]) -> "subprocess.CompletedProcess[str]":
        """Run to its end. Raises StartFailed with what the program said."""
        done = subprocess.run(
            [*self.prefix, *map(str, command)],
            capture_output=True,
            text=True,
            check=False,
            cwd="/",
            user=self.account,
            group=self._group(),
            extra_groups=[] if self.account else None,
        )
        if done.returncode:
            raise StartFailed(f"{Path(command[0]).name} failed: {done.stderr.strip() or done.stdout.strip()}")
        return done

    def spawn(
        self, command: Sequence[str | Path], log: Path, *, dies_with_us: signal.Signals | None = None
    ) -> "subprocess.Popen[bytes]":
        """Start in a session of its own, with its output added to `log`.

        `dies_with_us` is the signal that it gets when the calling thread ends (Linux).
        """
        with log.open("ab") as output:
            return subprocess.Popen(
                [*self.prefix, *map(str, command)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd="/",
                start_new_session=True,
                user=self.account,
                group=self._group(),
                extra_groups=[] if self.account else None,
                preexec_fn=death_signal(dies_with_us),
            )

    def _group(self) -> int | None:
        return pwd.getpwnam(self.account).pw_gid if self.account else None


@cache
def unprivileged() -> Footing:
    """How this user runs a program that refuses root.

    An ordinary user runs it directly; root in a user namespace, where root is user 1000, so that the
    files stay root's; root without namespaces (some containers) under an ordinary account.
    """
    if os.geteuid() != 0:
        return Footing()
    try:
        if subprocess.run([*UNSHARE, "true"], capture_output=True, check=False).returncode == 0:
            return Footing(prefix=UNSHARE)
    except FileNotFoundError:
        pass  # no util-linux: the account below does as well
    for name in FALLBACK_ACCOUNTS:
        try:
            pwd.getpwnam(name)
        except KeyError:
            continue
        return Footing(account=name)
    raise StartFailed(
        "Postgres refuses to run as root, and there is neither a user namespace nor an account "
        "'postgres' or 'nobody'. Run as an ordinary user, or set DATABASE_URL."
    )


def death_signal(number: signal.Signals | None) -> Callable[[], None] | None:
    """What a child calls before exec so that it gets a signal when its parent thread ends (Linux only)."""
    if number is None or not sys.platform.startswith("linux"):
        return None
    parent = os.getpid()
    prctl = ctypes.CDLL(None, use_errno=True).prctl

    def bind() -> None:
        prctl(PR_SET_PDEATHSIG, int(number), 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)

    return bind


def tail(log: Path, lines: int = 8) -> str:
    """The last lines of a log, for an error message."""
    if not log.exists():
        return ""
    return "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])
