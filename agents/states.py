"""States of executions (runs of an assignment on a runner), of servers and of agents. Pure."""

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
    DRAINING = "draining"  # trusted, finishes what it has, and gets no new work
    LOST = "lost"  # no longer answers
    DISABLED = "disabled"  # a member wants to hear nothing of it: it is not asked


SERVER_MOVES = table(
    quarantined="trusted lost disabled",
    trusted="draining lost quarantined disabled",
    draining="trusted lost quarantined disabled",
    lost="quarantined trusted disabled",
    disabled="quarantined",
)


ENROLLED = (ServerState.TRUSTED, ServerState.DRAINING)
"""A member trusts them: their passwords are kept, and sent to them."""


class AgentState(StrEnum):
    ACTIVE = "active"
    DRAINING = "draining"  # finishes what it has, and is disabled then
    DISABLED = "disabled"  # gets no work


AGENT_MOVES = table(active="draining disabled", draining="active disabled", disabled="active")
