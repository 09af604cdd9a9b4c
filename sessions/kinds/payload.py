"""What every event has, and those that every part of the platform tells: moves and decisions. Pure."""

from pydantic import BaseModel, ConfigDict


class Payload(BaseModel):
    """What an event tells, beside who, when and about what."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Moved(Payload):
    """Something changed its state."""

    id: str
    name: str = ""
    before: str
    after: str
    because: str = ""
    reason: str = ""


class OneMove(Payload):
    """One of several moves that were made together."""

    noun: str
    id: str
    name: str
    before: str
    after: str
    because: str = ""


class MovedTogether(Payload):
    """Nodes, and attempts of the control plane, that moved in one step of the engine, in this order."""

    moves: list[OneMove]


class Decided(Payload):
    """The engine, the coordinator or a policy chose, and why."""

    by: str
    what: str
    why: str
    node: str = ""
