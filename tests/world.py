"""A swarm without a database: carries out what is decided by the pure rules, so that whole lives can be played."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from swarms.actions import (
    AskForNode,
    CheckIntegration,
    EndWaiting,
    FailNode,
    MakeReady,
    MoveSwarm,
    Release,
)
from swarms.decide import NodeView, Snapshot, decide
from swarms.release import SWARM_STOPS, Waiting, satisfied, spread
from swarms.states import NODE_ENDED, NODE_MOVES, SWARM_ENDED, SWARM_MOVES

LAST = frozenset({*SWARM_ENDED, "landing"})


@dataclass
class Vertex:
    """A node of the played swarm."""

    parents: tuple[str, ...] = ()
    fan_in: str = "all_success"
    on_failure: str = "fail_swarm"
    risky: bool = False
    state: str = "blocked"
    approval: str = ""
    left: int = 0
    ok: int = 0


@dataclass
class World:
    """Nodes by key, and the swarm's state; `started` holds them in the order in which they began."""

    nodes: dict[str, Vertex]
    state: str = "running"
    checked: str = ""
    started: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        for vertex in self.nodes.values():
            vertex.left = len(vertex.parents)
        self._go([key for key, vertex in self.nodes.items() if not vertex.parents])

    @property
    def live(self) -> list[str]:
        return [key for key, vertex in self.nodes.items() if vertex.state == "running"]

    @property
    def children(self) -> Mapping[str, list[str]]:
        return {key: [child for child, v in self.nodes.items() if key in v.parents] for key in self.nodes}

    def snapshot(self) -> Snapshot:
        """What `decide` sees: everything that is not simply waiting, working or done, and the counts."""
        counts: dict[str, int] = {}
        for vertex in self.nodes.values():
            counts[vertex.state] = counts.get(vertex.state, 0) + 1
        views = [
            NodeView(
                key=key,
                state=v.state,
                fan_in=v.fan_in,
                on_failure=v.on_failure,
                parents=len(v.parents),
                deps_left=v.left,
                deps_ok=v.ok,
                risky=v.risky,
                approval=v.approval,
            )
            for key, v in self.nodes.items()
            if v.state in ("blocked", "awaiting_approval", "failed", "cancelled")
        ]
        return Snapshot(self.state, tuple(views), counts, integration_check=self.checked, landing_needs_approval=False)

    def settle(self) -> None:
        """Decide and act until the swarm waits for something outside."""
        for _ in range(50):
            if self.state in LAST:
                return
            actions = decide(self.snapshot())
            if not actions:
                return
            for action in actions:
                self._apply(action)
        raise AssertionError("the swarm does not come to rest")

    def _apply(self, action: object) -> None:
        match action:
            case MoveSwarm():
                assert action.to in SWARM_MOVES[self.state]
                self.state = action.to
            case EndWaiting():
                for vertex in self.nodes.values():
                    if vertex.state in ("blocked", "ready", "awaiting_approval"):
                        vertex.state = action.to
            case CheckIntegration():
                self.checked = "passed"
            case AskForNode():
                self.nodes[action.node].state = "awaiting_approval"
                self.nodes[action.node].approval = "pending"
            case MakeReady():
                self._start(action.node)
            case FailNode():
                self.end(action.node, "failed")
            case Release():
                raise AssertionError(f"released late: {action}")
            case _:
                raise AssertionError(action)

    def end(self, key: str, state: str) -> None:
        """A node ends; what waited for it follows."""
        vertex = self.nodes[key]
        assert state in NODE_MOVES[vertex.state]
        vertex.state = state
        if (state == "failed" and vertex.on_failure in SWARM_STOPS) or self.state not in ("running", "paused"):
            return
        waiting = {
            name: Waiting(v.fan_in, len(v.parents), v.left, v.ok)
            for name, v in self.nodes.items()
            if v.state not in NODE_ENDED
        }
        is_ok = satisfied(state, vertex.on_failure, None, {})
        go, skipped = spread([(key, is_ok)], self.children, waiting)
        ended = {key: is_ok} | dict.fromkeys(skipped, False)
        for name in waiting:
            for parent in set(self.nodes[name].parents) & ended.keys():
                self.nodes[name].left -= 1
                self.nodes[name].ok += ended[parent]
        for name in skipped:
            assert self.nodes[name].state == "blocked"
            self.nodes[name].state = "skipped"
        self._go([name for name in go if self.nodes[name].state == "blocked"])

    def _go(self, keys: list[str]) -> None:
        for key in keys:
            if not self.nodes[key].risky:
                self._start(key)

    def _start(self, key: str) -> None:
        self.nodes[key].state = "running"
        self.started.append(key)
