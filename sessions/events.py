"""Writing durable events: the row, its number and its announcement in the caller's transaction."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any
from uuid import UUID

from django.db import connection
from psycopg.types.json import Jsonb

from sessions import kinds
from sessions.models import Event
from tenants.trace import current_trace
from tenants.turns import current_team_id

SYSTEM = "system"
_actor: ContextVar[str] = ContextVar("actor", default=SYSTEM)
_cause: ContextVar[UUID | None] = ContextVar("cause", default=None)

_PUBLISH = "SELECT ids, last, moment FROM agent_sessions_publish(%s, %s, %s, %s, %s, %s, %s)"


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
    actor, because_of, trace = _actor.get(), cause or _cause.get(), current_trace()
    payloads = [Jsonb(payload) for _, payload in checked]
    with connection.cursor() as cursor:
        words: list[Any] = [
            current_team_id(),
            subject,
            [kind for kind, _ in checked],
            payloads,
            actor,
            because_of,
            trace,
        ]
        cursor.execute(_PUBLISH, words)
        ids, last, moment = cursor.fetchone()
    return [
        Event(
            id=key,
            subject=subject,
            seq=seq,
            kind=kind,
            payload=payload,
            actor=actor,
            cause=because_of,
            trace=trace,
            at=moment,
        )
        for seq, (key, (kind, payload)) in enumerate(zip(ids, checked, strict=True), last - len(checked) + 1)
    ]


def current_actor() -> str:
    """Who acts here: what `acting` says."""
    return _actor.get()
