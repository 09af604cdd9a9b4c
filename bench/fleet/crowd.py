"""Twenty agents at once on one runner: whether a heartbeat is missed."""

import time
from functools import partial
from uuid import UUID

from django.db import connection

from agents.models import Execution
from bench import staff, swarm
from bench.figures import Figures, typical
from bench.model import SLOW
from bench.stage import Stage, wait_for, workers
from tenants.context import PUBLIC, in_schema
from tenants.models import Team, TeamShare

AGENTS = 20
LEASE, HEARTBEAT = 30.0, 10.0
LOOK_SECONDS = 0.25
_OLDEST = """
SELECT count(*), coalesce(max(%(lease)s - extract(epoch FROM lease_until - clock_timestamp())), 0)
FROM agents_execution WHERE swarm = %(swarm)s AND state = 'running'
"""


def measure(at: Stage) -> Figures:
    """All begin together, and the scripted model answers each of them for half a minute. With the times of a real
    installation (a lease of 30 s, a heartbeat each 10 s) a heartbeat counts as missed when a lease gets older than the
    next one would let it, by half a beat.
    """
    of = swarm.team("bench")
    workers(at)
    staff.start(at, capacity=AGENTS + 1)
    project = staff.project(at, of)
    with in_schema(PUBLIC):
        TeamShare.objects.filter(team=of).update(cap=AGENTS + 1)
    began = time.monotonic()
    made = staff.submit(of, project, swarm.agents(AGENTS, title=SLOW))
    oldest, most, missed = 0.0, 0, 0
    while not swarm.is_done(of, made.pk):
        live, age = _oldest(of, made.pk)
        missed += age > 1.5 * HEARTBEAT
        oldest, most = max(oldest, age), max(most, live)
        if time.monotonic() - began > 300:
            raise TimeoutError("twenty agents do not end")
        time.sleep(LOOK_SECONDS)
    wall = swarm.wall(of, made.pk)
    with in_schema(of.schema_name):
        lost = Execution.objects.filter(swarm=made.pk, state="lost").count()
    swarm.end(of, made.pk)
    wait_for(partial(swarm.is_ended, of, made.pk), "the swarm is not cancelled", every=0.1)
    return {
        "fleet.crowd20.at_once": typical([most], "agents"),
        "fleet.crowd20.missed_heartbeats": typical([missed], "looks"),
        "fleet.crowd20.lost": typical([lost], "executions"),
        "fleet.crowd20.oldest_heartbeat_s": typical([oldest], "s"),
        "fleet.crowd20.wall_s": typical([wall], "s"),
    }


def _oldest(of: Team, made: UUID) -> tuple[int, float]:
    with in_schema(of.schema_name), connection.cursor() as cursor:
        cursor.execute(_OLDEST, {"swarm": made, "lease": LEASE})
        row = cursor.fetchone()
        return int(row[0]), float(row[1])
