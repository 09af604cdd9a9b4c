"""Raw Dramatiq on the platform's Valkey: two worker processes, counters in place of a graph. Nothing is durable."""

import json
import time
import uuid
from collections import Counter
from collections.abc import Callable

from bench.floors import Floor, middle
from bench.shapes import Edges
from bench.stage import Stage, wait_for

NAME = "counters"
"""Of its workers among the processes of the stage."""


def start(at: Stage) -> None:
    """Two worker processes of four threads, ready to work."""
    at.start(NAME, "-m", "dramatiq", "bench.floors.messages:broker", "--processes", "2", "--threads", "4")
    wait_for(lambda: at.log(NAME).count("is ready for action") == 2, "the workers of raw Dramatiq do not start")


def run(nodes: int, edges: Edges, cpu: Callable[[], float], *, times: int = 1) -> Floor:
    """A DAG by messages and counters, the median of so many times.

    `cpu` tells the CPU seconds so far of its workers and of Valkey.
    """
    return middle([_once(nodes, edges, cpu) for _ in range(times)])


def _once(nodes: int, edges: Edges, cpu: Callable[[], float]) -> Floor:
    from bench.floors.messages import client, node

    name = uuid.uuid4().hex
    children: dict[int, list[int]] = {}
    for parent, child in edges:
        children.setdefault(parent, []).append(child)
    left = Counter(child for _, child in edges)
    client.set(f"{name}:children", json.dumps(children))
    if left:
        client.hset(f"{name}:left", mapping={str(child): count for child, count in left.items()})
    before = cpu()
    for root in range(nodes):
        if root not in left:
            node.send(name, root)
    wait_for(lambda: bool(client.hlen(f"{name}:times") == nodes), "raw Dramatiq does not end", every=0.05)
    time.sleep(0.1)  # the last messages are acknowledged
    used = cpu() - before
    times = [tuple(map(float, one.split())) for one in client.hvals(f"{name}:times")]
    client.delete(*(f"{name}:{what}" for what in ("children", "left", "times")))
    return Floor(max(ended for _, ended in times) - min(began for began, _ in times), used, 0)
