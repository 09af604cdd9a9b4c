"""Whether a node costs the same in a small and in a large DAG."""

from statistics import median

from bench import shapes, swarm
from bench.engine.run import carry
from bench.figures import Figures, typical
from bench.stage import Stage, workers

SIZES = {100: 15, 1_000: 5, 10_000: 1}
"""Nodes to runs in a round; of the small ones more, since they are over at once and so at the mercy of the moment."""
ROUNDS = 5


def measure(at: Stage) -> Figures:
    """Layered DAGs, 20 wide, of 100 to 10,000 nodes: the largest cost a node over the smallest.

    Of the medians over all rounds: largest over smallest of single noisy runs grows with the noise.
    """
    of = swarm.team("bench")
    workers(at)
    plans = {nodes: swarm.proposal(*shapes.layered(nodes)) for nodes in SIZES}
    walls: dict[int, list[float]] = {nodes: [] for nodes in SIZES}
    cpus: dict[int, list[float]] = {nodes: [] for nodes in SIZES}
    for _ in range(ROUNDS):
        for nodes, runs in SIZES.items():
            costs = [carry(at, of, plans[nodes], every=0.05 if nodes < 10_000 else 0.5) for _ in range(runs)]
            walls[nodes].append(median(one.wall for one in costs) * 1000 / nodes)
            cpus[nodes].append(median(one.cpu for one in costs) * 1000 / nodes)
    return {
        **{f"engine.scaling.{nodes}_ms_per_node": typical(walls[nodes], "ms a node") for nodes in SIZES},
        **{f"engine.scaling.{nodes}_cpu_ms_per_node": typical(cpus[nodes], "ms a node") for nodes in SIZES},
        "engine.scaling": typical([max(map(median, walls.values())) / min(map(median, walls.values()))], "x"),
        "engine.scaling.growth": typical(
            [large / small for small, large in zip(walls[100], walls[10_000], strict=True)], "x"
        ),
        "engine.scaling.cpu_growth": typical(
            [large / small for small, large in zip(cpus[100], cpus[10_000], strict=True)], "x"
        ),
    }
