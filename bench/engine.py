"""The engine's own cost a node, beside the floor of the same run."""

import os
import random
import time
from functools import partial
from statistics import median
from uuid import UUID

from django.db import connection

from bench import shapes, swarm
from bench.floors import postgres_loop
from bench.shapes import Edges
from bench.stage import Stage, seconds_of, wait_for
from tenants.context import PUBLIC, in_schema
from tenants.models import Team

Figures = dict[str, float]
ROUNDS = 5


def quantile(values: list[float], share: float) -> float:
    """The value below which `share` of the values lie."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def commits() -> int:
    """Commits of this database so far."""
    with in_schema(PUBLIC), connection.cursor() as cursor:
        cursor.execute("SELECT pg_stat_force_next_flush()")
        cursor.execute("SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()")
        return int(cursor.fetchone()[0])


def cpu_of_platform(at: Stage) -> float:
    """CPU seconds so far of the platform and its databases, without what this process costs them: it only looks."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        return at.cpu() - seconds_of(int(cursor.fetchone()[0]))


def run(of: Team, made: UUID) -> None:
    """Adopt a proposed swarm and wait until all its nodes have ended."""
    swarm.adopt(of, made)
    wait_for(partial(swarm.is_done, of, made), "a swarm does not end")


def measure(at: Stage, of: Team, name: str, nodes: int, edges: Edges) -> Figures:
    """Medians of some rounds; floor and engine take turns, so that both meet the same noise."""
    url, plan = os.environ["DATABASE_URL"], swarm.proposal(nodes, edges)
    floors, walls, cpus, waits, spent = [], [], [], [], []
    for _ in range(ROUNDS):
        with at.silence():
            floors.append(postgres_loop(url, nodes, edges, at.cpu_of_services))
        time.sleep(0.5)  # what the clock missed meanwhile is done
        made = swarm.proposed(of, plan)
        before, committed = cpu_of_platform(at), commits()
        run(of, made)
        time.sleep(0.3)  # the relay comes to its end, too
        cpus.append(cpu_of_platform(at) - before)
        spent.append(commits() - committed)
        walls.append(swarm.wall(of, made))
        waits.append(swarm.waits(of, made))
    floor = median(one.seconds for one in floors)
    floor_cpu = median(one.cpu for one in floors)
    usual = sorted(waits, key=lambda found: quantile(found, 0.95))[ROUNDS // 2]
    return {
        f"engine.{name}.ms_per_node": median(walls) * 1000 / nodes,
        f"engine.{name}.floor_ms_per_node": floor * 1000 / nodes,
        f"engine.{name}.ratio": median(walls) / floor,
        f"engine.{name}.cpu_ms_per_node": median(cpus) * 1000 / nodes,
        f"engine.{name}.floor_cpu_ms_per_node": floor_cpu * 1000 / nodes,
        f"engine.{name}.cpu_ratio": median(cpus) / floor_cpu,
        f"engine.{name}.commits_per_node": median(spent) / nodes,
        f"engine.{name}.floor_commits_per_node": median(one.commits for one in floors) / nodes,
        f"engine.{name}.wait_p50_ms": quantile(usual, 0.5),
        f"engine.{name}.wait_p95_ms": quantile(usual, 0.95),
    }


def dags(at: Stage, of: Team) -> Figures:
    """Chain, fan and layers; how long a ready node waits, over all of them."""
    found: Figures = {}
    for name, shape in (("chain100", shapes.chain()), ("fan200", shapes.fan()), ("layered500", shapes.layered())):
        found |= measure(at, of, name, *shape)
    names = ("chain100", "fan200", "layered500")
    found["engine.cpu_ratio"] = max(found[f"engine.{name}.cpu_ratio"] for name in names)
    found["engine.ready_to_started_p95_ms"] = max(found[f"engine.{name}.wait_p95_ms"] for name in names)
    return found


def idle(at: Stage, of: Team) -> Figures:
    """From the submission of a swarm after 4 s of idleness to the start of its first node."""
    took, plan = [], swarm.proposal(*shapes.chain(3))
    for _ in range(12):
        time.sleep(4)
        began = time.time()
        made = swarm.proposed(of, plan)
        wait_for(partial(swarm.is_done, of, made), "a swarm does not end")
        took.append((swarm.first_start(of, made) - began) * 1000)
    return {"engine.idle_to_started_p95_ms": quantile(took, 0.95), "engine.idle_to_started_p50_ms": median(took)}


def scaling(at: Stage, of: Team) -> Figures:
    """Cost a node of layered DAGs of 100 to 10,000 nodes: the largest over the smallest."""
    costs = {}
    for nodes in (100, 1_000, 10_000):
        plan = swarm.proposal(*shapes.layered(nodes))
        walls = []
        for _ in range(5 if nodes < 10_000 else 2):
            made = swarm.proposed(of, plan)
            run(of, made)
            walls.append(swarm.wall(of, made))
        costs[nodes] = median(walls) * 1000 / nodes
    found = {f"engine.scaling.{nodes}_ms_per_node": cost for nodes, cost in costs.items()}
    return found | {"engine.scaling": costs[10_000] / costs[100]}


def crowd(at: Stage, of: Team) -> Figures:
    """Fifty swarms of twenty nodes over ten teams at once."""
    teams = [swarm.team(f"crowd{n}") for n in range(10)]
    plan = swarm.proposal(*shapes.layered(20, 4))
    made = [(one, swarm.proposed(one, plan)) for one in teams for _ in range(5)]
    random.Random(50).shuffle(made)
    before, began = at.cpu(), time.monotonic()
    for one, pk in made:
        swarm.adopt(one, pk)
    for one, pk in made:
        wait_for(partial(swarm.is_done, one, pk), "a swarm of the crowd does not end")
    seconds = time.monotonic() - began
    return {
        "engine.swarms50.ms_per_node": seconds,
        "engine.swarms50.cpu_ms_per_node": (at.cpu() - before),
    }
