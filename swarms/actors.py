"""Dramatiq actors: short, idempotent, and only hints make them run. What they lose, the reconciler finds."""

from uuid import UUID

import dramatiq
import structlog

from swarms import control, engine, landing, merges, projects, removal, reverts
from swarms import dispatch as dispatching
from swarms.models import Swarm
from tenants.trace import begin_trace

SHORT, GIT = 30_000, 900_000
"""Time limits in milliseconds: of a decision, and of work with a repository."""


def _enter(swarm_id: str) -> UUID:
    """Bind the swarm and its trace for the log."""
    swarm = UUID(swarm_id)
    trace = Swarm.objects.values_list("trace", flat=True).filter(pk=swarm).first()
    structlog.contextvars.bind_contextvars(swarm=swarm_id, trace=begin_trace(trace or ""))
    return swarm


@dramatiq.actor(time_limit=SHORT)
def advance(swarm_id: str) -> None:
    """Something changed in a swarm. What that made ready for the control plane is served here, not by a message."""
    structlog.contextvars.bind_contextvars(swarm=swarm_id)
    engine.advance(UUID(swarm_id), between=control.serve)


@dramatiq.actor(time_limit=SHORT)
def dispatch() -> None:
    """Somebody may go next."""
    dispatching.dispatch()


@dramatiq.actor(time_limit=SHORT)
def step(swarm_id: str) -> None:
    """Nodes wait for the control plane itself."""
    _enter(swarm_id)
    control.serve()


@dramatiq.actor(time_limit=GIT)
def merge(swarm_id: str) -> None:
    """Something is in a swarm's merge queue."""
    merges.process(_enter(swarm_id))


@dramatiq.actor(time_limit=GIT)
def revert(swarm_id: str) -> None:
    """Merged work of a swarm must be taken back."""
    reverts.process(_enter(swarm_id))


@dramatiq.actor(time_limit=GIT)
def land(swarm_id: str) -> None:
    """A swarm may land."""
    landing.land(_enter(swarm_id))


@dramatiq.actor(time_limit=GIT)
def fetch(project_id: str) -> None:
    """A project's repository must be copied."""
    projects.fetch(UUID(project_id))


@dramatiq.actor(time_limit=GIT)
def remove_team(removal_id: str) -> None:
    """A team is to be deleted. Sent from public: soon there is no schema of it."""
    removal.carry_out(UUID(removal_id))
