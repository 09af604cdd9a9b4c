"""Sessions that happened elsewhere and before: taken over with their own times, as often as they are offered.

They belong to a subject (`project:<uuid>`), have ended, and say in `origin` where they come from: `program`, `version`,
`key` (their name there), `parent` (the key of the session that began them), `directory`, and `imported_at`.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import Max, QuerySet
from django.utils import timezone

from sessions import storable, transcript
from sessions.events import publish
from sessions.models import Message, Part, Session

REMOVED_AT_ONCE = 20
"""Sessions that one transaction takes out."""


@dataclass(frozen=True)
class Past:
    """A session as it was where it comes from. Its id is made of its name there: the same whenever it is offered."""

    id: UUID
    subject: str
    title: str
    agent: str
    created_at: datetime
    ended_at: datetime
    """When it last changed."""
    origin: dict[str, str]


@dataclass(frozen=True)
class Taken:
    """How many records were not here, and how many parts were less than they are now."""

    messages: int = 0
    parts: int = 0
    grown: int = 0
    is_new: bool = False
    """Whether the session itself was not here."""
    is_changed: bool = False
    """Whether its title or dates were others."""

    def __bool__(self) -> bool:
        return self != Taken()

    def __or__(self, other: "Taken") -> "Taken":
        return Taken(
            self.messages + other.messages,
            self.parts + other.parts,
            self.grown + other.grown,
            self.is_new or other.is_new,
            self.is_changed or other.is_changed,
        )


def imported(subject: str, program: str = "", *, keys: Collection[str] = ()) -> QuerySet[Session]:
    """The sessions of a subject that happened elsewhere: all, those of a program, those with these keys there."""
    found = Session.objects.filter(subject=subject, origin__isnull=False)
    if program:
        found = found.filter(origin__program=program)
    return found.filter(origin__key__in=list(keys)) if keys else found


def take(past: Past, records: Sequence[Any] = ()) -> Taken:
    """Add messages and parts (sessions.transcript.Record, with their own times) to a session, in one transaction.

    The first call makes the session. What is here already stays, a part that has grown is replaced; offering the same
    again changes nothing. One event tells of it all, on the session and on its subject. Raises transcript.RecordFault.
    """
    with transaction.atomic():
        row, is_new = Session.objects.select_for_update(no_key=True).get_or_create(pk=past.id, defaults=_made(past))
        written = transcript.write(row, transcript.Batch.of(_placed(records)))
        changes = {} if is_new else _changes(row, past)
        taken = Taken(len(written.messages), len(written.parts), len(written.grown), is_new, bool(changes))
        if taken:
            origin = changes.get("origin", row.origin or {}) | {"imported_at": timezone.now().isoformat()}
            Session.objects.filter(pk=row.pk).update(**changes | {"origin": origin})
            facts: dict[str, Any] = {
                "session": str(row.pk),
                "program": past.origin["program"],
                "messages": taken.messages,
                "parts": taken.parts + taken.grown,
            }
            told = publish(past.subject, "session.imported", **facts)
            publish(f"session:{row.pk}", "session.imported", cause=told.pk, **facts)
    return taken


def compare(past: Past, records: Sequence[Any] = ()) -> Taken:
    """What `take` would find new, without writing anything."""
    row = Session.objects.filter(pk=past.id).first()
    messages = {r.id for r in records if r.type == "message"}
    before, after = transcript.heavier([r for r in _placed(records) if r.type == "part"])
    return Taken(
        messages=len(messages) - Message.objects.filter(pk__in=messages).count(),
        parts=len(after.keys() - before.keys()),
        grown=len(after.keys() & before.keys()),
        is_new=row is None,
        is_changed=row is not None and bool(_changes(row, past)),
    )


def remove(subject: str, program: str, *, keys: Collection[str] = ()) -> int:
    """Take imported sessions of a program out again, all or those with these keys. Returns how many there were."""
    found = imported(subject, program, keys=keys)
    count = 0
    while ids := list(found.values_list("pk", flat=True)[:REMOVED_AT_ONCE]):
        with transaction.atomic():
            Session.objects.filter(pk__in=ids).delete()
            publish(subject, "sessions.removed", program=program, sessions=len(ids))
        count += len(ids)
    return count


def _origin(past: Past) -> dict[str, str]:
    return {name: storable.text(value) for name, value in past.origin.items()}


def _title(past: Past) -> str:
    return storable.text(past.title)[: Session._meta.get_field("title").max_length]


def _made(past: Past) -> dict[str, Any]:
    return {
        "subject": past.subject,
        "title": _title(past),
        "agent": past.agent,
        "created_at": past.created_at,
        "ended_at": past.ended_at,
        "origin": _origin(past),
    }


def _changes(row: Session, past: Past) -> dict[str, Any]:
    """What the session is now that it was not when it was last taken over; nothing when an older copy is offered."""
    if row.ended_at is not None and past.ended_at < row.ended_at:
        return {}
    now = {"title": _title(past), "ended_at": past.ended_at, "origin": _origin(past)}
    known = {"title": row.title, "ended_at": row.ended_at, "origin": _without_date(row.origin or {})}
    return {name: value for name, value in now.items() if value != known[name]}


def _without_date(origin: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in origin.items() if name != "imported_at"}


def _placed(records: Sequence[Any]) -> Iterator[Any]:
    """The records, with parts where they are already, and new ones behind those of their message."""
    parts = [r for r in records if r.type == "part"]
    known = Part.objects.filter(pk__in={r.id for r in parts})
    places = dict(known.values_list("pk", "index"))
    ends = Part.objects.filter(message__in={r.message for r in parts}).values("message").annotate(last=Max("index"))
    last = dict(ends.values_list("message", "last"))
    for r in records:
        if r.type == "part":
            if r.id not in places:
                places[r.id] = last[r.message] = last.get(r.message, -1) + 1
            r = r.model_copy(update={"index": places[r.id]})
        yield r
