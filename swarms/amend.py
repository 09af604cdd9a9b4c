"""What a new version of a plan changes in a running swarm, and what it may not. Pure.

Only where nothing ran: a node that has begun stays as it is, with what it waited for. All others can be inserted,
split, dropped, rewired and reworded.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from agents.contracts.assignment import AnswerAsked, Check
from agents.contracts.plan import EdgeCondition, PlanNode, PlanProposal
from swarms import graph
from swarms.vertex import KEY_LENGTH, NESTED


class Answer(StrEnum):
    """What is to be done about a proposed change."""

    ASK = "ask"
    WAIT = "wait"
    ADOPT = "adopt"
    REJECT = "reject"


def answer(*, needs_approval: bool, approval: str) -> Answer:
    """What is to be done about a proposed change; `approval` is the state of its last approval, or empty."""
    if not needs_approval or approval == "approved":
        return Answer.ADOPT
    if approval in ("rejected", "expired"):
        return Answer.REJECT
    return Answer.WAIT if approval == "pending" else Answer.ASK


_EDGES = ("depends_on", "when")
_ANY_TIME = ("priority",)
"""A person may change it at any time; a plan does so only before a node begins."""


@dataclass(frozen=True)
class Present:
    """A node as it is now, written as a plan would; `begun` says why it can no longer be changed (empty: it can)."""

    node: PlanNode
    begun: str = ""


@dataclass(frozen=True)
class Wire:
    """A dependency to be made."""

    parent: str
    child: str
    condition: EdgeCondition | None = None


@dataclass(frozen=True)
class Changes:
    """What makes the present nodes and edges those that are wanted."""

    insert: tuple[PlanNode, ...]
    drop: tuple[str, ...]
    update: tuple[PlanNode, ...]
    """Nodes whose own fields change; their edges are told apart."""
    edges_add: tuple[Wire, ...]
    edges_remove: tuple[tuple[str, str], ...]
    """Pairs of parent and child. A pair that is in both gets another condition."""
    path_lengths: Mapping[str, int]
    """Of every wanted node."""

    @property
    def rewired(self) -> list[str]:
        """Nodes that stay and wait for others than before."""
        gone = {*self.drop, *(node.key for node in self.insert)}
        return sorted(({wire.child for wire in self.edges_add} | {child for _, child in self.edges_remove}) - gone)

    @property
    def reworded(self) -> list[str]:
        """Nodes that stay with other fields than before."""
        return sorted(node.key for node in self.update)

    @property
    def summary(self) -> dict[str, list[str]]:
        """The keys of what changes, by how; exactly this is approved."""
        return {
            "inserted": sorted(node.key for node in self.insert),
            "dropped": sorted(self.drop),
            "rewired": self.rewired,
            "reworded": self.reworded,
        }

    @property
    def is_empty(self) -> bool:
        return not any(self.summary.values())


@dataclass(frozen=True)
class FieldChange:
    """A field of a node, as it is and as it would be, in words."""

    field: str
    before: str
    after: str


@dataclass(frozen=True)
class Rewritten:
    """A node that stays, and what would be different about it."""

    key: str
    title: str
    changes: tuple[FieldChange, ...]


def rewritten(present: Sequence[Present], wanted: PlanProposal) -> list[Rewritten]:
    """How the nodes that stay are written now and then; those that stay as they are are left out."""
    before = {one.node.key: one.node for one in present}
    found = []
    for node in wanted.nodes:
        if (now := before.get(node.key)) is None:
            continue
        changes = tuple(
            FieldChange(name, was, will)
            for name in PlanNode.model_fields
            if (was := _told(getattr(now, name))) != (will := _told(getattr(node, name)))
        )
        if changes:
            found.append(Rewritten(node.key, now.title, changes))
    return found


def _told(value: object) -> str:
    """A field's value for people."""
    match value:
        case None:
            return ""
        case tuple():
            return "\n".join(_told(one) for one in value)
        case Check():
            return f"{value.name}: {value.command}"
        case EdgeCondition():
            return f"{value.parent}: {value.told}"
        case AnswerAsked():
            return f"{value.name} ({value.takes}): {value.asks}"
    return str(value)


def faults(
    present: Sequence[Present],
    wanted: PlanProposal,
    *,
    max_nodes: int,
    max_depth: int = 2,
    taken: Collection[str] = (),
    given: Collection[str] = (),
) -> list[str]:
    """Why the swarm cannot be made as it is wanted, in words; empty: it can.

    `taken` are keys of nodes that are no longer part of the plan, `given` are keys that no author chose. Limits are for
    what is added: a swarm that was larger, or deeper, when the limits were lowered can still be changed.
    """
    now = {one.node.key: one for one in present}
    found = graph.faults(
        wanted,
        max_nodes=max(max_nodes, len(present)),
        known={*now, *given},
        nested={key for key, one in now.items() if one.node.kind == "plan"},
        max_depth=max_depth,
    )
    asked = {node.key: node for node in wanted.nodes}
    for key, one in now.items():
        if not one.begun:
            continue
        if key not in asked:
            found.append(f"Node '{key}' {one.begun} and cannot be dropped: put it back as it was.")
        elif changed := _changed(one.node, asked[key], apart_from=_ANY_TIME):
            fields = ", ".join(changed)
            found.append(f"Node '{key}' {one.begun}: put its {fields} back, or add a node that comes after it.")
    for key in asked:
        if key in taken and key not in now:
            found.append(f"The key '{key}' belonged to a node that was dropped or undone; choose another key.")
    return found


def _changed(one: PlanNode, other: PlanNode, *, apart_from: Iterable[str] = ()) -> list[str]:
    """The fields in which two nodes differ."""
    fields = [field for field in PlanNode.model_fields if field not in apart_from and field not in _EDGES]
    differ = [field for field in fields if getattr(one, field) != getattr(other, field)]
    if "depends_on" not in apart_from and set(one.depends_on) != set(other.depends_on):
        differ.append("depends_on")
    if "when" not in apart_from and _conditions(one) != _conditions(other):
        differ.append("when")
    return differ


def _conditions(node: PlanNode) -> dict[str, EdgeCondition]:
    return {condition.parent: condition for condition in node.when}


def _wires(nodes: Iterable[PlanNode]) -> dict[tuple[str, str], EdgeCondition | None]:
    found: dict[tuple[str, str], EdgeCondition | None] = {}
    for node in nodes:
        conditions = _conditions(node)
        found |= {(parent, node.key): conditions.get(parent) for parent in node.depends_on}
    return found


def wires(nodes: Iterable[PlanNode]) -> list[Wire]:
    """The dependencies of nodes."""
    return [Wire(*pair, condition) for pair, condition in _wires(nodes).items()]


def changes(present: Sequence[Present], wanted: PlanProposal) -> Changes:
    """The way from the present nodes to those that are wanted. Expects no faults."""
    now = {one.node.key: one for one in present}
    asked = {node.key: node for node in wanted.nodes}
    before, after = _wires(one.node for one in present), _wires(wanted.nodes)
    return Changes(
        insert=tuple(node for node in wanted.nodes if node.key not in now),
        drop=tuple(key for key in now if key not in asked),
        update=tuple(
            node
            for node in wanted.nodes
            if node.key in now and not now[node.key].begun and _changed(now[node.key].node, node, apart_from=_EDGES)
        ),
        edges_add=tuple(
            Wire(*pair, condition)
            for pair, condition in after.items()
            if pair not in before or before[pair] != condition
        ),
        edges_remove=tuple(pair for pair, condition in before.items() if pair not in after or after[pair] != condition),
        path_lengths=graph.path_lengths({node.key: node.depends_on for node in wanted.nodes}),
    )


def with_begun(present: Sequence[Present], wanted: PlanProposal) -> PlanProposal:
    """A proposal whose author needs not repeat what has begun: those nodes are taken as they are."""
    begun = {one.node.key: one.node for one in present if one.begun}
    rest = tuple(node for node in wanted.nodes if node.key not in begun)
    return wanted.model_copy(update={"nodes": (*begun.values(), *rest)})


def part_faults(
    present: Sequence[Present],
    part: PlanProposal,
    *,
    under: str,
    max_nodes: int,
    max_depth: int,
    taken: Collection[str],
) -> list[str]:
    """Why a node cannot be detailed into this plan; its keys are those that its author chose."""
    room = max_nodes - len(present)
    found = graph.faults(part, max_nodes=max(room, 0), depth=under.count(NESTED) + 1, max_depth=max_depth)
    keys = {*taken, *(one.node.key for one in present)}
    for node in part.nodes:
        whole = f"{under}{NESTED}{node.key}"
        if len(whole) > KEY_LENGTH:
            most = KEY_LENGTH - len(under) - len(NESTED)
            found.append(f"The key '{node.key}' is too long here: it has at most {most} characters.")
        if whole in keys:
            found.append(f"The key '{node.key}' was used before; choose another.")
    return found


def prefixed(part: PlanProposal, under: str) -> PlanProposal:
    """A part under the keys that it gets in the whole; its first nodes wait for the node that it details."""

    def name(key: str) -> str:
        return f"{under}{NESTED}{key}"

    def rename(node: PlanNode) -> PlanNode:
        when = tuple(one.model_copy(update={"parent": name(one.parent)}) for one in node.when)
        after = tuple(map(name, node.depends_on)) or (under,)
        return node.model_copy(update={"key": name(node.key), "depends_on": after, "when": when})

    return part.model_copy(update={"nodes": tuple(map(rename, part.nodes))})


def grafted(present: Sequence[Present], part: PlanProposal, *, under: str) -> PlanProposal:
    """The whole plan with a part (its keys prefixed) in it: what waited for the node also waits for the part's ends.

    A node that waits for any success waits for the ends instead: that the part was planned is no result.
    """
    needed = {key for node in part.nodes for key in node.depends_on}
    ends = tuple(node.key for node in part.nodes if node.key not in needed)

    def rewire(one: Present) -> PlanNode:
        node = one.node
        if one.begun or under not in node.depends_on:
            return node
        instead = node.fan_in == "any_success" and under not in _conditions(node)
        kept = tuple(key for key in node.depends_on if not (instead and key == under))
        return node.model_copy(update={"depends_on": (*kept, *ends)})

    return part.model_copy(update={"nodes": (*map(rewire, present), *part.nodes)})
