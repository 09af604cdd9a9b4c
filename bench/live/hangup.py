"""Five hundred clients that are gone at once, that only listen, and whose process ends and comes again."""

import signal
import time
from collections.abc import Sequence

from django.db import connection

from bench.figures import Figures, typical
from bench.live import scene
from bench.live.fanout import RATE, connections
from bench.live.scene import PER_TOPIC, Topic
from bench.stage import Stage, wait_for

CLIENTS, ROUNDS = 500, 3
QUIET = 3.0
"""Seconds after which whoever was let in has nothing more to ask of the database."""


def measure(at: Stage) -> Figures:
    """By turns, on one web process."""
    scene.platform(at)
    chosen = scene.topics(CLIENTS // PER_TOPIC)
    freed, held = zip(*(_gone(at, chosen) for _ in range(ROUNDS)), strict=True)
    exits, backs, lost = zip(*(_ended(at, chosen) for _ in range(ROUNDS)), strict=True)
    return {
        "live.gone500_freed_s": typical(list(freed), "s"),
        "live.idle500_connections": typical([max(held)], "connections"),
        "live.ended500_exit_s": typical(list(exits), "s"),
        "live.ended500_all_back_s": typical(list(backs), "s"),
        "live.ended500_lost": typical([max(lost)], "missing"),
    }


def _gone(at: Stage, chosen: Sequence[Topic]) -> tuple[float, float]:
    """Seconds until nothing is left of those whose process is killed; connections to the database that they held."""
    port = int(at.environment["WAGGLE_PORT"])
    with scene.readers(connections(chosen, lambda topic: scene.to_waggle(port, topic)), ends=False) as there:
        time.sleep(QUIET)
        with at.silence("ticker"):
            time.sleep(1)  # whatever it had begun is over
            held = _in_use()
        there.process.kill()
        began = time.monotonic()
        wait_for(lambda: _open(port) == 0, "streams of the dead stay open", seconds=60)
        return time.monotonic() - began, held


def _ended(at: Stage, chosen: Sequence[Topic]) -> tuple[float, float, float]:
    """Seconds from SIGTERM to the end of the process, from the next one's start until all are there again, and how many
    clients or deliveries are missing then, or came twice; events go on meanwhile."""
    port = int(at.environment["WAGGLE_PORT"])
    with scene.readers(connections(chosen, lambda topic: scene.to_waggle(port, topic))) as came:
        sent = scene.steadily(chosen, rate=RATE, seconds=1)
        process = at.processes["web"]
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        process.wait(60)
        exit_seconds = time.monotonic() - began
        sent |= scene.steadily(chosen, rate=RATE, seconds=1)
        began = time.monotonic()
        scene.serve(at, "web", "config.asgi:application", port)
        wait_for(lambda: _open(port) == CLIENTS, "not all clients came again")
        back_seconds = time.monotonic() - began
        sent |= scene.steadily(chosen, rate=RATE, seconds=1)
    wrong = sum(abs(PER_TOPIC - len(came.arrivals.get(topic, {}).get(seq, []))) for topic, seq in sent)
    return exit_seconds, back_seconds, wrong + came.lost


def _open(port: int) -> float:
    return scene.metric(port, "waggle_streams_open")


def _in_use() -> float:
    """Connections in which something goes on, but for this one."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND state <> 'idle'"
            " AND pid <> pg_backend_pid()"
        )
        return float(cursor.fetchone()[0])
