"""States of a team, and how a table of moves looks. Pure."""

from collections.abc import Mapping
from enum import StrEnum

Moves = Mapping[str, frozenset[str]]


def table(**moves: str) -> dict[str, frozenset[str]]:
    """A table of moves from `state="next other"` pairs; states without a pair are terminal.

    >>> table(pending="done failed")["done"]
    frozenset()
    """
    known = {state: frozenset(targets.split()) for state, targets in moves.items()}
    terminal = frozenset().union(*known.values()) - known.keys()
    return known | {state: frozenset() for state in terminal}


def terminal(moves: Moves) -> frozenset[str]:
    """States that nothing leaves."""
    return frozenset(state for state, targets in moves.items() if not targets)


class TeamState(StrEnum):
    PROVISIONING = "provisioning"  # its schema is being made
    READY = "ready"
    FAILED = "failed"  # provisioning broke; it is tried again
    SUSPENDED = "suspended"
    REMOVING = "removing"  # it is being deleted, for ever: see tenants.models.Removal


TEAM_MOVES = table(
    provisioning="ready failed",
    failed="provisioning removing",
    ready="suspended removing",
    suspended="ready removing",
)
