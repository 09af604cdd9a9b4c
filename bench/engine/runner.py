"""A chain through a real runner."""

from functools import partial

from agents.contracts import Check
from bench import shapes, staff, swarm
from bench.figures import Figures, typical
from bench.model import QUICK, WRITES
from bench.stage import Stage, wait_for, workers
from swarms.models import Project
from tenants.models import Team

LENGTH, CHAINS = 20, 3
WORK_LENGTH = 6


def measure(at: Stage) -> Figures:
    """Milliseconds a node of a chain whose nodes are agents that answer at once.

    A review is the least that a runner can be asked: a process for the attempt, a clone, an agent that asks the
    scripted model once through the gateway, an outcome; its answer brings the runner the next one. A node that writes
    also commits and pushes, has its commit checked in a fresh clone, is merged, and has the merged tree checked.
    """
    of = swarm.team("bench")
    workers(at)
    staff.start(at, capacity=4)
    project = staff.project(at, of, checks=(Check(name="nothing", command="true"),))
    reviews = [_chain(of, project, LENGTH, "reviewer", QUICK) for _ in range(CHAINS)]
    works = [_chain(of, project, WORK_LENGTH, "developer", WRITES) for _ in range(CHAINS)]
    return {
        "engine.runner_chain_ms": typical(reviews, "ms a node"),
        "engine.runner_chain_writing_ms": typical(works, "ms a node"),
    }


def _chain(of: Team, project: Project, length: int, role: str, title: str) -> float:
    made = staff.submit(of, project, swarm.agents(*shapes.chain(length), role=role, title=title))
    wait_for(partial(swarm.is_done, of, made.pk), "a chain of agents does not end", seconds=300, every=0.2)
    took = swarm.wall(of, made.pk) * 1000 / length
    swarm.end(of, made.pk)
    wait_for(partial(swarm.is_ended, of, made.pk), "the swarm is not cancelled", every=0.1)
    return took
