"""Looking at every invariant of a thousand swarms, as the clock does every hour."""

import time
from functools import partial

from django.db import connection

from bench import shapes, swarm, teams
from bench.figures import Figures, typical
from bench.stage import Stage, wait_for, workers
from swarms.models import Node
from swarms.verify.run import Scope, verify
from tenants.context import in_schema
from tenants.models import Team

TEAMS, SWARMS, NODES, RUNS = 10, 100, 20, 3


def measure(at: Stage) -> Figures:
    """`manage.py verify` over ten teams with a hundred swarms of twenty nodes each.

    Those of one team were carried out by the platform; the other teams have copies of all its rows. Also with every
    event folded and compared with the tables (`--replay`).
    """
    first, plan = swarm.team("team0"), swarm.proposal(*shapes.layered(NODES, 4))
    workers(at)
    made = [swarm.proposed(first, plan) for _ in range(SWARMS)]
    for pk in made:
        wait_for(partial(swarm.is_done, first, pk), "a swarm does not end", every=0.5)
        swarm.end(first, pk)
    for pk in made:
        wait_for(partial(swarm.is_ended, first, pk), "a swarm is not cancelled", every=0.5)
    wait_for(partial(swarm.relayed, first), "the relay does not come to its end", every=0.5)
    at.end()
    there = [first, *teams.copies(first, TEAMS - 1)]
    if (nodes := sum(map(_nodes, there))) != TEAMS * SWARMS * NODES:
        raise AssertionError(f"there are {nodes} nodes")
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")
    return {
        "engine.verify1000_s": typical([_look(Scope()) for _ in range(RUNS)], "s"),
        "engine.verify1000_replay_s": typical([_look(Scope(replay=True)) for _ in range(RUNS)], "s"),
    }


def _nodes(team: Team) -> int:
    with in_schema(team.schema_name):
        return Node.objects.filter(state="succeeded").count()


def _look(scope: Scope) -> float:
    began = time.perf_counter()
    report = verify(scope=scope)
    took = time.perf_counter() - began
    if not report.is_clean or report.teams != TEAMS:
        raise AssertionError(f"violations in {report.teams} teams: {report.violations[:3]}")
    return took
