"""Running git on the control plane: no hooks, no foreign configuration, few protocols."""

import os
import subprocess
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

TIMEOUT = 120
BIG_FILE = "64m"
"""What is bigger is never held in memory whole, and counts as binary."""


class GitError(RuntimeError):
    """git ended with an error; the message is what it said."""


def environment(**extra: str) -> dict[str, str]:
    """What every git of ours sees: a PATH, and nothing that a user or an agent may have written."""
    return {
        "PATH": os.environ.get("PATH", "/usr/bin:/bin"),
        "HOME": "/nonexistent",
        "LANG": "C.UTF-8",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_ALLOW_PROTOCOL": "file",
        "GIT_AUTHOR_NAME": "Waggle",
        "GIT_AUTHOR_EMAIL": "waggle@waggle.invalid",
        "GIT_COMMITTER_NAME": "Waggle",
        "GIT_COMMITTER_EMAIL": "waggle@waggle.invalid",
    } | extra


def configured(config: Mapping[str, str]) -> dict[str, str]:
    """Configuration as environment: unlike `-c`, no other process of this machine can read it."""
    found = {"GIT_CONFIG_COUNT": str(len(config))}
    for number, (key, value) in enumerate(config.items()):
        found |= {f"GIT_CONFIG_KEY_{number}": key, f"GIT_CONFIG_VALUE_{number}": value}
    return found


def git(
    repository: Path | None,
    *args: str,
    env: Mapping[str, str] | None = None,
    allow: Sequence[int] = (0,),
    timeout: int = TIMEOUT,
) -> subprocess.CompletedProcess[str]:
    """Run git in a bare repository. Raises GitError when it ends with a code that is not allowed."""
    try:
        done = subprocess.run(
            [*_command(repository), *args],
            env=environment(**(env or {})),
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout,
            stdin=subprocess.DEVNULL,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise GitError(f"git {args[0]} did not end within {timeout} s") from error
    if done.returncode not in allow:
        raise GitError((done.stderr or done.stdout).strip()[-2000:] or f"git {args[0]} ended with {done.returncode}")
    return done


def beginning(repository: Path, *args: str, most: int, timeout: int = TIMEOUT) -> tuple[str, bool]:
    """What git says in a bare repository, at most so many bytes, and whether there is more. Raises GitError."""
    with subprocess.Popen(
        [*_command(repository), *args],
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as process:
        watch = threading.Timer(timeout, process.kill)
        watch.start()
        try:
            said = process.stdout.read(most + 1) if process.stdout else b""
            is_cut = len(said) > most
            if is_cut:
                process.kill()
            elif process.wait():
                raise GitError(f"git {args[0]} ended with {process.returncode}")
        finally:
            watch.cancel()
    return said[:most].decode("utf-8", "replace"), is_cut


def _command(repository: Path | None) -> list[str]:
    # safe.directory: the repository may belong to the uid that the embedded services run as.
    options = ("core.hooksPath=/dev/null", "safe.directory=*", f"core.bigFileThreshold={BIG_FILE}")
    place = ["--git-dir", str(repository)] if repository else []
    return ["git", *(word for option in options for word in ("-c", option)), *place]
