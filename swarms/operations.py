"""What a person may do to a live swarm."""

from datetime import timedelta

from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils import timezone

from sessions.events import acting
from sessions.transitions import move
from swarms import engine, hints, progress
from swarms.models import Swarm
from swarms.states import NodeState, SwarmState
from tenants import turns
from tenants.models import User


def _locked(swarm: Swarm) -> Swarm:
    return Swarm.objects.select_for_update(no_key=True, of=("self",)).select_related("project").get(pk=swarm.pk)


def _change(swarm: Swarm, to: str, because: str, allowed: tuple[str, ...]) -> None:
    if swarm.state not in allowed or not move(swarm, to, because=because):
        raise ValidationError(f"The swarm is {swarm.state}; that is possible only while it is {' or '.join(allowed)}.")


def pause(swarm: Swarm, *, by: User) -> None:
    """Let nothing new start; live attempts go on. Raises ValidationError when it does not run."""
    with transaction.atomic(), acting(f"user:{by.pk}"):
        locked = _locked(swarm)
        _change(locked, SwarmState.PAUSED, f"paused by {by}", (SwarmState.RUNNING,))
        turns.unqueue("node", *locked.nodes.filter(state=NodeState.READY).values_list("pk", flat=True))
        hints.advance(swarm.pk)


def resume(swarm: Swarm, *, by: User) -> None:
    """Go on. Raises ValidationError when it is not paused."""
    with transaction.atomic(), acting(f"user:{by.pk}"):
        locked = _locked(swarm)
        _change(locked, SwarmState.RUNNING, f"resumed by {by}", (SwarmState.PAUSED,))
        for node in locked.nodes.filter(state=NodeState.READY):
            progress.queue(locked, [node], delay=max(timedelta(0), node.not_before - timezone.now()))
        hints.merge(swarm.pk)
        hints.advance(swarm.pk)


def cancel(swarm: Swarm, *, by: User) -> None:
    """Stop everything; the target branch stays as it is. Raises ValidationError when it has ended."""
    allowed = tuple(state for state in SwarmState if SwarmState.CANCELLING in Swarm.MOVES[state])
    with transaction.atomic(), acting(f"user:{by.pk}"):
        locked = _locked(swarm)
        if locked.state == SwarmState.LANDING and locked.landed_commit:
            raise ValidationError("The swarm is going to its target branch at this moment; it is too late to cancel.")
        because = f"cancelled by {by}"
        _change(locked, SwarmState.CANCELLING, because, allowed)
        engine.stop_work(locked, because=because)
        hints.advance(swarm.pk)
