"""From a commit to two hundred clients in topics of ten, beside the least that serves the same, bare TCP, and Redis."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from bench.figures import Figures, quantile, ratio, tail
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


@dataclass(frozen=True)
class Served:
    """Those who serve the same topics: the platform's web process, the least reader, and a bare sender."""

    ours: Connect
    theirs: Connect
    bares: Connect
    web: int
    """The id of the process."""
    floor: int
    bare: int
    port: int


@dataclass
class Rounds:
    """What some rounds showed, one entry each: milliseconds of each delivery, and so on."""

    waits: list[list[float]] = field(default_factory=list)
    floors: list[list[float]] = field(default_factory=list)
    fans: list[list[float]] = field(default_factory=list)
    """From an event's first reader to each of them."""
    cpus: list[float] = field(default_factory=list)
    """Microseconds of the server's processor a delivery."""
    floor_cpus: list[float] = field(default_factory=list)
    bare_cpus: list[float] = field(default_factory=list)
    encodes: list[float] = field(default_factory=list)
    """How often an event was encoded."""

    def figures(self, name: str) -> Figures:
        """How long events take, by themselves and beside the floor."""
        each, least = [quantile(run, 0.95) for run in self.waits], [quantile(run, 0.95) for run in self.floors]
        return {
            f"live.ratio{name}": ratio(each, least, "x floor"),
            f"live.floor_starlette{name}_p95_ms": tail(self.floors, "ms"),
            f"live.commit_to_client{name}_p99_ms": tail(self.waits, "ms", 0.99),
        }


def measure(at: Stage) -> Figures:
    """Fifty events a second; by turns with the floor, which reads the same streams."""
    scene.platform(at)
    chosen = scene.topics(20)
    served = serve(at, chosen)
    found: Figures = {"live.floor_redis_p95_ms": tail([wire.xadd_to_xread(scene.redis_url())], "ms")}
    found["live.floor_tcp200_p95_ms"] = tail([_tcp(chosen)], "ms")
    rounds = beside(chosen, served)
    return found | rounds.figures("200") | {"live.commit_to_client_p95_ms": tail(rounds.waits, "ms")}


def serve(at: Stage, chosen: Sequence[Topic]) -> Served:
    """Start the least reader and the bare sender beside the platform."""
    floor_port, bare_port = free_port(), free_port()
    keys = " ".join(sorted({stream_key(topic.team.schema_name) for topic in chosen}))
    floor = {"FLOOR_REDIS": scene.redis_url(), "FLOOR_STREAMS": keys}
    scene.serve(at, "floor", "bench.floors.least_reader:application", floor_port, **floor)
    scene.launch(at, "bare", bare_port, "-m", "bench.floors.bare_sender", str(bare_port), **floor)
    port = int(at.environment["WAGGLE_PORT"])
    web, reader, bare = (at.processes[name].pid for name in ("web", "floor", "bare"))
    ours, theirs, bares = partial(scene.to_waggle, port), partial(_to_floor, floor_port), partial(_to_floor, bare_port)
    return Served(ours, theirs, bares, web, reader, bare, port)


def _to_floor(port: int, topic: Topic) -> dict[str, Any]:
    request = f"GET /events?topic={topic.name} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    return {"port": port, "topic": topic.name, "request": request}


def connections(chosen: Sequence[Topic], connect: Connect) -> list[dict[str, Any]]:
    """Ten for each topic."""
    return [connect(topic) for topic in chosen for _ in range(PER_TOPIC)]


def one_round(
    chosen: Sequence[Topic], connect: Connect, process: int, rate: float = RATE
) -> tuple[Sent, Readers, float]:
    """What was sent, what came, and the microseconds of the server's processor that a delivery took."""
    with scene.readers(connections(chosen, connect)) as came:
        scene.steadily(chosen, rate=rate, seconds=SETTLED)
        used = seconds_of(process)
        sent = scene.steadily(chosen, rate=rate, seconds=SECONDS)
        used = seconds_of(process) - used
    return sent, came, used * 1e6 / (len(sent) * PER_TOPIC)


def beside(chosen: Sequence[Topic], served: Served) -> Rounds:
    """Ours and the floors by turns, all fed by the same relay."""
    found = Rounds()
    for _ in range(ROUNDS):
        found.bare_cpus.append(one_round(chosen, served.bares, served.bare)[2])
        sent, came, cpu = one_round(chosen, served.theirs, served.floor)
        found.floors.append(scene.delays(sent, came, PER_TOPIC))
        found.floor_cpus.append(cpu)
        encoded = scene.metric(served.port, "waggle_stream_encoded_total")
        sent, came, cpu = one_round(chosen, served.ours, served.web)
        found.waits.append(scene.delays(sent, came, PER_TOPIC))
        found.fans.append(_fans(sent, came))
        found.cpus.append(cpu)
        encoded = scene.metric(served.port, "waggle_stream_encoded_total") - encoded
        found.encodes.append(encoded / (RATE * (SETTLED + SECONDS)))
    return found


def _fans(sent: Sent, came: Readers) -> list[float]:
    found = []
    for topic, seq in sent:
        arrivals = came.arrivals[topic][seq]
        found += [(arrival - min(arrivals)) * 1000 for arrival in arrivals]
    return found


def _tcp(chosen: Sequence[Topic]) -> list[float]:
    server = wire.Broadcast()
    numbers = iter(range(1, 10**9))

    def happen(topic: Topic) -> tuple[int, float]:
        number = next(numbers)
        return number, server.send(topic.name, number)

    listening = [
        {"port": server.port, "topic": topic.name, "request": f"{topic.name}\n"}
        for topic in chosen
        for _ in range(PER_TOPIC)
    ]
    with scene.readers(listening) as came:
        sent = scene.steadily(chosen, rate=RATE, seconds=SECONDS, happen=happen)
    server.close()
    return scene.delays(sent, came, PER_TOPIC)
