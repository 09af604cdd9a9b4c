"""What an invariant is. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Invariant:
    """Something that holds at every moment, and the one statement that finds where it does not.

    The statement runs with a team's schema in the search path. It gives the columns `id` (text), `swarm` (uuid or
    empty) and `says` (text) for each violation, and may use the parameters `team` (uuid) and `subject` (text: only
    events of this subject need to be looked at; empty: all).
    """

    name: str
    says: str
    sql: str
    settles: bool = False
    """It may be untrue for the moment between two transactions: only what is still so a little later counts."""


def words(values: Iterable[str]) -> str:
    """Names as a list of SQL literals, for IN (…)."""
    return ", ".join(f"'{value}'" for value in sorted(values))
