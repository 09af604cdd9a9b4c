"""What is left of a plan at an event: the nodes that had not succeeded, as a plan of their own. Pure.

What was merged by then is kept as commits, so those nodes are left out, and nobody waits for them any more.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from agents.contracts.plan import EdgeCondition, PlanNode, PlanProposal
from swarms.replay.scene import NodeSeen, Scene
from swarms.states import NODE_LIVE, NodeState
from swarms.vertex import KEY_LENGTH, NESTED

Document = Callable[[int], Mapping[str, Any] | None]


@dataclass(frozen=True)
class Rest:
    """A plan to go on with."""

    plan: PlanProposal
    kept: tuple[str, ...]
    """Keys of the nodes that had succeeded: their work is there, and they are left out."""
    notes: Mapping[str, str]
    """What is to be said of a node, by its new key."""


def rest(scene: Scene, document: Document) -> Rest | None:
    """The plan in force in this scene without what had succeeded; None: there was no plan yet.

    `document` gives the document of a version. Before a plan is in force it is the newest that was proposed.
    """
    if not scene.version:
        offered = _proposal(document(scene.offered)) if scene.offered else None
        return Rest(offered, (), {}) if offered else None
    whole = _proposal(document(scene.version))
    own = [node for node in scene.present if not node.undoes]
    kept = {node.key for node in own if node.state == NodeState.SUCCEEDED}
    names = _names(node.key for node in own if node.key not in kept)
    written = _written(document, {node.version for node in own})
    nodes, notes = [], {}
    for node in own:
        if node.key in kept or (node.version, node.key) not in written:
            continue
        nodes.append(_left(node, written[node.version, node.key], kept, names))
        if note := _note(node, kept):
            notes[names[node.key]] = note
    plan = PlanProposal(
        summary=whole.summary if whole else "", nodes=tuple(nodes), acceptance=whole.acceptance if whole else ()
    )
    return Rest(plan, tuple(sorted(kept)), notes)


def _proposal(document: Mapping[str, Any] | None) -> PlanProposal | None:
    try:
        return PlanProposal.model_validate(document) if document else None
    except ValidationError:
        return None  # of an archive, whose plans may be of any time


def _written(document: Document, versions: Iterable[int]) -> dict[tuple[int, str], PlanNode]:
    """Nodes as their authors wrote them, by version and key."""
    found: dict[tuple[int, str], PlanNode] = {}
    for version in versions:
        if proposal := _proposal(document(version)):
            found |= {(version, node.key): node for node in proposal.nodes}
    return found


def _names(keys: Iterable[str]) -> dict[str, str]:
    """Keys that an author may choose: those of details have the platform's own mark between them."""
    found: dict[str, str] = {}
    for key in keys:
        stem = key.replace(NESTED, "-")[:KEY_LENGTH].rstrip("-")
        name, number = stem, 2
        while name in found.values():
            name, number = f"{stem[: KEY_LENGTH - 4]}-{number}", number + 1
        found[key] = name
    return found


def _left(node: NodeSeen, written: PlanNode, kept: set[str], names: Mapping[str, str]) -> PlanNode:
    waits = tuple(names[key] for key in node.parents if key in names)
    when = tuple(
        EdgeCondition(**one._asdict() | {"parent": names[one.parent]}) for one in node.when if one.parent in names
    )
    fan_in = written.fan_in
    if fan_in == "any_success" and kept & set(node.parents):
        waits, when = (), ()
    changed = {"key": names[node.key], "depends_on": waits, "when": when, "priority": node.priority}
    return written.model_copy(update=changed | ({} if waits else {"fan_in": "all_success"}))


def _note(node: NodeSeen, kept: set[str]) -> str:
    """What whoever edits the plan should know of a node."""
    said = []
    if node.state in NODE_LIVE:
        said.append("was at work, and begins again")
    elif node.state in (NodeState.FAILED, NodeState.SKIPPED, NodeState.CANCELLED):
        said.append(f"{'had failed' if node.state == NodeState.FAILED else f'was {node.state}'}: {node.because}")
    for one in node.when:
        if one.parent in kept:
            said.append(f"waited until {one.parent} says that {EdgeCondition(**one._asdict()).told}")
    return "; ".join(said).replace("\n", " ")[:300]
