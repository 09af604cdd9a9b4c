"""DAGs that are measured: number of nodes, and edges as (parent, child)."""

import random

Edges = list[tuple[int, int]]


def chain(length: int = 100) -> tuple[int, Edges]:
    """One after the other."""
    return length, [(n, n + 1) for n in range(length - 1)]


def fan(width: int = 200) -> tuple[int, Edges]:
    """One, then many, then one."""
    return width + 2, [(0, n) for n in range(1, width + 1)] + [(n, width + 1) for n in range(1, width + 1)]


def layered(nodes: int = 500, width: int = 20) -> tuple[int, Edges]:
    """Layers of `width`; each node waits for one to three of the layer before. The same edges every time."""
    dice = random.Random(500)
    edges = [
        (parent, node)
        for node in range(width, nodes)
        for parent in dice.sample(range(node // width * width - width, node // width * width), dice.randint(1, 3))
    ]
    return nodes, edges
