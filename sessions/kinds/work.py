"""Events about the work: who does it, how it is proven and merged, who decides, what it costs. Pure."""

from sessions.kinds.payload import Payload


class ExecutionPlaced(Payload):
    """An assignment was placed on a runner: from now on its agent is at work."""

    execution: str
    """Its id."""
    kind: str
    """plan, work, review or check"""
    subject: str
    """What it is for: plan:<uuid>, node:<uuid> or checks:<uuid>."""
    agent: str
    """Who works."""
    runner: str
    """Name of the runner."""
    session: str
    """The session that has its transcript."""
    title: str
    """What is done, for people."""


class LeftoversKept(Payload):
    """What an agent had changed when its execution ended without a result is kept: on its branch or by its runner."""

    execution: str
    """Its id."""
    agent: str
    """Who worked."""
    runner: str
    """Name of the runner."""
    commit: str
    """What its branch has now; empty: it could not be pushed."""
    folder: str
    """Where it lies on the runner's machine until it can be pushed; empty: it is on its branch."""
    because: str
    """Why it could not be pushed."""


class AttemptStarted(Payload):
    """A node's next attempt was placed on a runner."""

    node: str
    """Key of the node."""
    attempt: int
    """Attempts of a node are numbered."""
    agent: str
    """Who works."""
    runner: str
    """Name of the runner."""
    session: str
    """The session that has its transcript."""


class ChecksFinished(Payload):
    """The control plane ran checks on an exact commit."""

    purpose: str
    """before, exact, merged, integration or landing"""
    commit: str
    """The commit."""
    passed: int
    """Checks that passed."""
    total: int
    """Checks that ran."""
    node: str = ""
    """Key of the node whose work it was; empty: the whole."""
    failed: list[str] = []
    """Names of the checks that failed."""


class MergeConflicted(Payload):
    """A merge conflicts; it goes back to its author."""

    node: str
    """Key of the node whose work it is."""
    attempt: int
    """The attempt that it came from."""
    paths: list[str]
    """Files in conflict."""
    other: list[str]
    """Keys of the nodes whose merged work it conflicts with."""


class Merged(Payload):
    """A node's work is on the integration branch."""

    node: str
    """Key of the node."""
    commit: str
    """The merge commit."""


class Answered(Payload):
    """A node has succeeded, and its agent answered what its plan asks."""

    node: str
    """Key of the node."""
    answers: dict[str, bool | int | float | str]
    """By name."""


class Landed(Payload):
    """The integration branch is on the target branch."""

    branch: str
    """The target branch."""
    commit: str
    """The commit that it has now."""
    pushed: str
    """pushed, or why the source does not have it"""


class RolledBack(Landed):
    """What is left of the integration branch after a rollback is on the target branch."""


class ApprovalAsked(Payload):
    """A person must decide."""

    approval: str
    """Its id."""
    kind: str
    """plan, node, landing, budget, rollback, tool or unconfined"""
    title: str
    """What is asked."""
    node: str = ""
    """Key of the node that it is about, if it is about one."""


class ApprovalDecided(Payload):
    """A person, or an automatic member, decided."""

    approval: str
    """Its id."""
    kind: str
    """plan, node, landing, budget, rollback, tool or unconfined"""
    title: str
    """What was asked."""
    verdict: str
    """approved or rejected"""
    by: str
    """Name of who decided; the event's actor has the id."""
    automatic: bool
    """A member that is no person: a scripted approver."""
    because: str = ""
    """The reason that was given."""


class ArtifactKept(Payload):
    """A file was kept beside a commit; the same name again in a session takes the place of what it was."""

    artifact: str
    """Its id."""
    name: str
    """Its path where it was made."""
    sha256: str
    """SHA-256 of its bytes."""
    size: int
    """How many bytes."""
    media_type: str
    """What it is, as whoever made it says."""
    session: str
    """The session in which it was made."""
    by: str
    """Name of the agent."""


class ArtifactRemoved(Payload):
    """A member took a file away that was kept."""

    artifact: str
    """Its id."""
    name: str
    """Its path where it was made."""
    session: str
    """The session in which it was made."""


class BudgetSet(Payload):
    """How much may be spent on something was set: by a member, their answer to a question, or a changed plan."""

    budget: str
    """Whose: team, project:<uuid>, swarm:<uuid> or node:<uuid>."""
    limit_microusd: int | None
    """The hard line in millionths of a dollar; nothing: there is no limit any more."""
    soft_percent: int
    """The part of it from which on a person is asked."""


class Doing(Payload):
    """An agent does something else now."""

    agent: str
    """Who."""
    session: str
    """The session that has its transcript."""
    text: str
    """What, in one line."""


class ModelCalled(Payload):
    """A model was called; the call is metered."""

    session: str
    """The session that it belongs to."""
    model: str
    """What answered, as the provider says."""
    provider: str = ""
    """The team's own provider; empty: the platform's."""
    because: str = ""
    """Why those did not answer that the team has put before it; empty: it was the first."""
    rehearsal: bool
    """The answer was a recording."""
    status: int
    """HTTP status of the provider; 0: it was not reached."""
    input_tokens: int
    """Tokens of the request."""
    output_tokens: int
    """Tokens of the answer."""
    cost_microusd: int | None
    """Millionths of a dollar; nothing: the price is not known."""


class BreakerMoved(Payload):
    """Something that agents depend on is left alone, tried again or well again."""

    name: str
    """The breaker."""
    before: str
    """The state that it left: closed, open or half_open."""
    after: str
    """The state that it came to."""
    because: str = ""
    """Why."""
    until: str | None = None
    """Until when it is left alone."""
