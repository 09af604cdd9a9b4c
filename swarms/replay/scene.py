"""What a swarm is at one of its events, as the events up to there tell it. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from swarms.states import SWARM_UNDOES, NodeState, PlanState, SwarmState

MOST_ATTEMPTS = 200
"""Attempts of one node that a scene has; a plan allows twenty, and what is lost with its runner comes on top."""


class Told(NamedTuple):
    """One event of a swarm."""

    seq: int
    kind: str
    payload: Mapping[str, Any]
    at: datetime
    actor: str = ""
    id: UUID | None = None
    cause: UUID | None = None
    """The event that this one follows from, of this swarm or of something else."""
    trace: str = ""


class WhenSeen(NamedTuple):
    """What a parent's output must say."""

    parent: str
    field: str
    values: tuple[str, ...]
    negate: bool
    at_least: float | None = None
    at_most: float | None = None


class NodeSeen(NamedTuple):
    """A node of the plan, or one that undoes another."""

    id: str
    key: str
    title: str
    kind: str
    role: str
    risk: str
    parents: tuple[str, ...]
    when: tuple[WhenSeen, ...]
    version: int
    """The version of the plan whose document has the rest of its words."""
    priority: int
    max_attempts: int
    under: str
    undoes: str
    state: str = NodeState.BLOCKED
    because: str = ""
    attempts: int = 0
    is_dropped: bool = False
    began: datetime | None = None
    ended: datetime | None = None
    answers: Mapping[str, Any] = {}
    """What its agent answered, by name."""


class AttemptSeen(NamedTuple):
    """One try of a node."""

    node: str
    number: int
    state: str = "leased"
    reason: str = ""
    because: str = ""
    agent: str = ""
    """Empty: the control plane itself."""
    session: str = ""


class WorkSeen(NamedTuple):
    """An agent at work: a live execution."""

    id: str
    kind: str
    subject: str
    agent: str
    runner: str
    session: str
    title: str
    state: str = "leased"
    doing: str = ""
    since: datetime | None = None


class AskSeen(NamedTuple):
    """A question that waits for a person."""

    id: str
    kind: str
    title: str
    node: str
    since: datetime | None = None


class PlanSeen(NamedTuple):
    """A version of the plan that was proposed."""

    version: int
    source: str
    node: str
    """The node that it details; empty: it is of the whole."""
    state: str = PlanState.PROPOSED


class Spent(NamedTuple):
    """What the model calls took."""

    tokens: int = 0
    microusd: int = 0
    priced: int = 0
    """Calls whose price is known."""
    unpriced: int = 0
    rehearsed: int = 0


@dataclass(frozen=True)
class Scene:
    """A swarm at one of its events. Its mappings are never changed: the next scene has others."""

    seq: int = 0
    at: datetime | None = None
    began: datetime | None = None
    number: int = 0
    goal: str = ""
    """The first 500 characters of its text."""
    base: str = ""
    """The commit from which its branch goes on; empty: what came before the first event here is not known."""
    state: str = SwarmState.PLANNING
    because: str = ""
    branch: str = ""
    """Head of the swarm's branch."""
    landed: str = ""
    landed_on: str = ""
    pushed: str = ""
    rolled_back: str = ""
    priority: int = 0
    deadline: str = ""
    nodes: Mapping[str, NodeSeen] = field(default_factory=dict)
    """By id."""
    attempts: Mapping[str, tuple[AttemptSeen, ...]] = field(default_factory=dict)
    """The newest MOST_ATTEMPTS of each node, by its key, in their order."""
    works: Mapping[str, WorkSeen] = field(default_factory=dict)
    asks: Mapping[str, AskSeen] = field(default_factory=dict)
    plans: Mapping[str, PlanSeen] = field(default_factory=dict)
    merges: Mapping[str, str] = field(default_factory=dict)
    """Commits by the keys of the nodes that were merged there, in that order."""
    spent: Spent = field(default_factory=Spent)

    @property
    def version(self) -> int:
        """The plan of the whole that is in force; 0: none."""
        return max((p.version for p in self.plans.values() if not p.node and p.state == PlanState.APPROVED), default=0)

    @property
    def offered(self) -> int:
        """The newest plan of the whole that was proposed; 0: none."""
        return max((plan.version for plan in self.plans.values() if not plan.node), default=0)

    @property
    def present(self) -> list[NodeSeen]:
        """The nodes that belong to the plan, those that go first before the others."""
        kept = (node for node in self.nodes.values() if not node.is_dropped)
        return sorted(kept, key=lambda node: (-node.priority, node.key))

    @property
    def done(self) -> int:
        """How many of them have succeeded."""
        return sum(node.state == NodeState.SUCCEEDED and not node.is_dropped for node in self.nodes.values())

    @property
    def is_taken_back(self) -> bool:
        """Its work is being undone, or was."""
        undone = self.state in SWARM_UNDOES or self.state == SwarmState.ROLLED_BACK
        return undone or any(node.undoes for node in self.nodes.values())

    def agent_of(self, node: NodeSeen) -> str:
        """Who works on a node now; empty: nobody."""
        last = self.last_attempt(node)
        return last.agent if last and last.state in ("leased", "running") else ""

    def last_attempt(self, node: NodeSeen) -> AttemptSeen | None:
        """The newest try of a node."""
        tries = self.attempts.get(node.key)
        return tries[-1] if tries else None


EMPTY = Scene()
_UNTOLD = frozenset({"seq", "at", "began", "deadline", "spent"})
"""What two scenes of the same moment may differ in: clocks, and money, which is booked and told one after the other."""


def differences(told: Scene, seen: Scene) -> list[str]:
    """What events tell otherwise than the tables show, in words; times are not compared."""
    found = []
    for name in Scene.__dataclass_fields__:
        one, other = getattr(told, name), getattr(seen, name)
        if name in _UNTOLD or one == other:
            continue
        if not isinstance(one, Mapping):
            found.append(f"{name}: events say {one!r}, the tables {other!r}")
            continue
        for key in sorted({*one, *other}):
            a, b = _timeless(one.get(key)), _timeless(other.get(key))
            if a != b:
                found.append(f"{name} {key}: events say {a!r}, the tables {b!r}")
    return found


def _timeless(row: Any) -> Any:
    """A row without its clocks."""
    clocks = {name: None for name in ("began", "ended", "since") if name in getattr(row, "_fields", ())}
    return row._replace(**clocks) if clocks else row
