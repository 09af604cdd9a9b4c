"""One swarm through the engine, and what it took: wall, CPU, commits."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from django.db import connection
from dramatiq import get_broker

from agents.contracts import PlanProposal
from bench import swarm
from bench.stage import Stage, seconds_of, wait_for
from tenants.context import PUBLIC, in_schema
from tenants.messages import QUEUE
from tenants.models import Team

_COMMITS = """
SELECT count(*) FROM pg_get_wal_records_info(%s, pg_current_wal_flush_lsn())
WHERE resource_manager = 'Transaction' AND record_type LIKE 'COMMIT%%'
"""


@dataclass(frozen=True)
class Cost:
    """What a swarm took. Seconds of wall from its first start to its last end; of CPU, of platform and databases."""

    wall: float
    cpu: float
    parts: dict[str, float]
    """The CPU seconds of each process by its name, and of the databases."""
    commits: int
    """Of everything: steps, the clock, the relay."""
    waits: list[float]
    """Milliseconds from the end of its last parent to the start of each node."""
    adoption: float
    """Wall seconds in which the plan became nodes, edges and tickets, before all that."""
    adoption_cpu: float


class Clock:
    """CPU seconds since its beginning, of the platform and its databases, without what this process costs them."""

    def __init__(self, at: Stage) -> None:
        self._at = at
        self._began = self._now()

    def read(self) -> dict[str, float]:
        """Of each process by its name, and of each database."""
        return {name: seconds - self._began[name] for name, seconds in self._now().items()}

    def _now(self) -> dict[str, float]:
        found = self._at.cpu_by_name()
        return found | {"postgres": found["postgres"] - seconds_of(_backend())}


def _backend() -> int:
    """The process of the database that serves this connection."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        return int(cursor.fetchone()[0])


def own_cpu() -> float:
    """CPU seconds so far of this process and of its database connection."""
    return time.process_time() + seconds_of(_backend())


def commits() -> Callable[[], int]:
    """How many transactions that changed something are committed from now on: as the write-ahead log says, which
    counts every one at once; statistics come later."""
    with in_schema(PUBLIC), connection.cursor() as cursor:
        cursor.execute("CREATE EXTENSION IF NOT EXISTS pg_walinspect")
        cursor.execute("SELECT pg_current_wal_flush_lsn()")
        since = cursor.fetchone()[0]

    def count() -> int:
        with in_schema(PUBLIC), connection.cursor() as cursor:
            cursor.execute(_COMMITS, [since])
            return int(cursor.fetchone()[0])

    return count


def carry(at: Stage, of: Team, plan: PlanProposal, *, every: float = 0.05) -> Cost:
    """Let the platform carry out a plan.

    As on the floor, the rows are there before it is measured: the workers begin when the plan is adopted and what that
    told is relayed. Until then they are stopped; the clock and the relay go on.
    """
    with at.silence(*(name for name in at.processes if name.startswith("worker"))):
        made = swarm.proposed(of, plan)
        get_broker().flush(QUEUE)  # the hint to adopt it, which is done here
        used, began = own_cpu(), time.perf_counter()
        swarm.adopt(of, made)
        adoption, adoption_cpu = time.perf_counter() - began, own_cpu() - used
        wait_for(partial(swarm.relayed, of), "the relay does not come to its end", every=every)
        time.sleep(0.2)
        clock, committed = Clock(at), commits()
    wait_for(partial(swarm.is_done, of, made), "a swarm does not end", every=every)
    wait_for(partial(swarm.relayed, of), "the relay does not come to its end", every=every)
    parts, count = clock.read(), committed()
    wall, waits = swarm.wall(of, made), swarm.waits(of, made)
    swarm.end(of, made)
    return Cost(wall, sum(parts.values()), parts, count, waits, adoption, adoption_cpu)
