"""What other engines took for the same three DAGs, measured once, on another day, on a machine of the same kind.

2 cores, Python 3.11, Postgres 15 with fsync, Redis 7.0 without a log, two worker processes for each distributed engine.
Each was compared with raw Dramatiq of its own day: wall and CPU a node as multiples of it, for chain, fan and layers.
"""

from typing import NamedTuple

Times = tuple[float | None, float | None]
"""Wall and CPU a node over those of raw Dramatiq; None: not measured on a quiet machine."""


class Peer(NamedTuple):
    """An engine."""

    name: str
    keeps: str
    """What is durable, and where it runs."""
    chain: Times
    fan: Times
    layers: Times


RAW = (6.24, 1.23, 0.792)
"""Milliseconds a node that raw Dramatiq took on that day: chain, fan, layers."""
PEERS = (
    Peer("Dramatiq 2.2.1, counters", "nothing", (1, 1), (1, 1), (1, 1)),
    Peer("a minimal loop on Postgres", "every node, fsync", (0.183, 0.208), (0.476, 0.524), (0.562, 0.526)),
    Peer("Celery 5.7.0, counters", "nothing", (0.607, 1.62), (1.85, 2.76), (2.5, 3.11)),
    Peer("Celery 5.7.0, canvas", "nothing; layer by layer", (0.679, 1.88), (2.37, 3.28), (15, 17)),
    Peer("Restate 1.7.12, run", "every step; one process", (0.441, 1.08), (0.458, 0.524), (0.571, 0.484)),
    Peer("Restate 1.7.12, call", "every step", (2.62, 4.38), (2.3, 2.76), (5.62, 4.74)),
    Peer("LangGraph 1.2.22", "every layer; one process", (0.475, 1.1), (0.909, 0.953), (1.86, 1.44)),
    Peer("Procrastinate 3.10.0, counters", "every node, fsync", (1.95, 4.17), (3.67, 4.69), (4.67, 5.37)),
    Peer("DBOS 3.4.0, steps", "every step, fsync; one process", (0.948, 2.38), (4.9, 6.9), (7.74, 7.11)),
    Peer("DBOS 3.4.0, queue (50 ms polls)", "every step, fsync", (13, 17), (29, 23), (41, 24)),
    Peer("Temporal 1.32.0, activities", "every activity; SQLite", (6.48, 12), (9, 13), (11, 11)),
    Peer("Prefect 3.8.8", "states, later; SQLite", (3.93, 13), (36, 35), (28, 26)),
)
