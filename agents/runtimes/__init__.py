"""Drivers for kinds of agents: an assignment in, records and an outcome out.

Adding one is one file here and one line in agents.contracts.RUNTIMES; docs/runtimes.md says what it must do.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager
from importlib import import_module
from pathlib import Path
from typing import Protocol, cast

from agents import contracts
from agents.contracts import Assignment, Outcome
from agents.runner.sandbox import Sandbox
from agents.runtimes import checks
from agents.runtimes.capabilities import Capabilities
from agents.runtimes.context import Context, Ready


class Work(Protocol):
    """Carries out an assignment. Cancelling the task stops it, with everything it started."""

    async def run(self, assignment: Assignment, context: Context) -> Outcome:
        """Returns the outcome; the caller reports it unless `context.reports` has taken one already."""


class Runtime(Work, Protocol):
    """Carries out an assignment with an agent."""

    CAN: Capabilities


class Readying(Runtime, Protocol):
    """One that can get something ready before there is an assignment."""

    def ready(self, folder: Path, sandbox: Sandbox) -> AbstractAsyncContextManager[Ready]:
        """Locked in over this folder, for the one attempt that will have it; at the end of the block nothing of it is
        left."""


class _Runtimes(Mapping[str, Runtime]):
    """By name. Each is imported when it is asked for; those that children are forked with: agents.runner.warm."""

    def __getitem__(self, name: str) -> Runtime:
        return cast(Runtime, import_module(contracts.RUNTIMES[name]))

    def __iter__(self) -> Iterator[str]:
        return iter(contracts.RUNTIMES)

    def __len__(self) -> int:
        return len(contracts.RUNTIMES)


RUNTIMES = _Runtimes()


def runtime_of(assignment: Assignment) -> Work:
    """The runtime that an assignment asks for; checks need no agent. Raises LookupError."""
    if assignment.kind == "check":
        return checks
    if assignment.runtime not in RUNTIMES:
        raise LookupError(f"This runner has no runtime {assignment.runtime!r}; it has {', '.join(sorted(RUNTIMES))}.")
    return RUNTIMES[assignment.runtime]


def readies(runtime: str) -> Callable[[Path, Sandbox], AbstractAsyncContextManager[Ready]]:
    """How a runtime gets ready. Raises LookupError for one that has no use for it."""
    found = getattr(RUNTIMES.get(runtime), "ready", None)
    if found is None:
        raise LookupError(f"The runtime {runtime!r} gets nothing ready.")
    return cast(Readying, RUNTIMES[runtime]).ready
