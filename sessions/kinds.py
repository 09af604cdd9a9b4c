"""Every kind of durable event, one frozen model each; `publish` refuses any other. Pure."""

from typing import Any

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


class GoalStated(Payload):
    """A person stated a goal."""

    goal: str
    number: int
    text: str
    base: str = ""
    """The commit from which its swarm's branch goes on."""


class PlanProposed(Payload):
    """The coordinator, or a person, gave a valid plan."""

    plan: str
    version: int
    source: str
    nodes: list[str]
    warnings: list[str]
    node: str = ""
    """The node that it details; empty: it is a plan of the whole."""


class PlanRefused(Payload):
    """A proposed plan has faults; it goes back with the list."""

    plan: str
    version: int
    round: int
    faults: list[str]


class PlannedWhen(Payload):
    """What the output of a node's parent must say."""

    parent: str
    field: str
    values: list[str]
    negate: bool


class PlannedNode(Payload):
    """A node with what it waits for; its other words are in the document of that version of the plan."""

    id: str
    key: str
    title: str
    kind: str
    role: str
    risk: str
    parents: list[str]
    when: list[PlannedWhen] = []
    version: int
    priority: int
    max_attempts: int
    under: str = ""
    """The node whose details it belongs to."""
    undoes: str = ""
    """The node whose work it takes back."""


class NodesPlanned(Payload):
    """Nodes came into a swarm or changed where nothing ran, each told whole; or were dropped from its plan."""

    nodes: list[PlannedNode]
    dropped: list[str] = []


class BranchSet(Payload):
    """A swarm's branch goes on from another commit, without a merge."""

    commit: str
    why: str


class PrioritySet(Payload):
    """A person let a swarm, or a node of it, go before others or after them."""

    priority: int
    node: str = ""


class DeadlineSet(Payload):
    """A swarm must have ended by then; nothing: there is no deadline any more."""

    at: str | None


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


class MessageRecorded(Payload):
    """A message of a session began."""

    message: str
    role: str


class PartRecorded(Payload):
    """A part of a message is new, or has a new state."""

    part: str
    message: str
    kind: str
    state: str
    tool: str = ""
    title: str = ""


MOVED_NOUNS = (
    "project",
    "swarm",
    "plan",
    "node",
    "attempt",
    "check_run",
    "merge",
    "approval",
    "execution",
    "server",
)
KINDS: dict[str, type[Payload]] = {f"{noun}.moved": Moved for noun in MOVED_NOUNS} | {
    "nodes.moved": MovedTogether,
    "decision.made": Decided,
    "goal.stated": GoalStated,
    "plan.proposed": PlanProposed,
    "plan.refused": PlanRefused,
    "nodes.planned": NodesPlanned,
    "branch.set": BranchSet,
    "priority.set": PrioritySet,
    "deadline.set": DeadlineSet,
    "execution.placed": ExecutionPlaced,
    "attempt.started": AttemptStarted,
    "checks.finished": ChecksFinished,
    "merge.conflicted": MergeConflicted,
    "node.merged": Merged,
    "swarm.landed": Landed,
    "swarm.rolled_back": Landed,
    "approval.asked": ApprovalAsked,
    "approval.decided": ApprovalDecided,
    "budget.set": BudgetSet,
    "agent.doing": Doing,
    "model.called": ModelCalled,
    "breaker.moved": BreakerMoved,
    "message.recorded": MessageRecorded,
    "part.recorded": PartRecorded,
}


class UnknownKind(ValueError):
    """No such kind of event: add it to sessions.kinds.KINDS."""


def checked(kind: str, payload: dict[str, Any]) -> dict[str, Any]:
    """The payload as its kind's model gives it. Raises UnknownKind or pydantic.ValidationError."""
    if kind not in KINDS:
        raise UnknownKind(kind)
    return KINDS[kind].model_validate(payload).model_dump(mode="json")
