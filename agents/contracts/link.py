"""Messages between a runner and the control plane at /runner/.

On a websocket each is a frame of JSON. Where no websocket gets through, they go over plain HTTP: a POST of `Said` for
those of the runner, answered by `Heard`. Either side passes over fields that it does not know.
"""

from typing import Annotated, Literal
from uuid import UUID

from pydantic import Field

from agents.contracts.assignment import Assignment, Frozen

PROTOCOL, OLDEST = 1, 1
"""Of these messages and of assignments: ours, and the oldest that a runner may speak. It counts up when there is
something that a runner must know to work."""
TAKEN, OUTDATED = 4409, 4426
"""Codes with which a runner's websocket is closed when it is refused; over HTTP it is the status, without the 4000."""


class Hello(Frozen):
    """First message of a runner. `boot` changes with each start of its process."""

    type: Literal["hello"] = "hello"
    name: str
    boot: UUID
    after: UUID | None = None
    """The start before, whose folder this process has now, and which is over therefore."""
    version: str
    protocol: int = Field(default=0, ge=0)
    """0: of before there were numbers."""
    capacity: int = Field(ge=1, le=1000)
    sandbox: Literal["bubblewrap", "unshare", "unconfined", "none"]
    proof: str = ""
    """A file of the runner's which says `boot`: whoever can read it there shares its disk."""
    holding: tuple[UUID, ...] = ()
    """Executions that this process still carries out (after a reconnect)."""
    leaving: bool = False
    """It stops as soon as these are over, and takes nothing more."""


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
    taken: tuple[UUID, ...] = ()
    """Of the words that came with orders, those that the agent has taken."""


class Heartbeat(Frozen):
    type: Literal["heartbeat"] = "heartbeat"
    executions: tuple[Beat, ...] = ()
    spares: int = Field(default=0, ge=0, le=1000)
    """Servers that wait for an attempt."""


class Ended(Frozen):
    """The runner let go of an execution. If that is still live, nobody works on it: then it ends at once."""

    type: Literal["ended"] = "ended"
    execution: UUID
    because: Literal["over", "leaving", "full"] = "over"
    """over: its outcome went over HTTP, or nobody wants it; leaving: the runner stops in good order; full: no room."""


class Leaving(Frozen):
    """The runner was asked to stop: it ends what it has, and takes nothing more."""

    type: Literal["leaving"] = "leaving"


class Unsaved(Frozen):
    """What an agent had changed is on no branch, since its execution was over or nobody answered; it lies here."""

    type: Literal["unsaved"] = "unsaved"
    execution: UUID
    team: str
    folder: str
    """On the runner's machine."""
    because: str = ""
    """Why it could not be pushed with the token that was given for it; empty: that was not tried yet."""


class Saved(Frozen):
    """What was unsaved is on the branch of its attempt now."""

    type: Literal["saved"] = "saved"
    execution: UUID
    team: str
    commit: str
    """Empty: there was nothing that the branch did not have."""


FromRunner = Annotated[Hello | Accepted | Heartbeat | Ended | Leaving | Unsaved | Saved, Field(discriminator="type")]


class Welcome(Frozen):
    type: Literal["welcome"] = "welcome"
    runner: UUID
    heartbeat_seconds: float


class Assign(Frozen):
    type: Literal["assign"] = "assign"
    assignment: Assignment


Verdict = Literal["continue", "cancel", "stale"]
"""cancel: stop and report a FailureOutcome(cancelled); stale: the lease is gone, stop and stay silent."""


SteerKind = Literal["message", "interrupt", "answer", "revert", "unrevert"]


class Steer(Frozen):
    """What a person says to an agent at work. It comes with every order until the runner says that it is taken."""

    id: UUID
    kind: SteerKind
    """interrupt: stop what you are doing, then hear; answer: to the question of that part; revert: what was done since
    you were told something last is taken back; unrevert: that was not meant so."""
    text: str = ""
    by: str
    """The person's name."""
    question: UUID | None = None


class Order(Frozen):
    """What to do with an execution; with `continue`, also what who carries it out should know."""

    verdict: Verdict
    pause: bool = False
    """Its swarm is paused: nothing new starts, what runs goes on to its end."""
    budget_left: int | None = None
    """Millionths of a dollar that it may still spend, on the tightest of its budgets; None: no limit."""
    steer: tuple[Steer, ...] = ()
    """What people say to its agent, as they said it."""


class Verdicts(Frozen):
    """Answer to Heartbeat: an order for each execution. Without being asked, and after Accepted: for what must stop."""

    type: Literal["verdicts"] = "verdicts"
    executions: dict[UUID, Order]


class Hurry(Frozen):
    """Send a heartbeat at once: its answer has something new."""

    type: Literal["hurry"] = "hurry"


class Rescue(Frozen):
    """Answer to Unsaved: push it to the branch of its attempt with this token, which is good for nothing else."""

    type: Literal["rescue"] = "rescue"
    execution: UUID
    token: str


class Forget(Frozen):
    """Answer to Unsaved: nobody needs it any more, since its node is done or its swarm is gone."""

    type: Literal["forget"] = "forget"
    execution: UUID


ToRunner = Annotated[Welcome | Assign | Verdicts | Hurry | Rescue | Forget, Field(discriminator="type")]


class Said(Frozen):
    """What a runner says over HTTP."""

    messages: tuple[FromRunner, ...] = ()
    boot: UUID | None = None
    """Of who says it, as in its Hello."""
    wait: bool = False
    """Answer when there is something to do, or after a while: for the one request that listens."""


class Heard(Frozen):
    """The answer to Said."""

    messages: tuple[ToRunner, ...] = ()
