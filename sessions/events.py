"""Writing durable events: the row, its number and its announcement in the caller's transaction."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any
from uuid import UUID

from django.db import connection, transaction

from sessions import kinds
from sessions.models import Event
from tenants.context import current_schema
from tenants.ids import uuid7
from tenants.trace import current_trace

SYSTEM = "system"
_actor: ContextVar[str] = ContextVar("actor", default=SYSTEM)
_cause: ContextVar[UUID | None] = ContextVar("cause", default=None)

_TAKE_NUMBERS = """
INSERT INTO agent_sessions_subject (name, last_seq) VALUES (%(name)s, %(count)s)
ON CONFLICT (name) DO UPDATE SET last_seq = agent_sessions_subject.last_seq + %(count)s
RETURNING last_seq
"""
_OUTBOX = """
INSERT INTO public.tenants_outbox (team_id, event)
SELECT team.id, event.id FROM public.tenants_team AS team
CROSS JOIN unnest(%s::uuid[]) WITH ORDINALITY AS event (id, number)
WHERE team.schema_name = %s ORDER BY event.number
"""


@contextmanager
def acting(actor: str) -> Iterator[None]:
    """Everything published inside is by this actor: `user:<uuid>`, `agent:<name>` or `system`."""
    marker = _actor.set(actor)
    try:
        yield
    finally:
        _actor.reset(marker)


def publish(subject: str, kind: str, /, *, cause: UUID | None = None, **payload: Any) -> Event:
    """Record that something happened to `subject` and let the relay know.

    The subject's row serialises its events: numbers have no gaps and follow the order of commits.
    Raises kinds.UnknownKind, pydantic.ValidationError.
    """
    return publish_all(subject, [(kind, payload)], cause=cause)[0]


def publish_all(subject: str, facts: Sequence[tuple[str, dict[str, Any]]], *, cause: UUID | None = None) -> list[Event]:
    """`publish` for several facts (kind, payload) about one subject, with the same few queries as for one."""
    if not facts:
        return []
    checked = [(kind, kinds.checked(kind, payload)) for kind, payload in facts]
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute(_TAKE_NUMBERS, {"name": subject, "count": len(checked)})
            first = cursor.fetchone()[0] - len(checked) + 1
        events = Event.objects.bulk_create(
            Event(
                id=uuid7(),
                subject=subject,
                seq=seq,
                kind=kind,
                payload=payload,
                actor=_actor.get(),
                cause=cause or _cause.get(),
                trace=current_trace(),
            )
            for seq, (kind, payload) in enumerate(checked, start=first)
        )
        with connection.cursor() as cursor:
            cursor.execute(_OUTBOX, [[event.id for event in events], current_schema()])
            cursor.execute("NOTIFY waggle_outbox")
    return events
