"""Swarms for members' programs: look at them, and do to them what a member may do."""

from collections.abc import Callable
from dataclasses import asdict
from typing import Any
from uuid import UUID

from django.db.models import Count
from django.http import Http404, JsonResponse
from django.shortcuts import get_object_or_404
from pydantic import AwareDatetime

from swarms import conditions, operations, replan, rollback
from swarms.api.programs import Given, Refused, body_of, program
from swarms.models import Edge, Node, Plan, Swarm
from swarms.states import SWARM_ENDED, SwarmState
from swarms.why import Unmet
from tenants.access import TeamRequest
from tenants.models import User
from tenants.roles import Permission

MOST = 200
"""Rows of one answer."""


class Nothing(Given):
    """A verb that asks for no more."""


class Because(Given):
    """Why, for those who read it later."""

    because: str = ""


class Priority(Given):
    """Before others (higher) or after them."""

    priority: int


class Deadline(Given):
    """A moment with its time zone; null takes the deadline away."""

    at: AwareDatetime | None


class Change(Given):
    """Another plan for a swarm that runs, as YAML; or a note, by which the coordinator writes one."""

    plan: str = ""
    note: str = ""


def _change(swarm: Swarm, given: Change, by: User) -> Plan:
    if bool(given.plan.strip()) == bool(given.note.strip()):
        raise Refused(422, "Give either the whole plan as YAML in `plan`, or a `note` for the coordinator.")
    return replan.change(swarm, given.plan, by=by) if given.plan.strip() else replan.ask(swarm, given.note, by=by)


SwarmVerb = tuple[type[Given], Callable[[Swarm, Any, User], object]]
NodeVerb = tuple[type[Given], Callable[[Node, Any, User], None]]
SWARM_VERBS: dict[str, SwarmVerb] = {
    "pause": (Because, lambda swarm, given, by: operations.pause(swarm, by=by, because=given.because)),
    "resume": (Because, lambda swarm, given, by: operations.resume(swarm, by=by, because=given.because)),
    "drain": (Because, lambda swarm, given, by: operations.drain(swarm, by=by, because=given.because)),
    "cancel": (Because, lambda swarm, given, by: operations.cancel(swarm, by=by, because=given.because)),
    "retry": (Because, lambda swarm, given, by: operations.retry_swarm(swarm, by=by, because=given.because)),
    "change": (Change, _change),
    "rollback": (Nothing, lambda swarm, given, by: rollback.request(swarm, by=by)),
    "priority": (Priority, lambda swarm, given, by: operations.set_priority(swarm, given.priority, by=by)),
    "deadline": (Deadline, lambda swarm, given, by: operations.set_deadline(swarm, given.at, by=by)),
}
NODE_VERBS: dict[str, NodeVerb] = {
    "skip": (Because, lambda node, given, by: operations.skip(node, by=by, because=given.because)),
    "retry": (Because, lambda node, given, by: operations.retry_node(node, by=by, because=given.because)),
    "priority": (Priority, lambda node, given, by: operations.set_priority(node, given.priority, by=by)),
}


def swarm_of(pk: UUID) -> Swarm:
    """A swarm of this team, with its project and goal."""
    return get_object_or_404(Swarm.objects.select_related("project", "goal"), pk=pk)


def told(swarm: Swarm) -> dict[str, Any]:
    """What programs are told of a swarm."""
    return {
        "id": swarm.pk,
        "project": swarm.project.slug,
        "number": swarm.number,
        "title": swarm.goal.title,
        "state": swarm.state,
        "because": swarm.because,
        "ended": swarm.is_ended,
        "can": sorted(operations.possible(swarm)),
        "priority": swarm.priority,
        "deadline_at": swarm.deadline_at,
        "created_at": swarm.created_at,
        "started_at": swarm.started_at,
        "ended_at": swarm.ended_at,
        "base_commit": swarm.base_commit,
        "integration_commit": swarm.integration_commit,
        "landed_commit": swarm.landed_commit,
        "rolled_back_commit": swarm.rolled_back_commit,
    }


def _whole(swarm: Swarm) -> dict[str, Any]:
    counts = dict(swarm.nodes.order_by().values_list("state").annotate(Count("pk")))
    can = operations.possible(swarm) | ({"rollback"} if rollback.possible(swarm) else set())
    unmet = [asdict(reason) for reason in conditions.of_swarm(swarm)]
    return told(swarm) | {"can": sorted(can), "unmet": unmet, "goal": swarm.goal.text, "nodes": counts}


def _told_node(node: Node, parents: list[str], reasons: list[Unmet]) -> dict[str, Any]:
    return {
        "key": node.key,
        "title": node.title,
        "kind": node.kind,
        "role": node.role,
        "state": node.state,
        "because": node.because,
        "unmet": [asdict(reason) for reason in reasons],
        "can": sorted(operations.possible_for(node)),
        "priority": node.priority,
        "depends_on": parents,
        "fan_in": node.fan_in,
        "on_failure": node.on_failure,
        "attempts": node.attempts_made,
        "started_at": node.started_at,
        "ended_at": node.ended_at,
        "commit": node.commit,
        "summary": node.summary,
        "answers": [one | {"given": node.output.get(one["name"])} for one in node.answers],
    }


@program("GET", Permission.VIEW)
def swarms(request: TeamRequest) -> JsonResponse:
    """The newest swarms: ?project=slug&state=running|live&limit=50&before=<id of the last one>."""
    found = Swarm.objects.select_related("project", "goal").order_by("-pk")
    asked = request.GET
    if state := asked.get("state", ""):
        if state != "live" and state not in list(SwarmState):
            raise Refused(422, f"state: there is none called {state}. Choose live or one of {', '.join(SwarmState)}.")
        found = found.exclude(state__in=SWARM_ENDED) if state == "live" else found.filter(state=state)
    if slug := asked.get("project", ""):
        found = found.filter(project__slug=slug)
    try:
        limit = min(MOST, max(1, int(asked.get("limit", "50"))))
        if before := asked.get("before", ""):
            found = found.filter(pk__lt=UUID(before))
    except ValueError as error:
        raise Refused(422, f"limit is a number from 1 to {MOST}, before is the id of a swarm.") from error
    rows = list(found[: limit + 1])
    more = {"before": rows[limit - 1].pk} if len(rows) > limit else None
    return JsonResponse({"swarms": [told(swarm) for swarm in rows[:limit]], "next": more})


@program("GET", Permission.VIEW)
def swarm(request: TeamRequest, swarm: UUID) -> JsonResponse:
    """One swarm."""
    return JsonResponse(_whole(swarm_of(swarm)))


@program("GET", Permission.VIEW)
def numbered(request: TeamRequest, slug: str, number: int) -> JsonResponse:
    """One swarm, by its project and its goal's number."""
    found = Swarm.objects.select_related("project", "goal")
    return JsonResponse(_whole(get_object_or_404(found, project__slug=slug, number=number)))


@program("GET", Permission.VIEW)
def nodes(request: TeamRequest, swarm: UUID) -> JsonResponse:
    """The nodes of a swarm, with what each depends on."""
    found = swarm_of(swarm)
    parents: dict[UUID, list[str]] = {}
    edges = Edge.objects.filter(child__swarm=found).order_by("parent__key")
    for child, key in edges.values_list("child_id", "parent__key"):
        parents.setdefault(child, []).append(key)
    rows = list(found.nodes.order_by("key"))
    for node in rows:
        node.swarm = found
    reasons = conditions.of_nodes(found, rows)
    told_nodes = [_told_node(node, parents.get(node.pk, []), reasons.get(node.pk, [])) for node in rows]
    return JsonResponse({"nodes": told_nodes})


@program("GET", Permission.VIEW)
def plan(request: TeamRequest, swarm: UUID) -> JsonResponse:
    """The plan as it is carried out now, as YAML to be changed; comments tell what can no longer be changed."""
    return JsonResponse({"plan": replan.written(swarm_of(swarm))})


@program("POST", Permission.STATE_GOAL)
def act(request: TeamRequest, swarm: UUID, verb: str) -> JsonResponse:
    """Do something to a swarm; the answer is the swarm as it is then."""
    found = swarm_of(swarm)
    if verb not in SWARM_VERBS:
        raise Http404(verb)
    model, do = SWARM_VERBS[verb]
    do(found, body_of(request, model), request.user)
    return JsonResponse(_whole(swarm_of(swarm)))


@program("POST", Permission.STATE_GOAL)
def act_on(request: TeamRequest, swarm: UUID, key: str, verb: str) -> JsonResponse:
    """Do something to a node; the answer is the node as it is then."""
    found = swarm_of(swarm)
    node = get_object_or_404(Node, swarm=found, key=key)
    node.swarm = found
    if verb not in NODE_VERBS:
        raise Http404(verb)
    model, do = NODE_VERBS[verb]
    do(node, body_of(request, model), request.user)
    fresh = Node.objects.select_related("swarm").get(pk=node.pk)
    parents = Edge.objects.filter(child=node).order_by("parent__key").values_list("parent__key", flat=True)
    return JsonResponse(_told_node(fresh, list(parents), conditions.of_node(fresh)))
