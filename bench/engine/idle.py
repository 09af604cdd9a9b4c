"""How soon the first node of a swarm starts when nothing happened before."""

import time
from functools import partial

from bench import shapes, swarm
from bench.figures import Figures, tail
from bench.stage import Stage, wait_for, workers

SAMPLES = 20
IDLE_SECONDS = 4


def measure(at: Stage) -> Figures:
    """From before the plan is submitted to the start of its first node, after 4 s of idleness.

    The platform adopts it by itself: nothing needs approval here.
    """
    of, plan = swarm.team("bench"), swarm.proposal(*shapes.chain(3))
    workers(at)
    took = []
    for _ in range(SAMPLES):
        time.sleep(IDLE_SECONDS)
        began = time.time()
        made = swarm.proposed(of, plan)
        wait_for(partial(swarm.is_done, of, made), "a swarm does not end", every=0.2)
        took.append([(swarm.first_start(of, made) - began) * 1000])
        swarm.end(of, made)
        wait_for(partial(swarm.is_ended, of, made), "a swarm is not cancelled", every=0.2)
    return {
        "engine.idle_to_started_p95_ms": tail(took, "ms"),
        "engine.idle_to_started_p50_ms": tail(took, "ms", 0.5),
    }
