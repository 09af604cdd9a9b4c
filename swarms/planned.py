"""Telling of nodes that came into a swarm, or changed where nothing ran: so that its events alone say what it was."""

from collections.abc import Iterable
from typing import Any
from uuid import UUID

from sessions.events import publish_all
from swarms.models import Edge, Node, Plan, Swarm

MOST = 100
"""Nodes that one event tells of."""


def tell(
    swarm: Swarm, nodes: Iterable[Node], *, edges: Iterable[Edge] | None = None, dropped: Iterable[Node] = ()
) -> None:
    """Publish nodes as their rows and edges are now, and which ones the plan no longer has. With the swarm locked.

    Who has just made all the edges to these nodes hands them over, with their parents.
    """
    told = list(nodes)
    facts = _facts(told, _edges(told) if edges is None else edges)
    gone = [str(node.pk) for node in dropped]
    parts: list[dict[str, Any]] = [{"nodes": facts[start : start + MOST]} for start in range(0, len(facts), MOST)]
    parts += [{"nodes": [], "dropped": gone[start : start + MOST]} for start in range(0, len(gone), MOST)]
    publish_all(swarm.topic, [("nodes.planned", part) for part in parts])


def _edges(nodes: list[Node]) -> Iterable[Edge]:
    found = Edge.objects.filter(child__in=[node.pk for node in nodes]).select_related("parent")
    return found.only("child", "condition", "parent__key")


def _facts(nodes: list[Node], edges: Iterable[Edge]) -> list[dict[str, Any]]:
    versions = {node.plan_id: node.plan.version for node in nodes if Node.plan.is_cached(node)}
    if unknown := {node.plan_id for node in nodes} - versions.keys():
        versions |= dict(Plan.objects.filter(pk__in=unknown).values_list("pk", "version"))
    others = {pk for node in nodes for pk in (node.parent_id, node.undoes_id) if pk}
    keys = dict(Node.objects.filter(pk__in=others).values_list("pk", "key")) if others else {}
    wires: dict[UUID, list[tuple[str, dict[str, Any] | None]]] = {}
    for edge in sorted(edges, key=lambda edge: edge.parent.key):
        wires.setdefault(edge.child_id, []).append((edge.parent.key, edge.condition))
    return [_fact(node, versions[node.plan_id], wires.get(node.pk, []), keys) for node in nodes]


def _fact(
    node: Node, version: int, wires: list[tuple[str, dict[str, Any] | None]], keys: dict[UUID, str]
) -> dict[str, Any]:
    return {
        "id": str(node.pk),
        "key": node.key,
        "title": node.title,
        "kind": node.kind,
        "role": node.role,
        "risk": node.risk,
        "parents": [parent for parent, _ in wires],
        "when": [{"parent": parent} | condition for parent, condition in wires if condition],
        "version": version,
        "priority": node.priority,
        "max_attempts": node.max_attempts,
        "under": keys[node.parent_id] if node.parent_id else "",
        "undoes": keys[node.undoes_id] if node.undoes_id else "",
    }
