"""The one small protocol by which the agents' side asks upward: what an execution's end means."""

from typing import Any, Protocol
from uuid import UUID

from agents.contracts import Outcome
from agents.models import Execution


class Settlement(Protocol):
    """Bound once, in swarms/apps.py."""

    def lock(self, swarm: UUID) -> None:
        """Lock the swarm for this transaction: always the first lock, so that nobody waits in a circle."""

    def examine(self, execution: Execution, outcome: Outcome) -> tuple[list[str], Any]:
        """Read what the outcome points to, outside any transaction: its faults, and facts for `settled`."""

    def refused(self, execution: Execution, outcome: Outcome, faults: list[str]) -> None:
        """The outcome has faults; the agent is told and tries again."""

    def started(self, execution: Execution) -> None:
        """The runner began."""

    def settled(self, execution: Execution, outcome: Outcome, facts: Any) -> None:
        """An outcome was accepted; in the transaction that ends the execution."""

    def ended(self, execution: Execution) -> None:
        """The execution ended without an outcome (lost, cancelled…); in the transaction that ends it."""


_bound: list[Settlement] = []


def bind(settlement: Settlement) -> None:
    """Say who answers."""
    _bound[:] = [settlement]


def settlement() -> Settlement:
    """Who answers. Raises RuntimeError before `bind`."""
    if not _bound:
        raise RuntimeError("nobody settles executions: swarms.apps binds the port")
    return _bound[0]
