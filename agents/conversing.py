"""A member's words to the agents of a swarm, as they come from a page: who may say what."""

from typing import Any
from uuid import UUID

from django.core.exceptions import ValidationError

from agents import steering
from agents.contracts.people import Answer, Done, FromPerson, Interrupt, Refused, Say
from agents.models import Execution, Steer
from agents.states import LIVE
from sessions import talk
from sessions.models import Part, Session
from tenants.access import refusal
from tenants.context import PUBLIC, in_schema
from tenants.models import Membership, Team, User
from tenants.roles import Permission, may

UNKNOWN = "There is no such session in this swarm."


def carry_out(team: UUID, user: UUID, swarm: UUID, message: FromPerson) -> Done | Refused:
    """Do what a member asks for on the websocket of a swarm; what is not possible is said."""
    with in_schema(PUBLIC):
        found = Team.objects.get(pk=team)
        member = Membership.objects.select_related("user").filter(team=found, user=user, user__is_active=True).first()
    with in_schema(found.schema_name):
        session = Session.objects.filter(pk=message.session, subject=f"swarm:{swarm}").first()
        if member is None or session is None:
            return Refused(key=message.key, text=UNKNOWN)
        try:
            _do(session, message, member.user, member.role)
        except ValidationError as error:
            return Refused(key=message.key, text=" ".join(error.messages))
    return Done(key=message.key)


def _do(session: Session, message: FromPerson, by: User, role: str) -> None:
    wanted = Permission.STATE_GOAL
    if isinstance(message, Answer):
        wanted = wanted_for(session, message.question)
    if not may(role, wanted):
        raise ValidationError(refusal(role, wanted))
    match message:
        case Say():
            steering.say(session, message.text, by=by, key=message.key)
        case Interrupt():
            steering.interrupt(session, message.text, by=by, key=message.key)
        case Answer():
            steering.answer(session, message.question, message.text, by=by, key=message.key)


def wanted_for(session: Session, question: UUID) -> Permission:
    """What a member must be allowed to answer a question."""
    part = Part.objects.filter(pk=question, message__session=session, kind="question").first()
    return steering.needed(part) if part else Permission.STATE_GOAL


def panel(session: Session) -> dict[str, Any]:
    """What pages show beside a transcript: whether the agent hears, what it has not heard yet, what it asks."""
    execution = Execution.objects.filter(session=session).first()
    hears = execution is not None and execution.state in LIVE and execution.kind != "check"
    return {
        "session": session,
        "hears": hears,
        "reverts": execution is not None and hears and steering.can_revert(execution),
        "reverted": execution is not None and hears and steering.is_reverted(execution),
        "unheard": list(Steer.objects.filter(execution=execution, taken_at=None).order_by("created_at"))
        if execution is not None
        else [],
        "questions": [
            part for part in talk.open_questions(session.subject) if hears and part.message.session_id == session.pk
        ],
    }
