"""A thousand clients in topics of ten, beside the least that serves the same; then two thousand, of whom none may miss
anything."""

import time
from collections.abc import Sequence

from bench.figures import Figures, ratio, tail, typical
from bench.live import scene
from bench.live.fanout import ROUNDS, Served, beside, connections, one_round, serve
from bench.live.scene import PER_TOPIC, Topic
from bench.stage import Stage

BUSY = 200.0
"""Events a second."""


def measure(at: Stage) -> Figures:
    """Fifty events a second on one web process, and two hundred."""
    scene.platform(at)
    chosen = scene.topics(200)
    served = serve(at, chosen)
    found = _weight(chosen[:100], served)
    rounds = beside(chosen[:100], served)
    found |= rounds.figures("1000") | {
        "live.commit_to_client1000_p95_ms": tail(rounds.waits, "ms"),
        "live.fanout1000_p99_ms": tail(rounds.fans, "ms", 0.99),
        "live.cpu_us_per_delivery": typical(rounds.cpus, "us"),
        "live.floor_starlette_cpu_us_per_delivery": typical(rounds.floor_cpus, "us"),
        "live.floor_bare_cpu_us_per_delivery": typical(rounds.bare_cpus, "us"),
        "live.cpu_ratio1000": ratio(rounds.cpus, rounds.floor_cpus, "x floor"),
        "live.encodes_per_event": typical(rounds.encodes, "encodings"),
    }
    return found | _busy(chosen[:100], served) | _many(chosen, served)


def _busy(chosen: Sequence[Topic], served: Served) -> Figures:
    """Events that follow each other so fast that they share wake-ups."""
    ways = (served.bares, served.bare), (served.ours, served.web)
    bare, ours = zip(*([one_round(chosen, *way, rate=BUSY)[2] for way in ways] for _ in range(ROUNDS)), strict=True)
    return {
        "live.busy.cpu_us_per_delivery": typical(list(ours), "us"),
        "live.busy.floor_bare_cpu_us_per_delivery": typical(list(bare), "us"),
    }


def _weight(chosen: Sequence[Topic], served: Served) -> Figures:
    """What clients weigh that only listen; once, for memory that is let go of is used again."""
    before = scene.rss_kb(served.web)
    with scene.readers(connections(chosen, served.ours)) as came:
        time.sleep(2)
        weight = (scene.rss_kb(served.web) - before) / came.count
    return {"live.kb_per_client": typical([weight], "KB")}


def _many(chosen: Sequence[Topic], served: Served) -> Figures:
    sent, came, _ = one_round(chosen, served.ours, served.web)
    lost = scene.missed(sent, came, PER_TOPIC) + came.lost
    waits = [
        (arrival - moment) * 1000
        for (topic, seq), moment in sent.items()
        for arrival in came.arrivals.get(topic, {}).get(seq, [])
    ]
    return {
        "live.lost2000": typical([lost], "deliveries"),
        "live.commit_to_client2000_p99_ms": tail([waits], "ms", 0.99),
    }
