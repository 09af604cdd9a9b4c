"""A minimal claim-and-complete loop on the platform's Postgres: two processes, one fsynced commit a node."""

import multiprocessing
import time
from collections.abc import Callable
from typing import Any

import psycopg

from bench.floors import Floor, middle
from bench.shapes import Edges

SCHEMA = """
DROP SCHEMA IF EXISTS floor CASCADE; CREATE SCHEMA floor;
CREATE TABLE floor.node (
  id int PRIMARY KEY, state text NOT NULL, deps int NOT NULL, started_at timestamptz, ended_at timestamptz
);
CREATE TABLE floor.edge (parent int NOT NULL, child int NOT NULL);
CREATE INDEX ON floor.edge (parent, child);
CREATE INDEX ON floor.node (id) WHERE state = 'ready';
CREATE FUNCTION floor.step(p_id int, OUT next int, OUT released int, OUT is_over boolean) LANGUAGE plpgsql AS $$
BEGIN
  released := 0;
  IF p_id IS NOT NULL THEN
    UPDATE floor.node SET state = 'done', ended_at = clock_timestamp() WHERE id = p_id AND state = 'running';
    -- Children in the order of their ids: two processes must not wait for each other in a circle.
    WITH children AS (
      UPDATE floor.node n SET deps = deps - 1, state = CASE WHEN deps = 1 THEN 'ready' ELSE state END
      FROM (SELECT child FROM floor.edge WHERE parent = p_id ORDER BY child) e WHERE n.id = e.child RETURNING n.state
    ) SELECT count(*) INTO released FROM children WHERE state = 'ready';
  END IF;
  UPDATE floor.node n SET state = 'running', started_at = clock_timestamp() FROM (
    SELECT id FROM floor.node WHERE state = 'ready' ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED
  ) x WHERE n.id = x.id RETURNING n.id INTO next;
  is_over := next IS NULL AND NOT EXISTS (SELECT 1 FROM floor.node WHERE state <> 'done');
END $$;
"""
# Always through indexes: the fastest way here, and the only one that updates children in the order of their ids.
BY_INDEX = "-c enable_seqscan=off -c enable_hashjoin=off -c enable_mergejoin=off -c enable_bitmapscan=off"
_STEP = "SELECT next, released, is_over FROM floor.step(%s)"
_WALL = (
    "SELECT extract(epoch FROM max(ended_at) - min(started_at)), count(*) FILTER (WHERE state = 'done') FROM floor.node"
)


def _loop(url: str, go: Any, wakes: Any, spent: Any, commits: Any) -> None:
    """One fsynced commit a node: it completes this one, releases its children and claims the next. DAG after DAG."""
    with psycopg.connect(url, autocommit=True, prepare_threshold=0, options=BY_INDEX) as connection:
        while True:
            go.wait()
            began, count = time.process_time(), _carry(connection, wakes)
            spent.value, commits.value = time.process_time() - began, count
            go.wait()


def _carry(connection: psycopg.Connection[Any], wakes: Any) -> int:
    """A DAG, until all of it is done. Returns the number of commits."""
    node, commits = None, 0
    while True:
        row = connection.execute(_STEP, [node]).fetchone()
        assert row is not None
        commits += 1
        node, released, is_over = row
        if is_over:
            wakes.release()  # the other one is done as well
            return commits
        if released > (node is not None):
            wakes.release()  # there is more than this process takes
        if node is None:
            wakes.acquire(timeout=1)


def lay(connection: psycopg.Connection[Any], nodes: int, edges: Edges) -> None:
    """The tables of the floor, with a DAG in them."""
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


def run(url: str, nodes: int, edges: Edges, cpu: Callable[[], float], *, times: int = 1) -> Floor:
    """A DAG with two processes that claim and complete, and nothing else; the median of so many times.

    `cpu` tells the CPU seconds so far of the database, which nobody else should use meanwhile.
    """
    context = multiprocessing.get_context("spawn")
    # Both processes and this one: they begin together, and have ended when all of them are there again.
    go, wakes = context.Barrier(3), context.Semaphore(0)
    spent, commits = [context.Value("d", 0.0) for _ in range(2)], [context.Value("i", 0) for _ in range(2)]
    running = [
        context.Process(target=_loop, args=(url, go, wakes, one, many), daemon=True)
        for one, many in zip(spent, commits, strict=True)
    ]
    for process in running:
        process.start()
    found = []
    try:
        with psycopg.connect(url, autocommit=True) as connection:
            for _ in range(times):
                while wakes.acquire(block=False):
                    continue  # of the DAG before
                lay(connection, nodes, edges)
                before = cpu()
                go.wait(60)
                go.wait(60)
                used = cpu() - before + sum(one.value for one in spent)
                row = connection.execute(_WALL).fetchone()
                if row is None or row[1] != nodes:
                    raise AssertionError(f"the floor did {row and row[1]} of {nodes} nodes")
                found.append(Floor(float(row[0]), used, sum(many.value for many in commits)))
    finally:
        for process in running:
            process.terminate()
            process.join()
    return middle(found)
