"""What every event has, and those that every part of the platform tells: decisions, and several moves at once. Pure."""

from datetime import datetime
from typing import Any
from uuid import UUID

from pydantic import BaseModel, ConfigDict


class Envelope(BaseModel):
    """An event as programs get it."""

    model_config = ConfigDict(frozen=True)

    id: UUID
    """Never given twice: by it a receiver knows an event that comes again."""
    kind: str
    """One of the kinds below; it says what the payload has."""
    subject: str
    """What it is about: `team`, `project:<uuid>`, `swarm:<uuid>` or `session:<uuid>`."""
    seq: int
    """Its number in its subject: 1, 2, 3 … without gaps, in the order in which they were committed."""
    position: int | None
    """Its place in the team's stream; not yet given for a moment after the commit."""
    at: datetime
    """When it was written, by the database's clock."""
    actor: str
    """Who did it: `user:<uuid>`, `agent:<name>`, or `system` for the platform itself."""
    cause: UUID | None
    """The first event of what its actor did in one go, from which this one follows; none for that first event, and
    where the platform acted on a whole state rather than on one event."""
    trace: str
    """The trace in which it happened: the same in logs, messages and assignments; empty outside any."""
    payload: dict[str, Any]
    """What its kind says, see below."""


class Payload(BaseModel):
    """What an event tells, beside who, when and about what."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class OneMove(Payload):
    """One of several moves that were made together."""

    noun: str
    """node or attempt"""
    id: str
    """The row that moved."""
    name: str
    """What people call it."""
    before: str
    """The state that it left."""
    after: str
    """The state that it came to."""
    because: str = ""
    """Why, for people."""


class MovedTogether(Payload):
    """Nodes, and attempts of the control plane, moved in one step of the engine."""

    moves: list[OneMove]
    """The moves, in their order."""


class Decided(Payload):
    """The engine, the coordinator, a policy or a person chose something."""

    by: str
    """engine, coordinator, policy, operator or user:<uuid>"""
    what: str
    """What was chosen."""
    why: str
    """The reason."""
    node: str = ""
    """Key of the node that it is about; empty: the swarm as a whole."""
    is_told: bool = False
    """Another event tells what came of it, a move or a question: feeds leave it out, the list of decisions has it."""
