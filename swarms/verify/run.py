"""Looking whether every invariant holds: each team in one snapshot, so that a moving system shows nothing false."""

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from django.db import connection, transaction

from swarms.verify import hashes, replay, repositories, stored
from swarms.verify.invariant import Invariant
from swarms.verify.registry import ALL
from tenants import turns
from tenants.context import PUBLIC, in_schema
from tenants.models import Domain

MOST = 20
"""Violations of one invariant in one team that are told in full; all are counted."""
SETTLE_SECONDS = 3.0
"""What is untrue only between two transactions is true again long before."""
_FOUND = """
SELECT v.id, v.swarm, v.says, count(*) OVER () FROM ({sql}) AS v (id, swarm, says)
WHERE %(swarm)s::uuid IS NULL OR v.swarm = %(swarm)s LIMIT %(most)s
"""
_HAS_ANYTHING = """
SELECT EXISTS (SELECT FROM agent_sessions_subject) OR EXISTS (SELECT FROM swarms_swarm)
  OR EXISTS (SELECT FROM public.tenants_ticket WHERE team_id = %(team)s)
  OR EXISTS (SELECT FROM public.tenants_placement WHERE team_id = %(team)s)
  OR EXISTS (SELECT FROM public.tenants_due WHERE team_id = %(team)s)
"""


@dataclass(frozen=True)
class Violation:
    """One row for which an invariant does not hold."""

    team: str
    invariant: str
    id: str
    swarm: str
    says: str


@dataclass(frozen=True)
class Report:
    """What a look at some teams has found."""

    teams: int
    seconds: float
    counts: dict[str, int]
    """Violations of each invariant that was looked at, over all teams."""
    violations: tuple[Violation, ...]
    """At most `most` of each invariant and team."""

    @property
    def is_clean(self) -> bool:
        return not any(self.counts.values())


@dataclass(frozen=True)
class Scope:
    """What is looked at: one swarm or everything; with what beside the statements."""

    swarm: UUID | None = None
    replay: bool = False
    """Fold all events, too, and compare what they say with the tables."""
    git: bool = False
    """Look into the repositories, too."""
    artifacts: bool = False
    """Ask the object store for every artifact, too."""
    most: int = MOST
    settle: float = SETTLE_SECONDS
    """Seconds after which what may be untrue for a moment is looked at again."""


def teams(slug: str | None = None) -> list[tuple[str, str]]:
    """Slug and schema of the ready teams, or of the one with this slug."""
    with in_schema(PUBLIC):
        of_one = {} if slug is None else {"slug": slug}
        wanted = Domain.objects.filter(is_primary=True, tenant__state="ready", **of_one)
        return list(wanted.order_by("slug").values_list("slug", "tenant__schema_name"))


def verify(wanted: Iterable[tuple[str, str]] | None = None, scope: Scope = Scope()) -> Report:
    """Look at every invariant in some teams (slug and schema; all ready ones unless said otherwise)."""
    began, looked, found = time.monotonic(), 0, Findings(scope)
    for slug, schema in teams() if wanted is None else wanted:
        with in_schema(schema):
            found.look(slug)
        looked += 1
    return Report(looked, time.monotonic() - began, found.counts, tuple(found.violations))


class Findings:
    """Violations so far, team after team."""

    def __init__(self, scope: Scope) -> None:
        self.scope = scope
        names = [invariant.name for invariant in ALL]
        names.append(hashes.NAME)
        names += [replay.NAME] * scope.replay + list(repositories.NAMES) * scope.git
        names += list(stored.NAMES) * scope.artifacts
        self.counts = dict.fromkeys(names, 0)
        self.violations: list[Violation] = []

    def look(self, slug: str) -> None:
        """Look at the team of the current schema."""
        unsettled: list[Invariant] = []
        with _snapshot() as cursor:
            if not _has_anything(cursor):
                return
            for invariant in ALL:
                count, rows = self._ask(cursor, slug, invariant)
                if count and invariant.settles:
                    unsettled.append(invariant)
                else:
                    self._keep(invariant.name, count, rows)
            self._keep_all(slug, hashes.NAME, list(hashes.violations(self.scope.swarm)))
            if self.scope.replay:
                self._keep_all(slug, replay.NAME, replay.differences(self.scope.swarm))
        for invariant in unsettled:
            self._look_again(slug, invariant)
        for wanted, outside in ((self.scope.git, repositories), (self.scope.artifacts, stored)):
            if wanted:
                for name, id_, swarm, says in outside.violations(self.scope.swarm):
                    self._keep(name, 1, [Violation(slug, name, id_, swarm, says)])

    def _look_again(self, slug: str, invariant: Invariant) -> None:
        """Only what is violated now and a little later counts."""
        every = replace(self.scope, most=10_000)
        with _snapshot() as cursor:
            _, before = _rows(cursor, slug, invariant, every)
        if before and not connection.in_atomic_block:
            time.sleep(self.scope.settle)
        with _snapshot() as cursor:
            _, after = _rows(cursor, slug, invariant, every)
        still = [row for row in after if row.id in {other.id for other in before}]
        self._keep(invariant.name, len(still), still[: self.scope.most])

    def _ask(self, cursor: Any, slug: str, invariant: Invariant) -> tuple[int, list[Violation]]:
        return _rows(cursor, slug, invariant, self.scope)

    def _keep_all(self, slug: str, name: str, found: Sequence[tuple[str, str, str]]) -> None:
        rows = [Violation(slug, name, id_, swarm, says) for id_, swarm, says in found]
        self._keep(name, len(rows), rows[: self.scope.most])

    def _keep(self, name: str, count: int, rows: Sequence[Violation]) -> None:
        self.counts[name] += count
        self.violations += rows


def _rows(cursor: Any, slug: str, invariant: Invariant, scope: Scope) -> tuple[int, list[Violation]]:
    words = {
        "team": turns.current_team_id(),
        "swarm": scope.swarm,
        "subject": scope.swarm and f"swarm:{scope.swarm}",
        "most": scope.most,
    }
    cursor.execute(_FOUND.format(sql=invariant.sql), words)
    rows = cursor.fetchall()
    found = [Violation(slug, invariant.name, id_, str(swarm or ""), says) for id_, swarm, says, _ in rows]
    return (rows[0][3] if rows else 0), found


def _has_anything(cursor: Any) -> bool:
    cursor.execute(_HAS_ANYTHING, {"team": turns.current_team_id()})
    return bool(cursor.fetchone()[0])


@contextmanager
def _snapshot() -> Iterator[Any]:
    """A cursor whose statements all see the same moment; inside a transaction, that one's."""
    if connection.in_atomic_block:
        with connection.cursor() as cursor:
            yield cursor
        return
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        # Compiling costs more than these statements, sorting on disk more than some memory, and where the planner has
        # no statistics yet, loops over whole tables cost minutes.
        cursor.execute("SET LOCAL jit = off; SET LOCAL work_mem = '64MB'; SET LOCAL enable_nestloop = off")
        cursor.execute("SET LOCAL idle_in_transaction_session_timeout = 0")  # events are folded; nothing is locked
        yield cursor
