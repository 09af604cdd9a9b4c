"""Agents at work for members' programs: which there are, what they ask, and what a member may say to them."""

from collections.abc import Callable
from typing import Any
from uuid import UUID

from django.http import Http404, JsonResponse
from django.shortcuts import get_object_or_404

from agents import steering
from agents.conversing import panel, wanted_for
from agents.models import Steer
from sessions.models import Part, Session
from swarms.api.programs import Given, Refused, body_of, program
from swarms.api.swarms import swarm_of
from tenants.access import TeamRequest, refusal
from tenants.models import User
from tenants.roles import Permission, may

MOST = 200
"""Sessions of one answer."""


class Verb(Given):
    """`key` is an id of your own: the same again says nothing twice."""

    key: UUID | None = None


class Words(Verb):
    """What the agent is told."""

    text: str


class Interruption(Verb):
    """What the agent is told after it has stopped; without a word it waits a while for one."""

    text: str = ""


def _say(session: Session, given: Words, by: User) -> Steer:
    return steering.say(session, given.text, by=by, key=given.key)


def _interrupt(session: Session, given: Interruption, by: User) -> Steer:
    return steering.interrupt(session, given.text, by=by, key=given.key)


def _revert(session: Session, given: Verb, by: User) -> Steer:
    return steering.revert(session, by=by, key=given.key)


def _unrevert(session: Session, given: Verb, by: User) -> Steer:
    return steering.unrevert(session, by=by, key=given.key)


VERBS: dict[str, tuple[type[Given], Callable[..., Steer]]] = {
    "say": (Words, _say),
    "interrupt": (Interruption, _interrupt),
    "revert": (Verb, _revert),
    "unrevert": (Verb, _unrevert),
}


@program("GET", Permission.VIEW)
def of_swarm(request: TeamRequest, swarm: UUID) -> JsonResponse:
    """The newest sessions of a swarm."""
    rows = Session.objects.filter(subject=swarm_of(swarm).topic).order_by("-created_at", "-pk")[:MOST]
    return JsonResponse({"sessions": [_told(row) for row in rows]})


@program("GET", Permission.VIEW)
def session(request: TeamRequest, session: UUID) -> JsonResponse:
    """A session: who works in it, whether it hears, what it asks, what it has not heard yet."""
    found = get_object_or_404(Session, pk=session)
    beside = panel(found)
    more = {
        "hears": beside["hears"],
        "can_revert": beside["reverts"],
        "is_reverted": beside["reverted"],
        "questions": [_asked(part) for part in beside["questions"]],
        "unheard": [_said(steer) for steer in beside["unheard"]],
    }
    return JsonResponse(_told(found) | more)


@program("POST", Permission.STATE_GOAL)
def act(request: TeamRequest, session: UUID, verb: str) -> JsonResponse:
    """Say something to the agent of a session, interrupt it, have taken back what it did, or not taken back."""
    if verb not in VERBS:
        raise Http404
    body, carry_out = VERBS[verb]
    made = carry_out(get_object_or_404(Session, pk=session), body_of(request, body), request.user)
    return JsonResponse(_said(made), status=201)


@program("POST", Permission.VIEW)
def answer(request: TeamRequest, session: UUID, question: UUID) -> JsonResponse:
    """Answer a question of an agent: who may depends on what it asks."""
    found = get_object_or_404(Session, pk=session)
    wanted, role = wanted_for(found, question), request.membership.role
    if not may(role, wanted):
        raise Refused(403, refusal(role, wanted))
    given = body_of(request, Words)
    made = steering.answer(found, question, given.text, by=request.user, key=given.key)
    return JsonResponse(_said(made), status=201)


def _told(row: Session) -> dict[str, Any]:
    return {
        "id": row.pk,
        "subject": row.subject,
        "title": row.title,
        "agent": row.agent,
        "model": row.model,
        "doing": row.doing,
        "input_tokens": row.input_tokens,
        "output_tokens": row.output_tokens,
        "created_at": row.created_at,
        "ended_at": row.ended_at,
    }


def _asked(part: Part) -> dict[str, Any]:
    return {
        "id": part.pk,
        "text": part.text,
        "options": part.options,
        "about": str(part.input.get("about", "")),
        "asked_at": part.created_at,
    }


def _said(steer: Steer) -> dict[str, Any]:
    return {
        "id": steer.pk,
        "kind": steer.kind,
        "text": steer.text,
        "by": steer.name,
        "question": steer.question,
        "said_at": steer.created_at,
        "heard_at": steer.taken_at,
    }
