"""Writing durable events: the row, its number and its announcement in the caller's transaction."""

from contextlib import contextmanager
from collections.abc import Iterator
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

_NEXT_SEQ = """
INSERT INTO agent_sessions_subject (name, last_seq) VALUES (%s, 1)
ON CONFLICT (name) DO UPDATE SET last_seq = agent_sessions_subject.last_seq + 1
RETURNING last_seq
"""
_OUTBOX = """
INSERT INTO public.tenants_outbox (team_id, event) SELECT id, %s FROM public.tenants_team WHERE schema_name = %s
"""


@contextmanager
def acting(actor: str) -> Iterator[None]:
    """Everything published inside is by this actor: `user:<uuid>`, `agent:<name>` or `system`."""
    marker = _actor.set(actor)
    try:
        yield
    finally:
        _actor.reset(marker)


def publish(subject: str, kind: str, *, cause: UUID | None = None, **payload: Any) -> Event:
    """Record that something happened to `subject` and let the relay know.

    The subject's row serialises its events: numbers have no gaps and follow the order of commits.
    Raises kinds.UnknownKind, pydantic.ValidationError.
    """
    facts = kinds.checked(kind, payload)
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute(_NEXT_SEQ, [subject])
            seq = cursor.fetchone()[0]
        event = Event.objects.create(
            id=uuid7(),
            subject=subject,
            seq=seq,
            kind=kind,
            payload=facts,
            actor=_actor.get(),
            cause=cause or _cause.get(),
            trace=current_trace(),
        )
        with connection.cursor() as cursor:
            cursor.execute(_OUTBOX, [event.id, current_schema()])
            cursor.execute("NOTIFY waggle_outbox")
    return event
