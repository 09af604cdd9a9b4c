"""Begins processes of the platform at once: they come from one that has loaded everything, which takes two seconds.

Reads a line of JSON for each: {"command": …, "crash_at": …, "log": …} is answered with the pid of a process that goes
on as that command; {"pid": …} with the exit code of one that has ended, or null.
"""

import gc
import importlib
import json
import os
import runpy
import signal
import sys
from typing import Any

import config.asgi
import config.worker  # noqa: F401
from tenants import faults


def _become(command: list[str], crash_at: str, log: str) -> None:
    """The rest of this process's life."""
    os.setsid()
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for number in (1, 2):
        os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), number)
    os.environ["WAGGLE_CRASH_AT"] = crash_at
    importlib.reload(faults)  # read once by each process
    sys.argv = command
    if command[0].endswith(".py"):
        runpy.run_path(command[0], run_name="__main__")
    else:
        runpy.run_module(command[0], run_name="__main__", alter_sys=True)


def _ended(pid: int) -> int | None:
    found, status = os.waitpid(pid, os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if found else None


def main() -> None:
    """Answer until there is nothing more to read."""
    gc.freeze()  # a child that looked through all of it would copy it
    for line in sys.stdin:
        asked: dict[str, Any] = json.loads(line)
        if "pid" in asked:
            answer = _ended(asked["pid"])
        elif not (answer := os.fork()):
            _become(**asked)
            return
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
