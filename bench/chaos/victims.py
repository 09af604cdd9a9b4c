"""The right moment: who holds what just now, so that what is done to a process meets work in progress."""

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from uuid import UUID

from django.db import connection

from bench.chaos.platform import Platform, go_on
from tenants.context import PUBLIC, in_schema
from tenants.models import Team

SLOW_SECONDS = 0.003
"""How late workers' traffic with Postgres is while one is looked for: else a step is over before it can be seen."""
LOOK_SECONDS = 0.002
MOST_LOSSES = 2
"""Attempts of a node that we spoil in a row: a third one would be poison, and rightly end it."""
# The attempts that a connection's last statement made belong to the worker that this connection is of.
_HELD = """
SELECT s.application_name, a.id FROM swarms_attempt a JOIN swarms_node n ON n.id = a.node_id
JOIN pg_stat_activity s ON s.application_name = ANY(%s) AND s.state = 'idle'
  AND (strpos(s.query, n.swarm_id::text) > 0 OR strpos(s.query, replace(n.swarm_id::text, '-', '')) > 0)
  AND a.created_at BETWEEN s.query_start AND s.state_change
WHERE a.state IN ('leased', 'running') AND a.execution_id IS NULL AND a.number = 1
"""
_IN_TRANSACTION = """
SELECT DISTINCT s.application_name FROM pg_stat_activity s JOIN pg_locks l ON l.pid = s.pid
WHERE s.application_name = ANY(%s) AND s.state = 'idle in transaction'
  AND l.relation = 'swarms_swarm'::regclass AND l.mode = 'RowShareLock'
"""
_ON_THE_BRINK = "SELECT EXISTS (SELECT FROM swarms_node WHERE ended_at IS NULL AND losses >= %s)"
_ON_RUNNER = """
SELECT e.id, a.id IS NOT NULL, CASE WHEN e.kind = 'plan' THEN %s ELSE coalesce(n.losses, 0) END
FROM agents_execution e JOIN public.tenants_runner r ON r.id = e.runner_id
LEFT JOIN swarms_attempt a ON a.execution_id = e.id LEFT JOIN swarms_node n ON n.id = a.node_id
WHERE e.state = 'running' AND r.name = ANY(%s)
"""


@dataclass(frozen=True)
class Caught:
    """A process that was stopped (SIGSTOP) at work: the attempts or executions that it holds."""

    name: str
    pids: list[int]
    holds: tuple[UUID, ...]

    def release(self) -> None:
        """Let it go on."""
        go_on(self.pids)


def worker(of: Platform, team: Team, *, seconds: float = 1) -> Caught | None:
    """Stop a worker between two steps, while nodes are claimed by it; None when there was no such moment."""
    deadline = time.monotonic() + seconds
    with _slowly(of):
        while time.monotonic() < deadline:
            for name in _held(team, of.postgres):
                pids = of.stop(name)
                if held := _at_rest(team, name):
                    return Caught(name, pids, tuple(held))
                go_on(pids)
            time.sleep(LOOK_SECONDS)
    return None


def worker_in_transaction(of: Platform, team: Team, *, seconds: float = 1) -> Caught | None:
    """Stop a worker amid a transaction in which it has locked a swarm; None when there was no such moment."""
    deadline = time.monotonic() + seconds
    with _slowly(of):
        while time.monotonic() < deadline:
            for name in _in_transaction(team, of.postgres):
                pids = of.stop(name)
                time.sleep(5 * SLOW_SECONDS)
                if _in_transaction(team, [name]):
                    return Caught(name, pids, ())
                go_on(pids)
            time.sleep(LOOK_SECONDS)
    return None


def _in_transaction(team: Team, workers: Iterable[str]) -> list[str]:
    with in_schema(team.schema_name), connection.cursor() as cursor:
        cursor.execute(_IN_TRANSACTION, [list(workers)])
        return [row[0] for row in cursor.fetchall()]


@contextmanager
def _slowly(of: Platform) -> Iterator[None]:
    for proxy in of.postgres.values():
        proxy.delay = SLOW_SECONDS
    try:
        yield
    finally:
        for proxy in of.postgres.values():
            proxy.delay = 0


def _at_rest(team: Team, name: str) -> set[UUID]:
    """What a stopped worker holds once nothing of it is on its way any more; nothing when it must be spared."""
    before: set[UUID] = set()
    for _ in range(5):
        time.sleep(5 * SLOW_SECONDS)
        now = _held(team, [name]).get(name, set())
        if now == before:
            break
        before = now
    # Another thread of it may hold, or be about to claim, a node that has lost too much already.
    return set() if on_the_brink(team) else now


def on_the_brink(team: Team) -> bool:
    """Whether a node of this team has lost so much in a row that the next loss would be poison."""
    with in_schema(team.schema_name), connection.cursor() as cursor:
        cursor.execute(_ON_THE_BRINK, [MOST_LOSSES])
        return bool(cursor.fetchone()[0])


def _held(team: Team, workers: Iterable[str]) -> dict[str, set[UUID]]:
    found: dict[str, set[UUID]] = {}
    with in_schema(team.schema_name), connection.cursor() as cursor:
        cursor.execute(_HELD, [list(workers)])
        for name, attempt in cursor.fetchall():
            found.setdefault(name, set()).add(attempt)
    return found


def executions(team: Team, *runners: str) -> tuple[UUID, ...]:
    """What goes on on these runners, if an attempt is among it, no goal is planned, and the loss of none is poison."""
    with in_schema(team.schema_name), connection.cursor() as cursor:
        cursor.execute(_ON_RUNNER, [MOST_LOSSES, list(runners)])
        rows = cursor.fetchall()
    fit = any(row[1] for row in rows) and all(row[2] < MOST_LOSSES for row in rows)
    return tuple(row[0] for row in rows) if fit else ()


def overdue() -> int:
    """What the clock should look at just now."""
    with in_schema(PUBLIC), connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM tenants_due WHERE due_at <= statement_timestamp()")
        return int(cursor.fetchone()[0])


def ticker(of: Platform, *, seconds: float = 5) -> bool:
    """Stop the clock while something is due; False when it had nothing to do for so long. It is stopped either way."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if overdue():
            pids = of.stop("ticker")
            if overdue():
                return True
            go_on(pids)
        time.sleep(0.01)
    of.stop("ticker")
    return False
