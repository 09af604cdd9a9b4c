"""The engine's own cost a node, beside the floor of the same run."""

import os
from statistics import median

from bench import shapes, swarm
from bench.floors import postgres_loop
from bench.shapes import Edges
from bench.stage import Stage, wait_for

ROUNDS = 3


def quantile(values: list[float], share: float) -> float:
    """The value below which `share` of the sorted values lie."""
    return values[min(len(values) - 1, int(len(values) * share))]


def measure(at: Stage, of: swarm.Team, name: str, nodes: int, edges: Edges) -> dict[str, float]:
    """Median of some rounds; floor and engine take turns, so that both meet the same noise."""
    url = os.environ["DATABASE_URL"]
    floors, walls, cpus, waits = [], [], [], []
    plan = swarm.proposal(nodes, edges)
    for _ in range(ROUNDS):
        floors.append(postgres_loop(url, nodes, edges))
        made = swarm.proposed(of, plan)
        before = at.cpu()
        swarm.adopt(of, made)
        wait_for(lambda made=made: swarm.is_done(of, made), f"{name} does not end")  # type: ignore[misc]
        cpus.append(at.cpu() - before)
        walls.append(swarm.wall(of, made))
        waits.append(swarm.waits(of, made))
    best = sorted(waits, key=lambda found: quantile(found, 0.95))[len(waits) // 2]
    return {
        f"engine.{name}.ms_per_node": median(walls) * 1000 / nodes,
        f"engine.{name}.floor_ms_per_node": median(floors) * 1000 / nodes,
        f"engine.{name}.ratio": median(walls) / median(floors),
        f"engine.{name}.cpu_ms_per_node": median(cpus) * 1000 / nodes,
        f"engine.{name}.wait_p50_ms": quantile(best, 0.5),
        f"engine.{name}.wait_p95_ms": quantile(best, 0.95),
    }


def dags(at: Stage) -> dict[str, float]:
    """Chain, fan and layers."""
    of = swarm.team("bench")
    found = {}
    for name, shape in (("chain100", shapes.chain()), ("fan200", shapes.fan()), ("layered500", shapes.layered())):
        found |= measure(at, of, name, *shape)
    return found
