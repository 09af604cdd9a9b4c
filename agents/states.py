"""States of an execution: one run of an assignment on a runner. Pure."""

from enum import StrEnum

from tenants.states import table, terminal


class ExecutionState(StrEnum):
    LEASED = "leased"  # placed on a runner that has not begun yet
    RUNNING = "running"
    DONE = "done"  # an outcome was accepted
    FAILED = "failed"  # the runtime reported a failure
    TIMED_OUT = "timed_out"
    STALLED = "stalled"  # no progress for too long
    LOST = "lost"  # the lease ran out
    CANCELLED = "cancelled"


EXECUTION_MOVES = table(
    leased="running done failed timed_out stalled lost cancelled",
    running="done failed timed_out stalled lost cancelled",
)
LIVE = frozenset(EXECUTION_MOVES) - terminal(EXECUTION_MOVES)


class ServerState(StrEnum):
    QUARANTINED = "quarantined"  # found on the network; nobody has enrolled it
    TRUSTED = "trusted"
    LOST = "lost"  # no longer answers


SERVER_MOVES = table(quarantined="trusted lost", trusted="lost quarantined", lost="quarantined trusted")
