"""What people say in a session of an agent: messages to it, and answers to its questions."""

from uuid import UUID

from django.db import transaction
from django.db.models import Max
from django.utils import timezone

from sessions.events import publish_all
from sessions.facts import message_fact, part_fact, topic_of
from sessions.models import Message, Part, Session
from sessions.transcript import DONE, OPEN, SessionOver
from tenants.ids import uuid7


def say(session: Session, text: str, *, author: str) -> Message:
    """A person says something to the agent: a message of its own in the transcript. Raises SessionOver."""
    with transaction.atomic():
        row = _live(session)
        number = (row.messages.aggregate(last=Max("number"))["last"] or 0) + 1
        message = Message.objects.create(id=uuid7(), session=row, number=number, role="user", author=author)
        part = Part.objects.create(id=uuid7(), message=message, index=0, kind="text", state=DONE, text=text)
        publish_all(topic_of(row), [message_fact(message), part_fact(part)])
    return message


def answer(session: Session, question: UUID, text: str, *, author: str) -> bool:
    """A person answers a question. False when it is no longer open. Raises SessionOver."""
    with transaction.atomic():
        row = _live(session)
        part = Part.objects.filter(pk=question, message__session=row, kind="question", state=OPEN).first()
        if part is None:
            return False
        part.state, part.output = DONE, f"{author}: {text}"
        fields = {"state": part.state, "output": part.output, "updated_at": timezone.now()}
        Part.objects.filter(pk=part.pk).update(**fields)
        publish_all(topic_of(row), [part_fact(part)])
    return True


def open_questions(subject: str) -> list[Part]:
    """Questions of agents at work on a subject (`swarm:<uuid>`) that nobody has answered, the oldest first."""
    asked = Part.objects.filter(kind="question", state=OPEN, message__session__subject=subject)
    live = asked.filter(message__session__ended_at=None)
    return list(live.select_related("message__session").order_by("created_at"))


def _live(session: Session) -> Session:
    row = Session.objects.select_for_update(no_key=True).get(pk=session.pk)
    if row.ended_at is not None:
        raise SessionOver(str(row.pk))
    return row
