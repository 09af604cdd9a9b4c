"""What coordination adds to agents that work for half a minute each."""

from functools import partial

from bench import staff, swarm
from bench.figures import Figures, typical
from bench.model import SLOW, SLOW_SECONDS
from bench.stage import Stage, wait_for, workers
from swarms.models import Swarm
from tenants.context import in_schema

LAYERS, WIDTH = 3, 5


def measure(at: Stage) -> Figures:
    """Three layers of five agents, each waiting for all of the layer before; the scripted model answers each of them
    for 30 s. So no schedule is shorter than 90 s, and what is above it is ours: adoption, turns, processes, clones,
    the gateway, outcomes.

    The agents are reviewers: they end with their answer. What checks and merges take is no coordination, and not here.
    """
    of = swarm.team("bench")
    workers(at)
    staff.start(at, capacity=WIDTH + 1)  # one more, for the checks before anything
    project = staff.project(at, of)
    edges = [
        (layer * WIDTH + parent, (layer + 1) * WIDTH + child)
        for layer in range(LAYERS - 1)
        for parent in range(WIDTH)
        for child in range(WIDTH)
    ]
    made = staff.submit(of, project, swarm.agents(LAYERS * WIDTH, edges, title=SLOW))
    wait_for(partial(swarm.is_done, of, made.pk), "the agents do not end", seconds=300, every=0.5)
    with in_schema(of.schema_name):
        began = Swarm.objects.get(pk=made.pk).created_at.timestamp()
    wall, least = swarm.span(of, made.pk)[1] - began, LAYERS * SLOW_SECONDS
    return {
        "engine.overhead30s_share": typical([(wall - least) / least], "of the least"),
        "engine.overhead30s_s": typical([wall - least], "s"),
    }
