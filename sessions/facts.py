"""What events say of a session's messages and parts."""

from typing import Any
from uuid import UUID

from sessions import storable
from sessions.models import Message, Part, Session, options_of

TITLE_LENGTH, TEXT_LENGTH = 120, 500
MOST_OPTIONS = 20
_TITLES = ("path", "command", "pattern", "query", "name", "summary")
Fact = tuple[str, dict[str, Any]]
"""The kind of an event and its payload."""


def topic_of(session: Session) -> str:
    """What the events of a session's transcript are about."""
    return f"session:{session.pk}"


def message_fact(message: Message) -> Fact:
    """A message began."""
    return "message.recorded", {"message": str(message.pk), "role": message.role}


def part_fact(part: Part) -> Fact:
    """A part is new, or has a new state."""
    return "part.recorded", {
        "part": str(part.pk),
        "message": str(part.message_id),
        "kind": part.kind,
        "state": part.state,
        "tool": part.tool,
        "title": _title(part.input),
    }


def question_fact(session: Session, record: Any) -> Fact:
    """An agent asks a person."""
    options = [storable.text(option)[:TITLE_LENGTH] for option in options_of(record.input)[:MOST_OPTIONS]]
    return "question.asked", {
        "session": str(session.pk),
        "part": str(record.id),
        "agent": session.agent,
        "text": storable.text(record.text)[:TEXT_LENGTH],
        "options": options,
    }


def closed_fact(session: Session, question: UUID) -> Fact:
    """An agent goes on without an answer."""
    return "question.closed", {"session": str(session.pk), "part": str(question), "agent": session.agent}


def ended_fact(session: Session) -> Fact:
    """The session is over."""
    return "session.ended", {"session": str(session.pk), "agent": session.agent}


def _title(given: dict[str, Any]) -> str:
    for name in _TITLES:
        if isinstance(given.get(name), str) and given[name].strip():
            return given[name].strip().splitlines()[0][:TITLE_LENGTH]
    return ""
