"""The one way to change a state."""

from typing import Any, Protocol
from uuid import UUID

from django.db import models, transaction

from sessions.events import publish
from tenants.states import Moves


class Movable(Protocol):
    """A row with a state: its class names the noun and the table of moves."""

    NOUN: str
    MOVES: Moves
    pk: UUID
    state: str

    @property
    def event_subject(self) -> str: ...


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
    with transaction.atomic():
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
    obj.state = to
    for name, value in fields.items():
        setattr(obj, name, value)
    return True
