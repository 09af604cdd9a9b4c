"""What it costs to look before every query whether it runs in the scope of its team."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from django.db import connection

from bench import swarm
from bench.figures import Figures, typical
from bench.stage import Stage
from tenants.context import in_schema

ROUNDS, QUERIES, CALLS = 60, 400, 20_000


def measure(at: Stage) -> Figures:
    """Queries with the guard and without it, in turn, on one connection: the difference of each pair.

    A query takes several times what the guard does, so the pairs differ; the second figure is the guard by itself, on
    a query that never leaves the process.
    """
    with in_schema(swarm.team("bench").schema_name), connection.cursor() as cursor:
        query = _pairs(lambda: cursor.execute("SELECT 1"), QUERIES)
        alone = _pairs(lambda: cursor._execute_with_wrappers("SELECT 1", None, False, _nothing), CALLS)
    return {
        "engine.guard_us": typical([with_it - without for with_it, without in query], "µs a query"),
        "engine.guard_alone_us": typical([with_it - without for with_it, without in alone], "µs a query"),
        "engine.guard_query_us": typical([without for _, without in query], "µs a query"),
    }


def _nothing(sql: str, params: Any, many: bool, context: dict[str, Any]) -> None:
    """A query that takes no time."""


def _pairs(verb: Callable[[], object], times: int) -> list[tuple[float, float]]:
    """Microseconds a call with the guard and without it; every second pair begins without it."""
    found = []
    for number in range(ROUNDS):
        if number % 2:
            without = _bare(verb, times)
            found.append((_each(verb, times), without))
        else:
            found.append((_each(verb, times), _bare(verb, times)))
    return found


def _bare(verb: Callable[[], object], times: int) -> float:
    with _without_wrappers():
        return _each(verb, times)


def _each(verb: Callable[[], object], times: int) -> float:
    began = time.perf_counter()
    for _ in range(times):
        verb()
    return (time.perf_counter() - began) * 1e6 / times


@contextmanager
def _without_wrappers() -> Iterator[None]:
    kept = connection.execute_wrappers[:]
    if not kept:
        raise AssertionError("there is no guard")
    connection.execute_wrappers.clear()
    try:
        yield
    finally:
        connection.execute_wrappers.extend(kept)
