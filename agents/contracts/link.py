"""Messages on a runner's websocket (/runner/, subprotocol-free JSON, one object a frame)."""

from typing import Annotated, Literal
from uuid import UUID

from pydantic import Field

from agents.contracts.assignment import Assignment, Frozen


class Hello(Frozen):
    """First message of a runner. `boot` changes with each start of its process."""

    type: Literal["hello"] = "hello"
    name: str
    boot: UUID
    version: str
    capacity: int = Field(ge=1, le=1000)
    sandbox: Literal["bubblewrap", "unshare", "none"]
    holding: tuple[UUID, ...] = ()
    """Executions that this process still carries out (after a reconnect)."""


class Accepted(Frozen):
    """The runner began with an assignment."""

    type: Literal["accepted"] = "accepted"
    execution: UUID
    fence: UUID


class Beat(Frozen):
    """One live execution in a heartbeat."""

    execution: UUID
    fence: UUID
    progress: int = 0
    """Counts up with everything the agent does; a stall is seen by it."""


class Heartbeat(Frozen):
    type: Literal["heartbeat"] = "heartbeat"
    executions: tuple[Beat, ...] = ()


class Ended(Frozen):
    """The runner let go of an execution. If that is still live, nobody works on it: then it ends at once."""

    type: Literal["ended"] = "ended"
    execution: UUID
    because: Literal["over", "leaving", "full"] = "over"
    """over: its outcome went over HTTP, or nobody wants it; leaving: the runner stops in good order; full: no room."""


FromRunner = Annotated[Hello | Accepted | Heartbeat | Ended, Field(discriminator="type")]


class Welcome(Frozen):
    type: Literal["welcome"] = "welcome"
    runner: UUID
    heartbeat_seconds: float


class Assign(Frozen):
    type: Literal["assign"] = "assign"
    assignment: Assignment


class Verdicts(Frozen):
    """Answer to Accepted and Heartbeat: what to do with each execution.

    `continue`; `cancel`: stop and report a FailureOutcome(cancelled); `stale`: the lease is gone, stop and stay silent.
    """

    type: Literal["verdicts"] = "verdicts"
    executions: dict[UUID, Literal["continue", "cancel", "stale"]]


ToRunner = Annotated[Welcome | Assign | Verdicts, Field(discriminator="type")]
