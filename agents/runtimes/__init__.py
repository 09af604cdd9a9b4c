"""Drivers for kinds of agents: an assignment in, records and an outcome out.

Adding one is one file and one line in RUNTIMES.
"""

from typing import Protocol

from agents.contracts import Assignment, Outcome
from agents.runtimes import builtin, checks
from agents.runtimes.context import Context
from agents.runtimes.opencode import runtime as opencode


class Runtime(Protocol):
    """Carries out an assignment. Cancelling the task stops it, with everything it started."""

    async def run(self, assignment: Assignment, context: Context) -> Outcome:
        """Returns the outcome; the caller reports it unless `context.reports` has taken one already."""


RUNTIMES: dict[str, Runtime] = {
    "builtin": builtin,
    "checks": checks,
    "opencode": opencode,
}


def runtime_of(assignment: Assignment) -> Runtime:
    """The runtime that an assignment asks for; checks need no agent. Raises LookupError."""
    name = "checks" if assignment.kind == "check" else assignment.runtime
    if name not in RUNTIMES:
        raise LookupError(f"This runner has no runtime {name!r}; it has {', '.join(sorted(RUNTIMES))}.")
    return RUNTIMES[name]
