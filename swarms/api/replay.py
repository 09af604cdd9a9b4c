"""Replay for members' programs: a swarm as of an event, and a goal that goes on from there."""

from uuid import UUID

from django.http import JsonResponse

from swarms.api.programs import Given, Refused, body_of, program
from swarms.api.swarms import swarm_of, told
from swarms.replay import fork as forks
from swarms.replay import shown, stories
from tenants.access import TeamRequest
from tenants.roles import Permission


class Fork(Given):
    """From which event, with which plan (the rest of the plan unless it is said) and which goal."""

    at: int
    plan: str = ""
    goal: str = ""


@program("GET", Permission.VIEW)
def scene(request: TeamRequest, swarm: UUID) -> JsonResponse:
    """What a swarm was at ?at=340; at its last event unless it is said."""
    story = stories.of_swarm(swarm_of(swarm))
    last, at = story.last(), request.GET.get("at", "")
    if at and not (at.isascii() and at.isdigit() and len(at) < 19 and 1 <= int(at) <= last):
        raise Refused(422, f"at: the swarm has the events 1 to {last}.")
    return JsonResponse(shown.facts(story, int(at) if at else last) | {"last": last})


@program("GET", Permission.VIEW)
def rest(request: TeamRequest, swarm: UUID, at: int) -> JsonResponse:
    """What a fork at an event would begin with: the goal, the rest of the plan as YAML, and what is kept."""
    found = forks.proposal(swarm_of(swarm), at)
    return JsonResponse({"goal": found.goal, "plan": found.yaml, "kept": found.rest.kept, "commit": found.scene.branch})


@program("POST", Permission.STATE_GOAL)
def fork(request: TeamRequest, swarm: UUID) -> JsonResponse:
    """State a goal that goes on from an event; the answer is its swarm."""
    given = body_of(request, Fork)
    made = forks.fork(swarm_of(swarm), given.at, plan=given.plan, goal=given.goal, by=request.user)
    return JsonResponse(told(made), status=201)
