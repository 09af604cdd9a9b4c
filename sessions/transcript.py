"""The transcript of a session, as it streams in: idempotent by ids, in any order, as often as it is sent."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Protocol, cast
from uuid import UUID

from django.db import DataError, IntegrityError, transaction
from django.db.models import F, Max
from django.utils import timezone

from sessions import deltas, storable
from sessions.events import acting, publish, publish_all
from sessions.facts import closed_fact, ended_fact, message_fact, part_fact, question_fact, topic_of
from sessions.models import Message, Part, Session
from tenants.context import current_schema

OPEN, DONE, FAILED = "open", "done", "failed"
MOST_TOKENS, MOST_COST = 10**9, 10**15
_GROWS = ["kind", "state", "text", "tool", "input", "output", "usage", "started_at", "ended_at", "updated_at"]


class Record(Protocol):
    """What a runtime sends: see agents.contracts.records, which this app must not import."""

    @property
    def type(self) -> str: ...


class RecordFault(ValueError):
    """A record that cannot belong to this session; the text says which and why."""


class SessionOver(Exception):
    """The session has ended: nobody may add to it."""


@dataclass
class Batch:
    """Records by their type, in the order in which they came."""

    messages: list[Any] = field(default_factory=list)
    parts: list[Any] = field(default_factory=list)
    deltas: list[Any] = field(default_factory=list)
    doing: str | None = None

    @classmethod
    def of(cls, records: Iterable[Record]) -> "Batch":
        """Sort records into a batch."""
        batch = cls()
        for record in cast(Iterable[Any], records):
            match record.type:
                case "message":
                    batch.messages.append(record)
                case "part":
                    batch.parts.append(record)
                case "delta":
                    batch.deltas.append(record)
                case "doing":
                    batch.doing = record.text
                case other:
                    raise RecordFault(f"unknown type of record: {other}")
        return batch


@dataclass(frozen=True)
class Written:
    """What `write` changed."""

    messages: Sequence[Message] = ()
    """New ones."""
    parts: Sequence[Part] = ()
    """New ones."""
    grown: Sequence[Part] = ()
    """Parts that were there, and are more now."""
    moved: Sequence[Part] = ()
    """Parts that are new or have another state, as they came."""


def record(session: Session, records: Sequence[Record]) -> int:
    """Add what an agent did to its transcript, inside the team's schema. Returns how many records were taken.

    Sending the same again changes nothing. A part only ever grows: a finished one is never open again.
    New messages and parts are announced on `session:<uuid>`, what the agent does or asks on the session's subject.
    Raises RecordFault when a record names what is not this session's, SessionOver.
    """
    batch = Batch.of(records)
    with transaction.atomic(), acting(f"agent:{session.agent}", is_followed=False):
        # The subject's row is locked before the session's, as whoever ends a session does.
        if batch.doing is not None:
            _do(session, batch.doing)
        _ask(session, batch.parts)
        row = Session.objects.select_for_update(no_key=True).get(pk=session.pk)
        if row.ended_at is not None:
            raise SessionOver(str(row.pk))
        written = write(row, batch)
        pieces = _pieces(row, batch.deltas)
        publish_all(topic_of(row), [*map(message_fact, written.messages), *map(part_fact, written.moved)])
        if pieces:
            schema = current_schema()
            transaction.on_commit(lambda: deltas.push(schema, row.pk, pieces))
    return len(records)


def write(session: Session, batch: Batch) -> Written:
    """The messages and parts of a batch, in the caller's transaction, which holds the session's row. Tells nobody.

    A record that carries its own times (`created_at`, a part's `updated_at` too) keeps them. Raises RecordFault.
    """
    messages = _write_messages(session, batch.messages)
    return replace(_write_parts(session, batch.parts), messages=messages)


def close(session: Session) -> None:
    """The session is over: what is still open has failed. Closing it again changes nothing."""
    with transaction.atomic():
        row = Session.objects.select_for_update(no_key=True).get(pk=session.pk)
        if row.ended_at is not None:
            return
        left = list(Part.objects.filter(message__session=row, state=OPEN).order_by("message__number", "index"))
        Part.objects.filter(pk__in=[part.pk for part in left]).update(state=FAILED, updated_at=timezone.now())
        for part in left:
            part.state = FAILED
        publish_all(topic_of(row), [*map(part_fact, left), ended_fact(row)])
        Session.objects.filter(pk=row.pk).update(ended_at=timezone.now(), doing="")


def _do(session: Session, text: str) -> None:
    line = storable.text(text)[: Session._meta.get_field("doing").max_length]
    known = Session.objects.filter(pk=session.pk).values_list("doing", flat=True).get()
    if line == known:
        return
    publish(session.subject, "agent.doing", agent=session.agent, session=str(session.pk), text=line)
    Session.objects.filter(pk=session.pk, ended_at=None).update(doing=line)


def _ask(session: Session, records: Sequence[Any]) -> None:
    """Tells the session's subject of new questions, and of those that the agent gave up."""
    last = {record.id: record for record in records if record.kind == "question"}
    if last:
        known = dict(Part.objects.filter(pk__in=last).values_list("pk", "state"))
        facts = [question_fact(session, one) for pk, one in last.items() if pk not in known and one.state == OPEN]
        facts += [closed_fact(session, pk) for pk, one in last.items() if known.get(pk) == OPEN and one.state != OPEN]
        publish_all(session.subject, facts)


def _write_messages(session: Session, records: Sequence[Any]) -> list[Message]:
    if not records:
        return []
    known = {message.pk: message for message in Message.objects.filter(pk__in={r.id for r in records})}
    number = session.messages.aggregate(last=Max("number"))["last"] or 0
    now = timezone.now()
    new: list[Message] = []
    named: list[Message] = []
    for r in records:
        message = known.get(r.id)
        if message is None:
            number += 1
            message = _message(session, number, r, now)
            known[r.id] = message
            new.append(message)
        elif message.session_id != session.pk:
            raise RecordFault(f"message {r.id} belongs to another session")
        elif r.model and not message.model:
            message.model = r.model
            named.append(message)
    Message.objects.bulk_create(new)
    Message.objects.bulk_update(named, ["model"])
    models = [message.model for message in (*new, *named) if message.model]
    if models:
        Session.objects.filter(pk=session.pk).update(model=models[-1])
    return new


def _write_parts(session: Session, records: Sequence[Any]) -> Written:
    if not records:
        return Written()
    _refuse_foreign_messages(session, {r.message for r in records})
    before, after = heavier(records)
    new = [part for pk, part in after.items() if pk not in before]
    grown = [part for pk, part in after.items() if pk in before]
    try:
        with transaction.atomic():
            Part.objects.bulk_create(new)
    except IntegrityError as error:
        raise RecordFault("two parts claim the same place in a message") from error
    except DataError as error:
        raise RecordFault(f"a part cannot be stored: {error}") from error
    Part.objects.bulk_update(grown, _GROWS)
    _count_tokens(session, before, after)
    moved = [part for pk, part in after.items() if pk not in before or before[pk].state != part.state]
    return Written(parts=new, grown=grown, moved=moved)


def heavier(records: Sequence[Any]) -> tuple[dict[UUID, Part], dict[UUID, Part]]:
    """The parts that are stored, and those of the records that are new or heavier, each by id. Raises RecordFault."""
    before = {part.pk: part for part in Part.objects.filter(pk__in={r.id for r in records})}
    after: dict[UUID, Part] = {}
    for r in records:
        known = after.get(r.id) or before.get(r.id)
        if known is not None and (known.message_id, known.index) != (r.message, r.index):
            raise RecordFault(f"part {r.id} is already at another place")
        offered = _part(r)
        if known is not None and known.kind == "question" and known.state != OPEN:
            continue  # a person has answered it, or it was given up: whichever came first
        if known is None or weight(offered) > weight(known):
            after[r.id] = offered
    return before, after


def _refuse_foreign_messages(session: Session, ids: set[UUID]) -> None:
    own = set(Message.objects.filter(pk__in=ids, session=session).values_list("pk", flat=True))
    if foreign := ids - own:
        names = ", ".join(sorted(str(pk) for pk in foreign))
        raise RecordFault(f"not a message of this session, or not recorded yet: {names}")


def _message(session: Session, number: int, r: Any, now: datetime) -> Message:
    return Message(
        id=r.id,
        session=session,
        number=number,
        role=r.role,
        author=getattr(r, "author", ""),
        model=storable.text(r.model),
        created_at=storable.moment(getattr(r, "created_at", now)) or now,
    )


def _part(r: Any) -> Part:
    now = timezone.now()
    return Part(
        id=r.id,
        message_id=r.message,
        index=r.index,
        kind=r.kind,
        state=r.state,
        text=storable.text(r.text),
        tool=storable.text(r.tool[:80]),
        input=storable.tree(r.input),
        output=storable.text(r.output),
        usage=_usage(r.usage.model_dump()) if r.usage else None,
        started_at=storable.moment(r.started_at),
        ended_at=storable.moment(r.ended_at),
        created_at=storable.moment(getattr(r, "created_at", now)) or now,
        updated_at=storable.moment(getattr(r, "updated_at", now)) or now,
    )


def _usage(given: dict[str, int | None]) -> dict[str, int | None]:
    """Within what can be true: providers say it."""
    limits = dict.fromkeys(given, MOST_TOKENS) | {"cost_microusd": MOST_COST}
    return {name: count if count is None else min(max(count, 0), limits[name]) for name, count in given.items()}


def weight(part: Part) -> tuple[bool, int, str]:
    """Of two versions of a part the heavier one counts, whichever came first.

    Ended before open, then the longer, then any fixed order: records may come twice or late.
    """
    times = [moment and moment.isoformat() for moment in (part.started_at, part.ended_at)]
    words = [part.kind, part.state, part.text, part.tool, part.input, part.output, part.usage, *times]
    content = json.dumps(words, sort_keys=True)
    return part.state != OPEN, len(content), content


def _count_tokens(session: Session, before: dict[UUID, Part], after: dict[UUID, Part]) -> None:
    spent = {"input_tokens": 0, "output_tokens": 0}
    for pk, part in after.items():
        for name in spent:
            spent[name] += _tokens(part, name) - _tokens(before.get(pk), name)
    if any(spent.values()):
        Session.objects.filter(pk=session.pk).update(**{name: F(name) + more for name, more in spent.items()})


def _tokens(part: Part | None, name: str) -> int:
    if part is None or part.kind != "step" or not part.usage:
        return 0
    return int(part.usage.get(name, 0))


def _pieces(session: Session, records: Sequence[Any]) -> list[deltas.Piece]:
    ids = {r.part for r in records}
    owners = dict(Part.objects.filter(pk__in=ids).values_list("pk", "message__session")) if ids else {}
    if any(owner != session.pk for owner in owners.values()):
        raise RecordFault("a delta names a part of another session")
    # A delta of a part that is not here yet has nowhere to go; the whole part follows it.
    return [deltas.Piece(r.part, r.offset, r.text) for r in records if r.part in owners]
