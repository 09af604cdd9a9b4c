"""The one small protocol by which the agents' side asks upward: what an execution's end means."""

from collections.abc import Collection
from typing import Any, Protocol
from uuid import UUID

from agents.contracts import Assignment, Outcome
from agents.models import Execution


class Settlement(Protocol):
    """Bound once, in swarms/apps.py."""

    def lock(self, swarm: UUID) -> None:
        """Lock the swarm for this transaction: always the first lock, so that nobody waits in a circle."""

    def examine(self, execution: Execution, outcome: Outcome) -> tuple[list[str], Any]:
        """Read what the outcome points to, outside any transaction: its faults, and facts for `settled`."""

    def refused(self, execution: Execution, outcome: Outcome, faults: list[str]) -> None:
        """The outcome has faults; the agent is told and tries again."""

    def paused(self, swarms: Collection[UUID]) -> set[UUID]:
        """Those of these swarms in which nothing new starts now."""

    def started(self, execution: Execution) -> None:
        """The runner began."""

    def settled(self, execution: Execution, outcome: Outcome, facts: Any) -> None:
        """An outcome was accepted; in the transaction that ends the execution."""

    def next(self, execution: Execution) -> Assignment | None:
        """What its runner does next, delivered; in the transaction that ended it. Never waits for a lock."""

    def ended(self, execution: Execution) -> None:
        """The execution ended without an outcome (lost, cancelled…); in the transaction that ends it."""

    def wants_leftovers(self, execution: Execution) -> bool:
        """Whether what an execution without a result had changed is still of use: not, once its node is done."""

    def soft_line(self, swarm: UUID, subjects: list[str]) -> None:
        """What was spent on these subjects reached the line at which a person is asked; outside any transaction."""


_bound: list[Settlement] = []


def bind(settlement: Settlement) -> None:
    """Say who answers."""
    _bound[:] = [settlement]


def settlement() -> Settlement:
    """Who answers. Raises RuntimeError before `bind`."""
    if not _bound:
        raise RuntimeError("nobody settles executions: swarms.apps binds the port")
    return _bound[0]
