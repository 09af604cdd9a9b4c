"""What the same machine does with next to nothing around it, in the same run."""

import multiprocessing
import time
from collections.abc import Callable
from typing import Any

import psycopg

from bench.shapes import Edges

SCHEMA = """
DROP SCHEMA IF EXISTS floor CASCADE; CREATE SCHEMA floor;
CREATE TABLE floor.node (id int PRIMARY KEY, state text NOT NULL, deps int NOT NULL);
CREATE TABLE floor.edge (parent int NOT NULL, child int NOT NULL);
CREATE INDEX ON floor.edge (parent);
CREATE INDEX ON floor.node (id) WHERE state = 'ready';
"""
# One fsynced commit a node: it completes this one, releases its children and claims the next.
STEP = """
WITH done AS (UPDATE floor.node SET state = 'done' WHERE id = %(id)s AND state = 'running' RETURNING id),
released AS (
  UPDATE floor.node n SET deps = deps - 1, state = CASE WHEN deps = 1 THEN 'ready' ELSE state END
  FROM floor.edge e, done WHERE e.parent = done.id AND n.id = e.child RETURNING n.id, n.state
), next AS (
  SELECT id FROM floor.node WHERE state = 'ready' ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED
), claimed AS (
  UPDATE floor.node n SET state = 'running' FROM next WHERE n.id = next.id RETURNING n.id
) SELECT (SELECT id FROM claimed), (SELECT count(*) FROM released WHERE state = 'ready')
"""
_CLAIM = """
UPDATE floor.node n SET state = 'running' FROM (
  SELECT id FROM floor.node WHERE state = 'ready' ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED
) x WHERE n.id = x.id RETURNING n.id
"""


def _loop(url: str, go: Any, cpu: Any) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        go.wait()
        began = time.process_time()
        node = None
        while True:
            row = connection.execute(STEP, {"id": node}).fetchone() if node is not None else None
            node = row[0] if row else None
            if node is None:
                # What this very statement released it does not see: claim by itself.
                row = connection.execute(_CLAIM).fetchone()
                node = row[0] if row else None
            if node is None:
                left = connection.execute("SELECT 1 FROM floor.node WHERE state <> 'done' LIMIT 1").fetchone()
                if left is None:
                    break
                time.sleep(0.0005)
        cpu.value = time.process_time() - began


def postgres_loop(
    url: str, nodes: int, edges: Edges, services: Callable[[], float] = lambda: 0.0
) -> tuple[float, float]:
    """Seconds, and CPU seconds, for a DAG with two processes that claim and complete, and nothing else.

    `services` tells the CPU seconds so far of the database.
    """
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(SCHEMA)
        deps = [0] * nodes
        for _, child in edges:
            deps[child] += 1
        with connection.cursor() as cursor:
            cursor.executemany(
                "INSERT INTO floor.node VALUES (%s, %s, %s)",
                [(n, "ready" if not deps[n] else "blocked", deps[n]) for n in range(nodes)],
            )
            cursor.executemany("INSERT INTO floor.edge VALUES (%s, %s)", edges)
        connection.execute("ANALYZE floor.node, floor.edge")
    context = multiprocessing.get_context("spawn")
    go, cpus = context.Event(), [context.Value("d", 0.0) for _ in range(2)]
    running = [context.Process(target=_loop, args=(url, go, cpu)) for cpu in cpus]
    for process in running:
        process.start()
    time.sleep(1)
    before, began = services(), time.monotonic()
    go.set()
    for process in running:
        process.join()
    seconds = time.monotonic() - began
    return seconds, services() - before + sum(cpu.value for cpu in cpus)
