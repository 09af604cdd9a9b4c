"""More than two hundred durable events a second on one swarm, for half a minute, and all of them at its readers in
order."""

from functools import partial

from bench.figures import Figures, tail, typical
from bench.live import scene
from bench.live.scene import PER_TOPIC
from bench.stage import Stage

RATE, SECONDS = 220.0, 30.0


def measure(at: Stage) -> Figures:
    """One writer, a commit an event; ten readers. What is kept up is what the readers had, divided by the time."""
    scene.platform(at)
    (topic,) = scene.topics(PER_TOPIC)[:1]
    connect = partial(scene.to_waggle, int(at.environment["WAGGLE_PORT"]))
    with scene.readers([connect(topic) for _ in range(PER_TOPIC)]) as came:
        sent = scene.steadily([topic], rate=RATE, seconds=SECONDS)
    waits = scene.delays(sent, came, PER_TOPIC)
    found = came.arrivals[topic.name]
    moments = [max(found[seq]) for _, seq in sent]
    if moments != sorted(moments):
        raise AssertionError("events came out of order")
    span = moments[-1] - min(found[min(seq for _, seq in sent)])
    # A rate counts the pauses between events, of which there is one less.
    return {
        "live.events_per_second_one_swarm": typical([(len(sent) - 1) / span], "events/s"),
        "live.events220_p95_ms": tail([waits], "ms"),
    }
