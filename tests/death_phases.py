"""The phases of an attempt, into which tests.death_stage brings one before it kills."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.conformance import server_of
from tests.test_runner import processes_now_with
from tests.test_sandbox import parent_of

if TYPE_CHECKING:
    from tests.death_stage import Cell, Theatre

Phase = Callable[["Theatre", "Cell"], Any]
PHASES: dict[str, Phase] = {}
"""By name: a context manager that brings an attempt to the phase, holds it there and lets go; gives the swarm."""


def phase(bring: Callable[["Theatre", "Cell"], Iterator[str]]) -> Phase:
    PHASES[bring.__name__] = contextmanager(bring)
    return PHASES[bring.__name__]


@phase
def workspace(at: "Theatre", cell: "Cell") -> Iterator[str]:
    """The assignment is accepted, its workspace half made."""
    with at.held("before-reset") as wait:
        swarm = at.state_goal(cell)
        wait()
        yield swarm


@phase
def starting(at: "Theatre", cell: "Cell") -> Iterator[str]:
    """OpenCode's server has begun, and does not answer yet."""
    swarm = at.state_goal(cell)
    at.freeze()
    assert not at.count("session")
    yield swarm


@phase
def created(at: "Theatre", cell: "Cell") -> Iterator[str]:
    """There is a session, and nothing was said in it."""
    swarm = at.state_goal(cell)
    at.until(lambda: server_of(at.runner))
    child = at.child()
    try:
        # A moment is enough to go on from there: the attempt's process moves in small steps.
        while os.kill(child, signal.SIGSTOP) or not at.count("session"):
            os.kill(child, signal.SIGCONT)
            time.sleep(0.002)
        assert not at.count("message")
        yield swarm
    finally:
        with suppress(ProcessLookupError):
            os.kill(child, signal.SIGCONT)


@phase
def streaming(at: "Theatre", cell: "Cell") -> Iterator[str]:
    """The model is amid its answer."""
    swarm = at.state_goal(cell)
    at.until(lambda: cell.is_reached)
    time.sleep(0.5)  # what it said is on its way
    yield swarm


@phase
def tool(at: "Theatre", cell: "Cell") -> Iterator[str]:
    """A command of the agent runs."""
    swarm = at.state_goal(cell)
    at.until(lambda: processes_now_with(cell.endless))
    yield swarm


@phase
def permission(at: "Theatre", cell: "Cell") -> Iterator[str]:
    """A person is asked whether the agent may do something."""
    swarm = at.state_goal(cell)
    at.until(lambda: ["tool", "pending"] in at.ask("asked", swarm=swarm))
    yield swarm


@phase
def waiting(at: "Theatre", cell: "Cell") -> Iterator[str]:
    """While a person is asked another server waits for the next attempt: it is that which dies."""
    at.has_worked = True  # as soon as it comes to that
    swarm = at.state_goal(cell)
    at.until(lambda: ["tool", "pending"] in at.ask("asked", swarm=swarm))
    at.doomed = at.spare()
    yield swarm


@phase
def taken(at: "Theatre", cell: "Cell") -> Iterator[str]:
    """A command of the agent runs, on a server that had waited."""
    spare = at.spare()
    swarm = at.state_goal(cell)
    at.doomed = at.until(lambda: above(cell.endless))
    assert at.doomed == spare
    yield swarm


def is_server(words: list[bytes]) -> bool:
    """A command line of OpenCode's server."""
    return words[1:2] == [b"serve"]


def above(command: str) -> int:
    """The server from which a command descends; 0 while it does not run."""
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            words = (entry / "cmdline").read_bytes().split(b"\0")[:-1]
            if b" ".join(words).decode(errors="replace") != command:
                continue
            pid = int(entry.name)
            while pid > 1 and not is_server(Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")):
                pid = parent_of(pid)
            return pid if pid > 1 else 0
    return 0


@phase
def committed(at: "Theatre", cell: "Cell") -> Iterator[str]:
    """The agent is done, its work committed, and not pushed."""
    with at.held("before-push") as wait:
        swarm = at.state_goal(cell)
        wait()
        yield swarm


@phase
def pushed(at: "Theatre", cell: "Cell") -> Iterator[str]:
    """Its work is pushed, and not reported."""
    with at.held("after-push") as wait:
        swarm = at.state_goal(cell)
        wait()
        yield swarm


@phase
def reported(at: "Theatre", cell: "Cell") -> Iterator[str]:
    """Its outcome is accepted, and its server has not ended."""
    with at.held("before-push") as wait:
        swarm = at.state_goal(cell)
        wait()
        at.freeze()
    at.until(lambda: at.ask("nodes", swarm=swarm)["write"] not in ("ready", "running"))
    yield swarm


AFTER_WRITING = ("streaming", "tool", "permission", "waiting", "taken", "committed", "pushed", "reported")
"""Phases in which the agent has changed something."""
WARM = ("waiting", "taken")
"""Phases of a runner that keeps servers ready; that of the others keeps none, so that each attempt starts its own."""
UNTOUCHED = (("waiting", "server"),)
VICTIMS = ("server", "runner", "both")
WHOLE = [
    (one, victims)
    for one in sorted(PHASES, key=lambda one: one in WARM)
    for victims in VICTIMS
    if one != "workspace" or victims == "runner"
]
"""Every phase with everybody who is there: while a workspace is made there is no server."""
