"""Events about what must be done: goals, plans, nodes. Pure."""

from sessions.kinds.payload import Payload


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
