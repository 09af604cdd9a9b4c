"""Why is it not running? The unmet conditions of each node, as rows."""

from dataclasses import dataclass
from uuid import UUID

from django.utils import timezone

from swarms.models import Condition, Edge, Node, Swarm
from swarms.states import NodeState, SwarmState

NAMED = 5
"""Nodes that a reason names; it must fit its column."""


@dataclass(frozen=True)
class Unmet:
    """One reason, what it waits for and what would resolve it."""

    kind: str
    text: str
    remedy: str = ""


def unmet(node: Node, parents: list[str], swarm_state: str) -> list[Unmet]:
    """Why a node does not run now. Pure but for the clock."""
    found = []
    if node.state == NodeState.BLOCKED and parents:
        more = f" and {len(parents) - NAMED} more" if len(parents) > NAMED else ""
        text = f"waits for {', '.join(parents[:NAMED])}{more}"
        found.append(Unmet("dependency", text, "It starts when they have succeeded."))
    if node.state == NodeState.AWAITING_APPROVAL:
        found.append(Unmet("approval", "waits for a person", "Approve or reject it."))
    if node.state == NodeState.READY:
        if node.not_before > timezone.now():
            found.append(Unmet("not_before", f"waits until {node.not_before:%H:%M:%S} UTC", "It is tried again then."))
        elif swarm_state == SwarmState.RUNNING:
            found.append(Unmet("capacity", "waits for a free runner", "Start another runner, or wait for a slot."))
    if swarm_state == SwarmState.PAUSED and node.state in (NodeState.BLOCKED, NodeState.READY):
        found.append(Unmet("paused", "the swarm is paused", "Resume the swarm."))
    return found


def refresh(swarm: Swarm) -> None:
    """Make the rows say what is true now; a reason that stays keeps its `since`."""
    waits: dict[UUID, list[str]] = {}
    open_edges = Edge.objects.filter(child__swarm=swarm).exclude(parent__state=NodeState.SUCCEEDED)
    for key, child in open_edges.order_by("parent__key").values_list("parent__key", "child_id"):
        waits.setdefault(child, []).append(key)
    wanted: dict[tuple[UUID, str], Unmet] = {}
    nodes = list(swarm.nodes.filter(state__in=[NodeState.BLOCKED, NodeState.AWAITING_APPROVAL, NodeState.READY]))
    for node in nodes:
        for reason in unmet(node, waits.get(node.pk, []), swarm.state):
            wanted[node.pk, reason.kind] = reason
    for row in Condition.objects.filter(node__swarm=swarm):
        still = wanted.pop((row.node_id, row.kind), None)
        if still is None:
            row.delete()
        elif still.text != row.text:
            Condition.objects.filter(pk=row.pk).update(text=still.text, remedy=still.remedy)
    Condition.objects.bulk_create(
        [Condition(node_id=node, kind=kind, text=r.text, remedy=r.remedy) for (node, kind), r in wanted.items()],
        ignore_conflicts=True,
    )
