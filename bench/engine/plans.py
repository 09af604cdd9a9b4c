"""Validating a long plan."""

import time

from bench import shapes, swarm
from bench.figures import Figures, typical
from bench.stage import Stage
from swarms import graph

NODES, RUNS = 5_000, 15


def measure(at: Stage) -> Figures:
    """Faults, warnings and path lengths of a plan of 5,000 nodes, each of which writes a path of its own."""
    plan = swarm.proposal(*shapes.layered(NODES))
    writing = plan.model_copy(
        update={
            "nodes": tuple(
                node.model_copy(
                    update={
                        "kind": "agent",
                        "role": "developer",
                        "instructions": f"Write part {number}.",
                        "writes": (f"part{number}/**",),
                    }
                )
                for number, node in enumerate(plan.nodes)
            )
        }
    )
    took = []
    for _ in range(RUNS):
        began = time.perf_counter()
        if found := graph.faults(writing, max_nodes=NODES):
            raise AssertionError(found[:3])
        graph.warnings(writing)
        graph.path_lengths({node.key: node.depends_on for node in writing.nodes})
        took.append((time.perf_counter() - began) * 1000)
    return {"engine.validate5000_ms": typical(took, "ms")}
