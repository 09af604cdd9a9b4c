"""Events about the work: who does it, how it is proven and merged, who decides, what it costs. Pure."""

from sessions.kinds.payload import Payload


class ExecutionPlaced(Payload):
    """An assignment was placed on a runner: from now on its agent is at work."""

    execution: str
    kind: str
    subject: str
    agent: str
    runner: str
    session: str
    title: str


class AttemptStarted(Payload):
    """A node's next attempt was placed on a runner."""

    node: str
    attempt: int
    agent: str
    runner: str
    session: str


class ChecksFinished(Payload):
    """The control plane ran checks on an exact commit."""

    purpose: str
    commit: str
    passed: int
    total: int
    node: str = ""
    failed: list[str] = []


class MergeConflicted(Payload):
    """A merge conflicts; it goes back to its author."""

    node: str
    attempt: int
    paths: list[str]
    other: list[str]


class Merged(Payload):
    """A node's work is on the integration branch."""

    node: str
    commit: str


class Landed(Payload):
    """The integration branch, or what is left of it after a rollback, is on the target branch."""

    branch: str
    commit: str
    pushed: str


class ApprovalAsked(Payload):
    """A person must decide."""

    approval: str
    kind: str
    title: str
    node: str = ""


class ApprovalDecided(Payload):
    """A person, or an automatic member, decided."""

    approval: str
    kind: str
    title: str
    verdict: str
    by: str
    automatic: bool
    because: str = ""


class BudgetSet(Payload):
    """A member set how much may be spent on something; no limit: nothing holds it back."""

    budget: str
    limit_microusd: int | None
    soft_percent: int


class Doing(Payload):
    """What an agent does now."""

    agent: str
    session: str
    text: str


class ModelCalled(Payload):
    """A metered call of a model."""

    session: str
    model: str
    rehearsal: bool
    status: int
    input_tokens: int
    output_tokens: int
    cost_microusd: int | None


class BreakerMoved(Payload):
    """What the agents depend on is left alone, tried again or well again."""

    name: str
    before: str
    after: str
    because: str = ""
    until: str | None = None
