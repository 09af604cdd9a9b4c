"""The one way to change a state."""

from collections.abc import Sequence
from functools import partial
from typing import Any, Protocol
from uuid import UUID

import structlog
from django.db import models, transaction

from sessions.events import publish
from tenants.states import Moves

logger = structlog.get_logger(__name__)


class Movable(Protocol):
    """A row with a state: its class names the noun and the table of moves."""

    NOUN: str
    MOVES: Moves
    pk: UUID
    state: str

    @property
    def event_subject(self) -> str: ...


class Overtaken(RuntimeError):
    """Rows that were thought to be locked were moved by somebody else: an error in our code; all is rolled back."""


class IllegalMove(ValueError):
    """The table of moves has no such move: an error in our code."""


def move(obj: Any, to: str, *, because: str = "", guard: models.Q | None = None, **fields: Any) -> bool:
    """Move `obj` to another state, together with `fields`, as one conditional UPDATE and one event.

    Returns False when somebody else was faster (the row is no longer in the state that `obj` has, or `guard` does not
    hold any more): normal, and nothing is changed. Raises IllegalMove.
    """
    if to not in obj.MOVES[obj.state]:
        raise IllegalMove(f"{obj.NOUN} {obj}: {obj.state} -> {to}")
    if any(field.name == "because" for field in obj._meta.fields):
        fields.setdefault("because", because)
    before = obj.state
    with transaction.atomic(savepoint=False):  # nobody goes on after an error in it
        rows = type(obj)._default_manager.filter(guard or models.Q(), pk=obj.pk, state=obj.state)
        if not rows.update(state=to, **fields):
            return False
        publish(
            obj.event_subject,
            f"{obj.NOUN}.moved",
            id=str(obj.pk),
            name=str(obj),
            before=obj.state,
            after=to,
            because=because,
            reason=fields.get("reason", ""),
        )
        reason = str(fields.get("reason", ""))
        transaction.on_commit(partial(_log, obj.NOUN, str(obj), obj.event_subject, before, to, reason))
    obj.state = to
    for name, value in fields.items():
        setattr(obj, name, value)
    return True


def move_all(rows: Sequence[Any], to: str, *, because: str, **fields: Any) -> list[dict[str, str]]:
    """Move several rows of one kind at once, in one UPDATE. Returns the moves, for the caller to tell of in one event.

    For rows whose owner the caller has locked, so that nobody else can move them: raises Overtaken when somebody did,
    and IllegalMove.
    """
    moves = []
    for row in rows:
        if to not in row.MOVES[row.state]:
            raise IllegalMove(f"{row.NOUN} {row}: {row.state} -> {to}")
        told = {"noun": row.NOUN, "id": str(row.pk), "name": str(row), "before": str(row.state), "after": str(to)}
        moves.append(told | {"because": because})
    if rows:
        found = type(rows[0])._default_manager.filter(
            pk__in=[row.pk for row in rows], state__in={row.state for row in rows}
        )
        if found.update(state=to, because=because, **fields) != len(rows):
            raise Overtaken(f"{len(rows)} rows were to move to {to}, and somebody else moved some of them")
    for row in rows:
        row.state = to
    return moves


def _log(noun: str, name: str, subject: str, before: str, after: str, reason: str) -> None:
    """One line for each move that was committed, under the names that all lines use.

    Not why, in words: these can be a plan's or a person's, and logs are not their team's alone. The event has them.
    """
    kind, _, key = subject.partition(":")
    about = ({kind: key} if kind == "swarm" else {}) | ({noun: name} if noun != "swarm" else {})
    about |= {"reason": reason} if reason else {}
    logger.info(f"{noun} moved", before=before, after=after, **about)
