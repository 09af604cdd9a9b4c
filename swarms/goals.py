"""Stating a goal, and helping its plan along."""

from dataclasses import dataclass
from typing import Any

from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import F

from sessions.events import acting, publish
from sessions.topics import TEAM
from sessions.transitions import move
from swarms import admission, planner
from swarms.models import Goal, Plan, Project, Swarm
from swarms.states import ProjectState, SwarmState
from tenants.models import User
from tenants.trace import begin_trace, current_trace

MAX_GOAL = 20_000


@dataclass(frozen=True)
class Origin:
    """Where a goal goes on from: an event of another swarm of the project."""

    swarm: Swarm
    at: int
    base: str
    """What the result is compared with."""
    commit: str
    """Head of that swarm's branch at that event: here the new one begins."""


def state_goal(project: Project, text: str, *, by: User) -> Swarm:
    """State a goal: its swarm begins to plan. Raises ValidationError, of which AdmissionRefused is one."""
    with transaction.atomic(), acting(f"user:{by.pk}"):
        swarm = begin(project, text, by=by)
        planner.draft(swarm)
    return swarm


def _not_ready(project: Project) -> str:
    if project.state == ProjectState.ARCHIVED:
        return "The project is archived: restore it first, or state the goal for another one."
    return f"The project's repository is not ready ({project.state}): {project.because}"


def begin(project: Project, text: str, *, by: User, origin: Origin | None = None) -> Swarm:
    """A goal and its swarm, which nobody plans yet. In the caller's transaction. Raises ValidationError."""
    if not text.strip():
        raise ValidationError({"text": "Say what you want, in a sentence or more."})
    if len(text) > MAX_GOAL:
        raise ValidationError({"text": f"A goal has at most {MAX_GOAL} characters; this one has {len(text)}."})
    if not current_trace():
        begin_trace()
    admission.admit_goal()
    # Whoever archives the project waits for this, or this for him.
    is_ready = Project.objects.filter(pk=project.pk, state=ProjectState.READY).update(last_number=F("last_number") + 1)
    project.refresh_from_db(fields=["last_number", "head", "state", "because"])
    if not is_ready:
        raise ValidationError({"text": _not_ready(project)})
    goal = Goal.objects.create(project=project, number=project.last_number, text=text, created_by=by)
    swarm = Swarm.objects.create(
        project=project,
        goal=goal,
        number=goal.number,
        base_commit=origin.base if origin else project.head,
        integration_commit=origin.commit if origin else project.head,
        forked_from=origin.swarm if origin else None,
        forked_at=origin.at if origin else None,
        forked_commit=origin.commit if origin else "",
        trace=current_trace(),
    )
    stated: dict[str, Any] = {
        "goal": str(goal.pk),
        "number": goal.number,
        "text": text[:500],
        "base": swarm.integration_commit,
        "project": str(project.pk),
        "swarm": str(swarm.pk),
    }
    # The team is told last: whoever tells the team something else waits for this transaction from then on.
    for subject in (project.topic, swarm.topic, TEAM):
        publish(subject, "goal.stated", **stated)
    return swarm


def give_plan(swarm: Swarm, text: str, *, by: User) -> Plan:
    """Give a plan as YAML instead of the coordinator's. Raises planner.PlanFaults, or ValidationError when too late."""
    with transaction.atomic(), acting(f"user:{by.pk}"):
        return planner.give(_planning(swarm), text, by=by)


def plan_again(swarm: Swarm, *, by: User, note: str = "") -> Plan:
    """Ask the coordinator for another plan; `note` is what it should know. Raises ValidationError when too late."""
    with transaction.atomic(), acting(f"user:{by.pk}"):
        locked = _planning(swarm)
        if locked.state == SwarmState.PROPOSED:
            move(locked, SwarmState.PLANNING, because=note or f"{by} asked for another plan")
        return planner.draft(locked, note=note)


def _planning(swarm: Swarm) -> Swarm:
    locked = Swarm.objects.select_for_update(no_key=True, of=("self",)).select_related("project").get(pk=swarm.pk)
    if locked.state not in (SwarmState.PLANNING, SwarmState.PROPOSED):
        raise ValidationError(f"The swarm is {locked.state}: its plan can no longer be changed.")
    return locked
