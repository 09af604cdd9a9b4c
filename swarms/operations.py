"""What a person may do to a live swarm, and to a node of it.

`by` is a member, or None for the operator on the command line; `because` is the reason that they give. Every verb locks
the swarm first, and raises NotNow when the state does not allow it (with what it does allow), or ValidationError when
what was given is wrong.
"""

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils import timezone

from sessions.events import publish
from sessions.transitions import move
from swarms import admission, approvals, engine, hints, progress, replan, retry
from swarms.models import Node, Swarm
from swarms.orders import decided, doing, not_archived, told
from swarms.refusals import NotNow as NotNow
from swarms.states import (
    NODE_ENDED,
    NODE_WAITING,
    SWARM_ENDED,
    SWARM_UNDOES,
    NodeState,
    ProjectState,
    SwarmState,
)
from swarms.vertex import MOST_PRIORITY
from tenants import turns
from tenants.models import User
from tenants.trace import begin_trace

FURTHEST = timedelta(days=366)
GOING = (SwarmState.RUNNING, SwarmState.PAUSED)

ALLOWED: dict[str, tuple[SwarmState, ...]] = {
    "pause": (SwarmState.RUNNING, SwarmState.ROLLING_BACK),
    "resume": (SwarmState.PAUSED, SwarmState.ROLLBACK_PAUSED),
    "drain": GOING,
    "cancel": tuple(s for s in SwarmState if SwarmState.CANCELLING in Swarm.MOVES[s] or s in SWARM_UNDOES),
    "retry": (SwarmState.FAILED,),
}
"""In which states of a swarm each verb is possible."""


def possible(swarm: Swarm) -> set[str]:
    """Which verbs the swarm's state allows now; for the pages."""
    found = {name for name, states in ALLOWED.items() if swarm.state in states}
    return found - {"retry"} if _no_retry(swarm) else found


def possible_for(node: Node) -> set[str]:
    """Which verbs the state of a node, and of its swarm, allow now; for the pages."""
    if node.swarm.state not in GOING:
        return set()
    if node.state in NODE_WAITING:
        return {"skip", "priority"}
    can_retry = node.state in (NodeState.FAILED, NodeState.SKIPPED) and not node.dropped_by_id
    return {"retry"} if can_retry else set()


def _change(swarm: Swarm, to: str, because: str, allowed: tuple[str, ...], *, also: str = "", **fields: Any) -> None:
    if swarm.state not in allowed or not move(swarm, to, because=because, **fields):
        raise NotNow(f"The swarm is {_words(swarm.state)}; that is possible only while it is {_any(allowed)}.{also}")


def _words(state: str) -> str:
    return state.replace("_", " ")


def _any(states: tuple[str, ...]) -> str:
    return " or ".join(_words(state) for state in states)


def pause(swarm: Swarm, *, by: User | None, because: str = "") -> None:
    """Let nothing new start, of its plan or of its rollback; live attempts go on."""
    with doing(swarm, by) as locked:
        _is_not_landing(locked, "pause")
        to = SwarmState.ROLLBACK_PAUSED if locked.undoes else SwarmState.PAUSED
        _change(locked, to, told("paused", by, because), ALLOWED["pause"])
        turns.unqueue("node", *locked.nodes.filter(state=NodeState.READY).values_list("pk", flat=True))
        hints.advance(swarm.pk)


def resume(swarm: Swarm, *, by: User | None, because: str = "") -> None:
    """Go on after a pause."""
    with doing(swarm, by) as locked:
        to = SwarmState.ROLLING_BACK if locked.undoes else SwarmState.RUNNING
        _change(locked, to, told("resumed", by, because), ALLOWED["resume"])
        progress.queue(locked, locked.nodes.filter(state=NodeState.READY))
        hints.merge(swarm.pk)
        hints.advance(swarm.pk)


def drain(swarm: Swarm, *, by: User | None, because: str = "") -> None:
    """Let what runs come to its end, leave the rest out, and land what is merged."""
    with doing(swarm, by) as locked:
        because = told("drained", by, because)
        also = " Pause the rollback, and cancel it when what runs has ended." if locked.undoes else ""
        _change(locked, SwarmState.DRAINING, because, ALLOWED["drain"], also=also)
        approvals.void(locked, because=because, kind="node")
        replan.keep(locked, because=because)
        turns.unqueue("node", *locked.nodes.filter(state=NodeState.READY).values_list("pk", flat=True))
        hints.merge(swarm.pk)
        hints.advance(swarm.pk)


def cancel(swarm: Swarm, *, by: User | None, because: str = "") -> None:
    """Stop everything; the target branch stays as it is. It is cancelled when all who work on it have stopped.

    A rollback stops in the same way. The swarm has failed then, and says what is undone; rolled back again, it goes on.
    """
    with doing(swarm, by) as locked:
        _is_not_landing(locked, "cancel")
        because = told("rollback stopped" if locked.undoes else "cancelled", by, because)
        to = SwarmState.FAILING if locked.undoes else SwarmState.CANCELLING
        _change(locked, to, because, ALLOWED["cancel"])
        engine.stop_work(locked, because=because)
        hints.advance(swarm.pk)


def _is_not_landing(swarm: Swarm, verb: str) -> None:
    commit = {SwarmState.LANDING: swarm.landed_commit, SwarmState.ROLLING_BACK: swarm.rolled_back_commit}
    if commit.get(SwarmState(swarm.state)):
        raise NotNow(f"The swarm is going to its target branch at this moment; it is too late to {verb}.")


def retry_swarm(swarm: Swarm, *, by: User | None, because: str = "") -> None:
    """Try a failed swarm again: what succeeded stays, the rest starts anew with all its attempts.

    A deadline that has passed is taken away. Checks of the whole are run, and its landing is asked for, again.
    """
    with doing(swarm, by) as locked:
        if locked.state == SwarmState.FAILED:
            if reason := _no_retry(locked):
                raise NotNow(reason)
            admission.admit_retry()
            not_archived(locked.project_id)
        now = timezone.now()
        is_late = locked.deadline_at is not None and locked.deadline_at <= now
        because = told("tried again", by, because) + " (without its deadline, which has passed)" * is_late
        kept = None if is_late else locked.deadline_at
        _change(
            locked,
            SwarmState.RUNNING,
            because,
            ALLOWED["retry"],
            retried_at=now,
            ended_at=None,
            deadline_at=kept,
        )
        approvals.void(locked, because=because, kind="rollback")
        if is_late:
            publish(locked.topic, "deadline.set", at=None)
        if kept:
            turns.due("swarm_deadline", locked.pk, after=kept - now)
        found = retry.again(locked, because=because)
        admission.admit_again()
        progress.release(locked.pk, consider=found)
        hints.advance(swarm.pk)


def _no_retry(swarm: Swarm) -> str:
    if swarm.project.state == ProjectState.ARCHIVED:
        return "Its project is archived: restore it first."
    if swarm.rollback_at:
        return "Its work was being taken back; it can only be rolled back again, or the goal stated anew."
    return "" if swarm.started_at else "It failed before it had a plan: state the goal again."


def retry_node(node: Node, *, by: User | None, because: str = "") -> None:
    """Try a node again that failed or was skipped while its swarm goes on, with what was left out because of it."""
    with doing(node.swarm, by) as locked:
        fresh = _node(locked, node, "tried again")
        if fresh.state not in (NodeState.FAILED, NodeState.SKIPPED):
            raise NotNow(f"{fresh.key} is {_words(fresh.state)}; only what failed or was skipped can be tried again.")
        if fresh.dropped_by_id:
            raise NotNow(f"{fresh.key} is no part of the plan any more; change the plan to bring it back.")
        found = retry.again(locked, because=told("tried again", by, because), node=fresh)
        if not found:
            begun = ", ".join(retry.builds_on(fresh)[:5])
            why = f"{begun} began because of how {fresh.key} ended, so it cannot be tried again"
            raise NotNow(f"{why}; change the plan: add a node that does it.")
        fresh.refresh_from_db()
        if not retry.can_run(fresh):
            raise NotNow(f"{fresh.key} could not run: its parents did not end as {fresh.fan_in} asks. Retry them.")
        admission.admit_again()
        progress.release(locked.pk, consider=found)
        hints.advance(locked.pk)


def _node(swarm: Swarm, node: Node, what: str, states: tuple[str, ...] = GOING) -> Node:
    """The node as it is now. Raises NotNow when its swarm does not go on."""
    if swarm.state not in states:
        also = " Retry the swarm." if swarm.state == SwarmState.FAILED else ""
        raise NotNow(f"The swarm is {_words(swarm.state)}; a node can be {what} only while it is {_any(states)}.{also}")
    fresh = swarm.nodes.get(pk=node.pk)
    fresh.swarm = swarm
    return fresh


def skip(node: Node, *, by: User | None, because: str = "") -> None:
    """Leave out a node that has not started; what depends on it starts, or is left out, by its own rule."""
    with doing(node.swarm, by) as locked:
        why = told("skipped", by, because)
        fresh = _node(locked, node, "skipped")
        if fresh.state not in NODE_WAITING:
            raise NotNow(f"{fresh.key} is {_words(fresh.state)}; only a node that has not started can be skipped.")
        if not move(fresh, NodeState.SKIPPED, because=why, ended_at=timezone.now()):
            return
        turns.unqueue("node", fresh.pk)
        approvals.void(locked, because=why, node=fresh)
        progress.release(locked.pk, ended=[fresh.pk])
        hints.advance(locked.pk)


def set_priority(subject: Swarm | Node, priority: int, *, by: User | None) -> None:
    """Let a swarm, or a node, go before others of the team (higher) or after them. Also for what waits already."""
    if not -MOST_PRIORITY <= priority <= MOST_PRIORITY:
        raise ValidationError({"priority": f"Priorities go from -{MOST_PRIORITY} to {MOST_PRIORITY}; 0 is usual."})
    swarm = subject if isinstance(subject, Swarm) else subject.swarm
    with doing(swarm, by) as locked:
        fresh = locked if isinstance(subject, Swarm) else locked.nodes.get(pk=subject.pk)
        if fresh.state in (SWARM_ENDED if isinstance(subject, Swarm) else NODE_ENDED):
            raise NotNow(f"It has ended ({_words(fresh.state)}); its priority says nothing any more.")
        if fresh.priority == priority:
            return
        type(fresh)._default_manager.filter(pk=fresh.pk).update(priority=priority)
        progress.reorder(locked.pk)
        key = "" if isinstance(subject, Swarm) else subject.key
        publish(locked.topic, "priority.set", priority=priority, node=key)
        what = f"priority {priority} of {key}" if key else f"priority {priority}"
        decided(locked, by, what, f"it was {fresh.priority}", node=key)


def put_in_order(swarm_id: UUID) -> None:
    """Tickets of a swarm were being called up while their order changed: those that wait still are put right."""
    with transaction.atomic():
        Swarm.objects.select_for_update(no_key=True, of=("self",)).get(pk=swarm_id)
        progress.reorder(swarm_id)


def set_deadline(swarm: Swarm, at: datetime | None, *, by: User | None) -> None:
    """Say until when a swarm must have ended, or it fails; None takes the deadline away."""
    now = timezone.now()
    if at is not None and not now < at <= now + FURTHEST:
        raise ValidationError({"at": "A deadline lies in the future, within a year."})
    with doing(swarm, by) as locked:
        if locked.is_ended:
            raise NotNow(f"The swarm has ended ({_words(locked.state)}); a deadline means nothing any more.")
        if locked.undoes:
            raise NotNow("A deadline is for the work; a rollback goes on until it is done, or somebody cancels it.")
        Swarm.objects.filter(pk=locked.pk).update(deadline_at=at)
        turns.settled("swarm_deadline", locked.pk)
        if at is not None:
            turns.due("swarm_deadline", locked.pk, after=at - now)
        publish(locked.topic, "deadline.set", at=at and at.isoformat())
        decided(locked, by, f"deadline {_moment(at)}" if at else "no deadline any more")


def _moment(at: datetime) -> str:
    return f"{timezone.localtime(at, timezone.get_default_timezone()):%Y-%m-%d %H:%M %Z}"


def expire(swarm_id: UUID) -> None:
    """The deadline of a swarm may have passed: then it fails."""
    with transaction.atomic():
        swarm = Swarm.objects.select_for_update(no_key=True, of=("self",)).select_related("project").get(pk=swarm_id)
        begin_trace(swarm.trace)
        turns.settled("swarm_deadline", swarm_id)
        now = timezone.now()
        if swarm.deadline_at is None or swarm.undoes or SwarmState.FAILING not in Swarm.MOVES[swarm.state]:
            return
        if swarm.deadline_at > now:
            turns.due("swarm_deadline", swarm_id, after=swarm.deadline_at - now)
            return
        if swarm.state == SwarmState.LANDING and swarm.landed_commit:
            return  # it goes to its target branch at this moment
        because = f"deadline: it was {_moment(swarm.deadline_at)}"
        if move(swarm, SwarmState.FAILING, because=because):
            engine.stop_work(swarm, because=because)
            hints.advance(swarm_id)
