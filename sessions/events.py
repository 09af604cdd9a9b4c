"""Writing durable events: the row, its number and its announcement in the caller's transaction."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db import connection
from psycopg.types.json import Jsonb

from sessions import kinds
from sessions.models import Event
from tenants.trace import current_trace
from tenants.turns import current_team_id

SYSTEM = "system"


@dataclass
class _Act:
    """What somebody does in one go: all that follows from its first event names that as its cause."""

    actor: str
    is_followed: bool
    first: UUID | None = None


_act: ContextVar[_Act | None] = ContextVar("act", default=None)

Statement = tuple[str, Sequence[Any]]
"""SQL and its parameters."""
NOTHING: Statement = ("", ())
_PUBLISH = "SELECT ids, last, moment FROM agent_sessions_publish(%s, %s, %s, %s, %s, %s, %s)"


@contextmanager
def acting(actor: str, *, is_followed: bool = True) -> Iterator[None]:
    """Everything published inside is by this actor: `user:<uuid>`, `agent:<name>` or `system`.

    The first event is the cause of the others, unless they do not follow from it (`is_followed=False`). Inside another
    act, that one's first event is.
    """
    around = _act.get()
    marker = _act.set(_Act(actor, is_followed, around.first if around else None))
    try:
        yield
    finally:
        _act.reset(marker)


def publish(
    subject: str, kind: str, /, *, cause: UUID | None = None, writing: Statement = NOTHING, **payload: Any
) -> Event:
    """Record that something happened to `subject` and let the relay know.

    The subject's row serialises its events: numbers have no gaps and follow the order of commits.
    Raises kinds.UnknownKind, pydantic.ValidationError.
    """
    return publish_all(subject, [(kind, payload)], cause=cause, writing=writing)[0]


def publish_all(
    subject: str,
    facts: Sequence[tuple[str, dict[str, Any]]],
    *,
    cause: UUID | None = None,
    writing: Statement = NOTHING,
) -> list[Event]:
    """`publish` for several facts (kind, payload) about one subject, with the same few queries as for one.

    `writing` is an INSERT, UPDATE or DELETE with its parameters that is one statement, and so one commit, with them.
    """
    if not facts:
        return []
    checked = [(kind, kinds.checked(kind, payload)) for kind, payload in facts]
    act, actor, trace = _act.get(), current_actor(), current_trace()
    because_of = cause or (act.first if act else None)
    told = ([kind for kind, _ in checked], [Jsonb(payload) for _, payload in checked])
    change, values = writing
    with connection.cursor() as cursor:
        words = [*values, current_team_id(), subject, *told, actor, because_of, trace]
        cursor.execute(f"WITH written AS ({change}) {_PUBLISH}" if change else _PUBLISH, words)
        ids, last, moment = cursor.fetchone()
    if act and act.is_followed and act.first is None:
        act.first = ids[0]
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
    act = _act.get()
    return act.actor if act else SYSTEM
