"""Durable events on one swarm's row, whose numbers must have no gap: several writers at once."""

import threading
import time
from functools import partial
from typing import Any
from uuid import UUID

from django.db import connection

from bench import swarm
from bench.figures import Figures, tail, typical
from bench.stage import Stage, wait_for, workers
from sessions.events import publish
from sessions.models import Event
from tenants.context import in_schema
from tenants.models import Team

WRITERS, EVENTS, ROUNDS = 8, 1_600, 3
SUBJECT = f"swarm:{UUID(int=1)}"
FACT: dict[str, Any] = {"by": "engine", "what": "nothing", "why": "to be measured"}


def measure(at: Stage) -> Figures:
    """One commit an event, while the relay publishes them: by one connection, and by eight at once."""
    of = swarm.team("bench")
    workers(at)
    alone, together, took, behind = [], [], [], []
    for _ in range(ROUNDS):
        alone.append(_rate(of, 1)[0])
        rate, waits, lag = _rate(of, WRITERS)
        together.append(rate)
        took.append(waits)
        behind.append(lag)
    _check(of)
    return {
        "engine.events_per_second_one_swarm": typical(together, "events/s"),
        "engine.events_per_second_one_writer": typical(alone, "events/s"),
        "engine.event_p95_ms": tail(took, "ms"),
        "engine.events_relay_behind_ms": typical(behind, "ms"),
    }


def _rate(of: Team, writers: int) -> tuple[float, list[float], float]:
    """Events a second, milliseconds of each, and milliseconds until the relay had published the last one."""
    start = threading.Barrier(writers + 1)
    took: list[list[float]] = [[] for _ in range(writers)]
    threads = [threading.Thread(target=_write, args=(of, start, EVENTS // writers, waits)) for waits in took]
    for thread in threads:
        thread.start()
    start.wait()
    began = time.perf_counter()
    for thread in threads:
        thread.join()
    seconds, ended = time.perf_counter() - began, time.perf_counter()
    wait_for(partial(swarm.relayed, of), "the relay does not come to its end", every=0.01)
    behind = (time.perf_counter() - ended) * 1000
    waits = [one for some in took for one in some]
    if len(waits) != EVENTS:
        raise AssertionError(f"{len(waits)} of {EVENTS} events were written")
    return EVENTS / seconds, waits, behind


def _write(of: Team, start: threading.Barrier, count: int, waits: list[float]) -> None:
    """A writer with a connection of its own."""
    try:
        with in_schema(of.schema_name):
            with connection.cursor() as cursor:
                cursor.execute("SELECT 1")
            start.wait()
            for _ in range(count):
                began = time.perf_counter()
                publish(SUBJECT, "decision.made", **FACT)
                waits.append((time.perf_counter() - began) * 1000)
    finally:
        connection.close()


def _check(of: Team) -> None:
    """What was measured is what is promised: no gap, nothing double."""
    with in_schema(of.schema_name):
        numbers = sorted(Event.objects.filter(subject=SUBJECT).values_list("seq", flat=True))
    if numbers != list(range(1, 2 * ROUNDS * EVENTS + 1)):
        raise AssertionError("the numbers of the events have gaps")
