"""DAGs that are measured: number of nodes, and edges as (parent, child)."""

import json
import random
from collections.abc import Sequence
from pathlib import Path

Edges = Sequence[tuple[int, int]]
FIXED = Path(__file__).parent / "dag-layered-500.json"


def chain(length: int = 100) -> tuple[int, Edges]:
    """One after the other."""
    return length, [(n, n + 1) for n in range(length - 1)]


def fan(width: int = 200) -> tuple[int, Edges]:
    """One, then many, then one."""
    return width + 2, [(0, n) for n in range(1, width + 1)] + [(n, width + 1) for n in range(1, width + 1)]


def layered500() -> tuple[int, Edges]:
    """The layered DAG of 500 nodes, 20 wide, that other engines were measured with: its edges are kept in a file."""
    deps: dict[str, list[int]] = json.loads(FIXED.read_text())["deps"]
    return len(deps), [(parent, int(node)) for node, parents in deps.items() for parent in parents]


def layered(nodes: int, width: int = 20) -> tuple[int, Edges]:
    """Layers of `width` of any size; each node waits for one to three of the layer before. Always the same edges."""
    dice = random.Random(500)
    edges = [
        (parent, node)
        for node in range(width, nodes)
        for parent in dice.sample(range(node // width * width - width, node // width * width), dice.randint(1, 3))
    ]
    return nodes, edges
