"""Many swarms of many teams at once."""

import os
import random
import time
from functools import partial
from uuid import UUID

from bench import shapes, swarm
from bench.engine.run import Clock
from bench.figures import Figures, ratio, typical
from bench.floors import Floor, postgres
from bench.stage import Stage, wait_for, workers
from tenants.models import Team

TEAMS, EACH, NODES = 10, 5, 20
ROUNDS = 3


def measure(at: Stage) -> Figures:
    """Fifty swarms of twenty nodes over ten teams, submitted and adopted by the platform; and the same nodes on the
    floor, as one DAG of fifty pieces."""
    teams = [swarm.team(f"crowd{n}") for n in range(TEAMS)]
    workers(at)
    nodes, edges = shapes.layered(NODES, 4)
    pieces = TEAMS * EACH
    together = [(parent + piece * nodes, child + piece * nodes) for piece in range(pieces) for parent, child in edges]
    whole, walls, cpus = [], [], []
    floors: list[Floor] = []
    for _ in range(ROUNDS):
        with at.silence():
            floors.append(postgres.run(os.environ["DATABASE_URL"], nodes * pieces, together, at.cpu_of_services))
        began, clock = time.time(), Clock(at)
        made = _submit(teams)
        for one, pk in made:
            wait_for(partial(swarm.is_done, one, pk), "a swarm of the crowd does not end", every=0.1)
        for one in teams:
            wait_for(partial(swarm.relayed, one), "the relay does not come to its end", every=0.1)
        cpus.append(sum(clock.read().values()))
        spans = [swarm.span(one, pk) for one, pk in made]
        last = max(end for _, end in spans)
        walls.append(last - min(start for start, _ in spans))
        whole.append(last - began)
        for one, pk in made:
            swarm.end(one, pk)
        for one, pk in made:
            wait_for(partial(swarm.is_ended, one, pk), "a swarm is not cancelled", every=0.1)
    count = nodes * pieces
    per_node = "ms a node"
    return {
        "engine.swarms50.ms_per_node": typical([one * 1000 / count for one in walls], per_node),
        "engine.swarms50.submitted_ms_per_node": typical([one * 1000 / count for one in whole], per_node),
        "engine.swarms50.floor_ms_per_node": typical([one.seconds * 1000 / count for one in floors], per_node),
        "engine.swarms50.ratio": ratio(walls, [one.seconds for one in floors], "x floor"),
        "engine.swarms50.cpu_ms_per_node": typical([one * 1000 / count for one in cpus], per_node),
    }


def _submit(teams: list[Team]) -> list[tuple[Team, UUID]]:
    plan = swarm.proposal(*shapes.layered(NODES, 4))
    order = [one for one in teams for _ in range(EACH)]
    random.Random(50).shuffle(order)
    return [(one, swarm.proposed(one, plan)) for one in order]
