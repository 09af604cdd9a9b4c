"""From a commit to many clients in topics of ten, beside the least that serves the same, bare TCP, and Redis alone."""

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from bench.figures import Figures, quantile, ratio, tail, typical
from bench.floors import wire
from bench.live import scene
from bench.live.scene import PER_TOPIC, Readers, Sent, Topic
from bench.stage import Stage, seconds_of
from config.services.ports import free_port
from sessions.topics import stream_key

RATE, SECONDS, ROUNDS = 50.0, 10.0, 3
SETTLED = 2.0
"""Seconds of events before those that are measured: letting so many in at once is not what a delivery costs."""
Connect = Callable[[Topic], dict[str, Any]]


def measure(at: Stage) -> Figures:
    """Two hundred clients and fifty events a second, then a thousand; by turns with the floor, which reads the same
    streams. Then two thousand on one process, of whom none may miss anything."""
    scene.platform(at)
    chosen = scene.topics(200)
    port, floor_port = int(at.environment["WAGGLE_PORT"]), free_port()
    keys = " ".join(sorted({stream_key(topic.team.schema_name) for topic in chosen}))
    floor = {"FLOOR_REDIS": scene.redis_url(), "FLOOR_STREAMS": keys}
    scene.serve(at, "floor", "bench.floors.least_reader:application", floor_port, **floor)
    ours, theirs = partial(scene.to_waggle, port), partial(_to_floor, floor_port)
    found: Figures = {"live.floor_redis_p95_ms": tail([wire.xadd_to_xread(scene.redis_url())], "ms")}
    found["live.floor_tcp200_p95_ms"] = tail([_tcp(chosen[:20])], "ms")
    found |= _weight(at, chosen[:100], ours)
    found |= _beside(at, "200", chosen[:20], ours, theirs)
    found |= _beside(at, "1000", chosen[:100], ours, theirs)
    found |= _many(at, chosen, ours)
    return found


def _to_floor(port: int, topic: Topic) -> dict[str, Any]:
    request = f"GET /events?topic={topic.name} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    return {"port": port, "topic": topic.name, "request": request}


def _connections(chosen: Sequence[Topic], connect: Connect) -> list[dict[str, Any]]:
    return [connect(topic) for topic in chosen for _ in range(PER_TOPIC)]


def _round(chosen: Sequence[Topic], connect: Connect, process: int) -> tuple[Sent, Readers, float]:
    """What was sent, what came, and the microseconds of the server's processor that a delivery took."""
    with scene.readers(_connections(chosen, connect)) as came:
        scene.steadily(chosen, rate=RATE, seconds=SETTLED)
        used = seconds_of(process)
        sent = scene.steadily(chosen, rate=RATE, seconds=SECONDS)
        used = seconds_of(process) - used
    return sent, came, used * 1e6 / (len(sent) * PER_TOPIC)


def _beside(at: Stage, name: str, chosen: Sequence[Topic], ours: Connect, theirs: Connect) -> Figures:
    """Ours and the floor by turns, both fed by the same relay."""
    waits, floors, fans, cpus, floor_cpus, encodes = [], [], [], [], [], []
    port, process, floor = int(at.environment["WAGGLE_PORT"]), at.processes["web"].pid, at.processes["floor"].pid
    for _ in range(ROUNDS):
        sent, came, cpu = _round(chosen, theirs, floor)
        floors.append(scene.delays(sent, came, PER_TOPIC))
        floor_cpus.append(cpu)
        encoded = scene.metric(port, "waggle_stream_encoded_total")
        sent, came, cpu = _round(chosen, ours, process)
        waits.append(scene.delays(sent, came, PER_TOPIC))
        fans.append(_fans(sent, came))
        cpus.append(cpu)
        encodes.append((scene.metric(port, "waggle_stream_encoded_total") - encoded) / (RATE * (SETTLED + SECONDS)))
    each, least = [quantile(run, 0.95) for run in waits], [quantile(run, 0.95) for run in floors]
    found = {
        f"live.ratio{name}": ratio(each, least, "x floor"),
        f"live.floor_starlette{name}_p95_ms": tail(floors, "ms"),
        f"live.commit_to_client{name}_p99_ms": tail(waits, "ms", 0.99),
    }
    if name == "200":
        return found | {"live.commit_to_client_p95_ms": tail(waits, "ms")}
    return found | {
        "live.commit_to_client1000_p95_ms": tail(waits, "ms"),
        "live.fanout1000_p99_ms": tail(fans, "ms", 0.99),
        "live.cpu_us_per_delivery": typical(cpus, "us"),
        "live.floor_starlette_cpu_us_per_delivery": typical(floor_cpus, "us"),
        "live.encodes_per_event": typical(encodes, "encodings"),
    }


def _fans(sent: Sent, came: Readers) -> list[float]:
    """Milliseconds from the first reader of an event to each of them: how long one event takes to fan out."""
    found = []
    for topic, seq in sent:
        arrivals = came.arrivals[topic][seq]
        found += [(arrival - min(arrivals)) * 1000 for arrival in arrivals]
    return found


def _weight(at: Stage, chosen: Sequence[Topic], ours: Connect) -> Figures:
    """What a thousand clients weigh that only listen; once, for memory that is let go of is used again."""
    process = at.processes["web"].pid
    before = scene.rss_kb(process)
    with scene.readers(_connections(chosen, ours)) as came:
        time.sleep(2)
        weight = (scene.rss_kb(process) - before) / came.count
    return {"live.kb_per_client": typical([weight], "KB")}


def _many(at: Stage, chosen: Sequence[Topic], ours: Connect) -> Figures:
    sent, came, _ = _round(chosen, ours, at.processes["web"].pid)
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


def _tcp(chosen: Sequence[Topic]) -> list[float]:
    server = wire.Broadcast()
    numbers = iter(range(1, 10**9))

    def happen(topic: Topic) -> tuple[int, float]:
        number = next(numbers)
        return number, server.send(topic.name, number)

    connections = [
        {"port": server.port, "topic": topic.name, "request": f"{topic.name}\n"}
        for topic in chosen
        for _ in range(PER_TOPIC)
    ]
    with scene.readers(connections) as came:
        sent = scene.steadily(chosen, rate=RATE, seconds=SECONDS, happen=happen)
    server.close()
    return scene.delays(sent, came, PER_TOPIC)
