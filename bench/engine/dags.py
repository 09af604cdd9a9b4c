"""Chain, fan and layers: what a node costs, beside two floors that are measured in turn with it."""

import os

from bench import shapes, swarm
from bench.engine.run import Cost, carry
from bench.figures import Figure, Figures, ratio, tail, typical
from bench.floors import Floor, dramatiq_counters, postgres
from bench.stage import Stage, workers
from tenants.models import Team

ROUNDS = 7
FLOORS = 3
"""A floor takes a tenth of a second: the median of so many stands for it in a round."""
PARTS = ("worker", "postgres", "ticker", "valkey")
DAGS = {"chain100": shapes.chain, "fan200": shapes.fan, "layered500": shapes.layered500}


def measure(at: Stage) -> Figures:
    """The three DAGs that other engines were measured with."""
    of = swarm.team("bench")
    workers(at)
    dramatiq_counters.start(at)
    found: Figures = {}
    ours, floor = [0.0] * ROUNDS, [0.0] * ROUNDS
    for name, shape in DAGS.items():
        figures, cpu, floor_cpu = _dag(at, of, f"engine.{name}", *shape())
        found |= figures
        ours = [total + one for total, one in zip(ours, cpu, strict=True)]
        floor = [total + one for total, one in zip(floor, floor_cpu, strict=True)]
    return found | {
        # A node of the three DAGs, on average; what one costs in each of them is told with the DAG.
        "engine.cpu_ratio": ratio(ours, floor, "x floor"),
        "engine.ready_to_started_p95_ms": max(
            (found[f"engine.{name}.wait_p95_ms"] for name in DAGS), key=lambda figure: figure.value
        ),
    }


def _share(cost: Cost, part: str) -> float:
    """CPU seconds of one kind of process."""
    return sum(seconds for name, seconds in cost.parts.items() if name.partition("-")[0] == part)


def _dag(at: Stage, of: Team, name: str, nodes: int, edges: shapes.Edges) -> tuple[Figures, list[float], list[float]]:
    """Figures of one DAG; CPU seconds of each round, and of its floor."""
    plan, url = swarm.proposal(nodes, edges), os.environ["DATABASE_URL"]
    ours: list[Cost] = []
    loops: list[Floor] = []
    messages: list[Floor] = []
    for _ in range(ROUNDS):
        with at.silence():
            loops.append(postgres.run(url, nodes, edges, at.cpu_of_services, times=FLOORS))
        with at.silence(*at.processes.keys() - {dramatiq_counters.NAME}):
            messages.append(dramatiq_counters.run(nodes, edges, at.cpu, times=FLOORS))
        with at.silence(dramatiq_counters.NAME):
            ours.append(carry(at, of, plan))

    def each(seconds: list[float]) -> Figure:
        return typical([one * 1000 / nodes for one in seconds], "ms a node")

    wall, cpu = [one.wall for one in ours], [one.cpu for one in ours]
    floor, floor_cpu = [one.seconds for one in loops], [one.cpu for one in loops]
    raw, raw_cpu = [one.seconds for one in messages], [one.cpu for one in messages]
    waits = [one.waits for one in ours]
    figures = {
        f"{name}.ms_per_node": each(wall),
        f"{name}.floor_ms_per_node": each(floor),
        f"{name}.dramatiq_ms_per_node": each(raw),
        f"{name}.ratio": ratio(wall, floor, "x floor"),
        f"{name}.dramatiq_ratio": ratio(wall, raw, "x raw Dramatiq"),
        f"{name}.cpu_ms_per_node": each(cpu),
        f"{name}.floor_cpu_ms_per_node": each(floor_cpu),
        f"{name}.dramatiq_cpu_ms_per_node": each(raw_cpu),
        f"{name}.cpu_ratio": ratio(cpu, floor_cpu, "x floor"),
        f"{name}.dramatiq_cpu_ratio": ratio(cpu, raw_cpu, "x raw Dramatiq"),
        **{f"{name}.cpu_{part}_ms_per_node": each([_share(one, part) for one in ours]) for part in PARTS},
        f"{name}.commits_per_node": typical([one.commits / nodes for one in ours], "commits a node"),
        f"{name}.floor_commits_per_node": typical([one.commits / nodes for one in loops], "commits a node"),
        f"{name}.wait_p50_ms": tail(waits, "ms", 0.5),
        f"{name}.wait_p95_ms": tail(waits, "ms"),
        f"{name}.adoption_ms_per_node": each([one.adoption for one in ours]),
        f"{name}.adoption_cpu_ms_per_node": each([one.adoption_cpu for one in ours]),
    }
    return figures, cpu, floor_cpu
