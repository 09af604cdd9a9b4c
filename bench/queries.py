"""Single operations under load: the next turn of many, a long plan, a tick over many teams, events, the guard."""

import time
from collections.abc import Callable
from statistics import median
from typing import Any
from uuid import UUID

from django.db import connection, transaction

from bench import shapes, swarm
from bench.engine import Figures, quantile
from bench.stage import Stage
from sessions.events import publish
from swarms import graph, reconcile
from tenants import turns
from tenants.context import PUBLIC, in_schema
from tenants.ids import uuid7
from tenants.models import Runner, Team, TeamShare, Ticket

FACT: dict[str, Any] = {"by": "engine", "what": "nothing", "why": "to be measured"}


def timed(verb: Callable[[], object], *, times: int = 20) -> list[float]:
    """Milliseconds of each of some calls."""
    took = []
    for _ in range(times):
        began = time.perf_counter()
        verb()
        took.append((time.perf_counter() - began) * 1000)
    return took


def plans(at: Stage, of: Team) -> Figures:
    """Faults, warnings and path lengths of a plan of 5,000 nodes."""
    plan = swarm.proposal(*shapes.layered(5_000))

    def look() -> None:
        if found := graph.faults(plan, max_nodes=5_000):
            raise AssertionError(found[:3])
        graph.warnings(plan)
        graph.path_lengths({node.key: node.depends_on for node in plan.nodes})

    return {"engine.validate5000_ms": median(timed(look, times=5))}


def ready(at: Stage, of: Team) -> Figures:
    """The next ticket when 10,000 and 100,000 wait, over ten teams."""
    found: Figures = {}
    at.end()
    with in_schema(PUBLIC):
        teams = list(TeamShare.objects.values_list("team", flat=True)[:10])
        runner = Runner(name="bench", capacity=4)
        empty = median(timed(lambda: _fetch("SELECT 1")))
        for count in (10_000, 100_000):
            Ticket.objects.all().delete()
            rows = (Ticket(team_id=teams[n % 10], kind="node", subject=uuid7(), path=n % 7) for n in range(count))
            Ticket.objects.bulk_create(rows, batch_size=5_000)
            with connection.cursor() as cursor:
                cursor.execute("ANALYZE public.tenants_ticket")
            took = timed(lambda: _next(runner), times=50)
            found[f"engine.ready_query_{count // 1000}k_ms"] = median(took)
        Ticket.objects.all().delete()
    return found | {"engine.ready_query_floor_ms": empty}


def _fetch(sql: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(sql)
        cursor.fetchall()


def _next(runner: Runner) -> None:
    with transaction.atomic():
        if turns.next_ticket(runner) is None:
            raise AssertionError("nobody's turn, and many wait")


def thousand(at: Stage, of: Team) -> Figures:
    """A tick when 1,000 teams have schemas and 20 of them work: their rows in public, their schemas without tables."""
    at.end()
    with in_schema(PUBLIC):
        have = Team.objects.count()
        made = [Team(schema_name=f"t_bench{n:04}", name=f"bench {n}", state="ready") for n in range(1_000 - have)]
        Team.objects.bulk_create(made)
        TeamShare.objects.bulk_create(TeamShare(team=team) for team in made)
        with connection.cursor() as cursor:
            for team in made:
                cursor.execute(f'CREATE SCHEMA "{team.schema_name}"')
        later = [
            Ticket(team_id=team, kind="node", subject=uuid7(), lane="agent")
            for team in TeamShare.objects.values_list("team", flat=True)[:20]
        ]
        Ticket.objects.bulk_create(later)
        took = timed(reconcile.tick, times=30)
        Ticket.objects.all().delete()
    return {"engine.teams1000_tick_ms": quantile(took, 0.5), "engine.teams1000_tick_p95_ms": quantile(took, 0.95)}


def events(at: Stage, of: Team) -> Figures:
    """Durable events a second on one swarm's row, one commit each, and what the query guard costs."""
    subject = f"swarm:{UUID(int=1)}"
    with in_schema(of.schema_name):
        began = time.perf_counter()
        for _ in range(1_000):
            publish(subject, "decision.made", **FACT)
        rate = 1_000 / (time.perf_counter() - began)
        with connection.cursor() as cursor:
            guarded = median(timed(lambda: [cursor.execute("SELECT 1") for _ in range(200)], times=15)) / 200
            wrappers = connection.execute_wrappers[:]
            connection.execute_wrappers.clear()
            try:
                bare = median(timed(lambda: [cursor.execute("SELECT 1") for _ in range(200)], times=15)) / 200
            finally:
                connection.execute_wrappers.extend(wrappers)
    return {"engine.events_per_second_one_swarm": rate, "engine.guard_us": max(0.0, (guarded - bare) * 1000)}
