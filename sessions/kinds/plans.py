"""Events about what must be done: goals, plans, nodes. Pure."""

from sessions.kinds.payload import Payload


class GoalStated(Payload):
    """A person stated a goal."""

    goal: str
    """Its id."""
    number: int
    """Its number in the project, and that of its swarm."""
    text: str
    """What is wanted, in the person's words."""
    base: str = ""
    """The commit from which its swarm's branch goes on."""
    project: str = ""
    """Id of its project."""
    swarm: str = ""
    """Id of its swarm: events about its work have the subject `swarm:<uuid>`."""


class PlanProposed(Payload):
    """The coordinator, or a person, gave a valid plan."""

    plan: str
    """Its id."""
    version: int
    """Plans of a swarm are numbered."""
    source: str
    """coordinator, or yaml: a person gave it"""
    nodes: list[str]
    """Keys of its nodes."""
    warnings: list[str]
    """What a person should look at before approving."""
    node: str = ""
    """Key of the node that it details; empty: it is a plan of the whole."""


class PlanRefused(Payload):
    """A proposed plan has faults; it goes back with the list."""

    plan: str
    """Its id."""
    version: int
    """Plans of a swarm are numbered."""
    round: int
    """How often it was proposed by now."""
    faults: list[str]
    """All that must be mended."""


class PlannedWhen(Payload):
    """What the output of a node's parent must say."""

    parent: str
    """Key of the parent."""
    field: str
    """Name in its output."""
    values: list[str]
    """What may stand there."""
    negate: bool
    """Instead: what must not hold."""
    at_least: float | None = None
    """Of a number: it is not less."""
    at_most: float | None = None
    """Of a number: it is not more."""


class PlannedNode(Payload):
    """A node with what it waits for; its other words are in the document of that version of the plan."""

    id: str
    """Its id."""
    key: str
    """Its short name in the plan."""
    title: str
    """What is done, in a few words."""
    kind: str
    """agent, noop, plan or undo"""
    role: str
    """Who does it; empty for nodes without an agent."""
    risk: str
    """high: a person is asked before it starts"""
    parents: list[str]
    """Keys of the nodes that it waits for."""
    when: list[PlannedWhen] = []
    """Conditions on the output of parents."""
    version: int
    """The version of the plan that has its words."""
    priority: int
    """Higher goes first."""
    max_attempts: int
    """How often it is tried."""
    under: str = ""
    """Key of the node whose details it belongs to."""
    undoes: str = ""
    """Key of the node whose work it takes back."""


class NodesPlanned(Payload):
    """Nodes came into a swarm or changed where nothing ran, each told whole; or were dropped from its plan."""

    nodes: list[PlannedNode]
    """The nodes as they are now."""
    dropped: list[str] = []
    """Ids of nodes that are gone."""


class BranchSet(Payload):
    """A swarm's branch goes on from another commit, without a merge."""

    commit: str
    """The commit."""
    why: str
    """The reason."""


class PrioritySet(Payload):
    """A person let a swarm, or a node of it, go before others or after them."""

    priority: int
    """Higher goes first; 0 is usual."""
    node: str = ""
    """Key of the node; empty: the swarm."""


class DeadlineSet(Payload):
    """A person set when a swarm must have ended."""

    at: str | None
    """The moment; nothing: there is no deadline any more."""
