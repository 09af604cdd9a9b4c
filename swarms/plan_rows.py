"""A plan and its rows: nodes and edges as a plan would write them, and what a plan changes in them."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from uuid import UUID

from django.db import connection
from django.utils import timezone

from agents.budgets import begin_for
from agents.contracts import AnswerAsked, Check, PlanNode
from agents.contracts.plan import EdgeCondition
from swarms import approvals, budgets, exposure, planned, progress
from swarms.amend import Changes, Present
from swarms.models import Edge, Node, Plan, Swarm
from swarms.release import SWARM_STOPS, satisfied
from swarms.states import NODE_ENDED, NODE_WAITING, NodeState, PlanState

OWN_KINDS = ("agent", "noop", "plan")
"""Kinds of nodes that a plan writes; the others undo them."""
_RECOUNT = """
UPDATE swarms_node n SET parents = c.parents, deps_left = c.open, deps_ok = c.ok
FROM (
  SELECT x.id, count(e.id) AS parents, count(e.id) FILTER (WHERE e.resolved IS NULL) AS open,
    count(e.id) FILTER (WHERE e.resolved) AS ok
  FROM unnest(%s::uuid[]) AS x (id) LEFT JOIN swarms_edge e ON e.child_id = x.id GROUP BY x.id
) AS c WHERE n.id = c.id
"""
_LENGTHS = """
UPDATE swarms_node n SET path_length = x.length FROM unnest(%s::uuid[], %s::int[]) AS x (id, length)
WHERE n.id = x.id AND n.path_length <> x.length
"""


def row(swarm: Swarm, plan: Plan, node: PlanNode, path_length: int, *, under: Node | None = None) -> Node:
    """A node of a plan as a row that is not stored yet."""
    return Node(
        swarm=swarm,
        plan=plan,
        key=node.key,
        kind=node.kind,
        parent=under,
        depth=under.depth + 1 if under else 0,
        parents=len(set(node.depends_on)),
        deps_left=len(set(node.depends_on)),
        path_length=path_length,
        max_attempts=swarm.project.max_attempts,
        state=NodeState.BLOCKED,
        **_fields(swarm, node),
    )


def _fields(swarm: Swarm, node: PlanNode) -> dict[str, Any]:
    """What may still change while the node has not begun, but for its kind."""
    return {
        "title": node.title,
        "role": node.role,
        "instructions": node.instructions,
        "writes": list(node.writes),
        "checks": [check.model_dump() for check in node.checks],
        "answers": [one.model_dump() for one in node.answers],
        "risk": node.risk,
        "untrusted": node.untrusted,
        "secrets": node.secrets,
        "effects": node.effects,
        "trifecta": exposure.is_trifecta(swarm, node),
        "fan_in": node.fan_in,
        "on_failure": node.on_failure,
        "compensate": node.compensate,
        "time_limit": node.minutes and node.minutes * 60,
        "priority": node.priority,
    }


def condition(found: EdgeCondition | None) -> dict[str, Any] | None:
    """A condition as its edge keeps it."""
    return found.model_dump(mode="json", exclude={"parent"}) if found else None


def main_plan(swarm: Swarm) -> Plan | None:
    """The version that the swarm carries out; details of its nodes come on top of it."""
    return swarm.plans.filter(state=PlanState.APPROVED, node=None).order_by("-version").first()


def _own(swarm: Swarm) -> list[Node]:
    found = Node.objects.filter(swarm=swarm, dropped_by=None, kind__in=OWN_KINDS, undoes=None)
    return list(found.order_by("pk"))


def present(swarm: Swarm) -> list[Present]:
    """The nodes of a swarm as a plan would write them, and which of them have begun."""
    nodes = _own(swarm)
    names = {node.pk: node.key for node in nodes}
    wires: dict[UUID, list[tuple[str, dict[str, Any] | None]]] = {}
    edges = Edge.objects.filter(child__swarm=swarm, child__dropped_by=None).order_by("pk")
    for parent, child, when in edges.values_list("parent_id", "child_id", "condition"):
        if parent in names and child in names:
            wires.setdefault(child, []).append((names[parent], when))
    money = _budgets(nodes)
    return [Present(_written(node, wires.get(node.pk, []), money.get(node.pk)), begun(node)) for node in nodes]


def _budgets(nodes: Iterable[Node]) -> dict[UUID, float | None]:
    """The budgets that nodes were given by their plans, in dollars."""
    own = {(node.plan_id, node.key): node.pk for node in nodes}
    found: dict[UUID, float | None] = {}
    for plan in Plan.objects.filter(pk__in={plan for plan, _ in own}).only("document"):
        for written in (plan.document or {}).get("nodes", []):
            if pk := own.get((plan.pk, written["key"])):
                found[pk] = written.get("budget_usd")
    return found


def begun(node: Node) -> str:
    """Why a node can no longer be changed, in words; empty: it can."""
    if node.state in NODE_ENDED:
        return {"succeeded": "has succeeded", "failed": "has failed"}.get(node.state, f"was {node.state}")
    if node.state not in NODE_WAITING:
        return f"is {node.state}"
    return f"waits for its attempt {node.attempts_made + 1}" if node.attempts_made else ""


def _written(node: Node, wires: list[tuple[str, dict[str, Any] | None]], budget: float | None) -> PlanNode:
    when = tuple(EdgeCondition(parent=parent, **found) for parent, found in wires if found)
    return PlanNode(
        key=node.key,
        title=node.title,
        kind=node.kind,
        role=node.role,
        instructions=node.instructions,
        depends_on=tuple(parent for parent, _ in wires),
        writes=tuple(node.writes),
        checks=tuple(Check.model_validate(check) for check in node.checks),
        answers=tuple(AnswerAsked.model_validate(one) for one in node.answers),
        risk=node.risk,
        untrusted=node.untrusted,
        secrets=node.secrets,
        effects=node.effects,
        fan_in=node.fan_in,
        on_failure=node.on_failure,
        when=when,
        compensate=node.compensate,
        minutes=node.time_limit and node.time_limit // 60,
        priority=node.priority,
        budget_usd=budget,
    )


def taken_keys(swarm: Swarm) -> set[str]:
    """Keys of nodes that are not, or no longer, of the plan."""
    own = {node.key for node in _own(swarm)}
    return set(swarm.nodes.values_list("key", flat=True)) - own


def apply(swarm: Swarm, plan: Plan, changes: Changes, *, under: Node | None = None) -> None:
    """Carry out the changes of an adopted plan, and let start what nothing holds back. With the swarm locked.

    New nodes belong to `under` when the plan details that node.
    """
    rows = {node.key: node for node in _own(swarm)}
    gone = [rows[key] for key in changes.drop]
    stay = [rows[key] for key in sorted({*changes.rewired, *changes.reworded})]
    moves = _hold(swarm, [*stay, *gone], f"plan {plan.version} changes it")
    pairs = {(rows[parent].pk, rows[child].pk) for parent, child in changes.edges_remove}
    edges = Edge.objects.filter(child__in={child for _, child in pairs}).values_list("pk", "parent_id", "child_id")
    Edge.objects.filter(pk__in=[pk for pk, *pair in edges if tuple(pair) in pairs]).delete()
    new = [row(swarm, plan, node, changes.path_lengths[node.key], under=under) for node in changes.insert]
    Node.objects.bulk_create(new)
    rows |= {node.key: node for node in new}
    Edge.objects.bulk_create(
        _edge(rows[wire.parent], rows[wire.child], condition(wire.condition)) for wire in changes.edges_add
    )
    _change_budgets(rows, changes.update)
    _rewrite(swarm, plan, rows, changes.update)
    set_budgets(rows, changes.insert)
    touched = [node.pk for node in (*stay, *new)]
    lengths = {rows[key].pk: n for key, n in changes.path_lengths.items() if rows[key].state not in NODE_ENDED}
    with connection.cursor() as cursor:
        cursor.execute(_RECOUNT, [[*touched, *(node.pk for node in gone)]])
        cursor.execute(_LENGTHS, [list(lengths), list(lengths.values())])
    progress.reorder(swarm.pk)
    planned.tell(swarm, [*stay, *new, *gone], dropped=gone)
    moves += _end(gone, plan)
    progress.tell(swarm, moves)
    progress.release(swarm.pk, consider=touched)


def _hold(swarm: Swarm, nodes: Iterable[Node], because: str) -> list[dict[str, str]]:
    """Take nodes that may start back to where their edges can change: without a ticket and without a question."""
    held = [node for node in nodes if node.state != NodeState.BLOCKED]
    asked = [node for node in held if node.state == NodeState.AWAITING_APPROVAL]
    for node in asked:
        approvals.void(swarm, because=because, kind="node", node=node)
    moves = progress.take_back(held, NodeState.BLOCKED, because=because)
    for node in held:
        node.state = NodeState.BLOCKED
    return moves


def _edge(parent: Node, child: Node, when: dict[str, Any] | None) -> Edge:
    is_open = parent.state not in NODE_ENDED or (parent.state == NodeState.FAILED and parent.on_failure in SWARM_STOPS)
    settled = None if is_open else satisfied(parent.state, parent.on_failure, when, parent.output)
    return Edge(parent=parent, child=child, condition=when, resolved=settled)


def _rewrite(swarm: Swarm, plan: Plan, rows: dict[str, Node], update: Sequence[PlanNode]) -> None:
    for node in update:
        for name, value in (_fields(swarm, node) | {"kind": node.kind, "plan": plan}).items():
            setattr(rows[node.key], name, value)
    if update:
        fields = [*_fields(swarm, update[0]), "kind", "plan"]
        Node.objects.bulk_update([rows[node.key] for node in update], fields, batch_size=500)


def _end(nodes: Sequence[Node], plan: Plan) -> list[dict[str, str]]:
    because = f"dropped by plan {plan.version}"
    return progress.take_back(nodes, NodeState.SKIPPED, because=because, dropped_by=plan, ended_at=timezone.now())


def set_budgets(rows: Mapping[str, Node], nodes: Iterable[PlanNode]) -> None:
    """Give new nodes the budgets that their plan names."""
    wanted = {rows[node.key]: node.budget_usd for node in nodes if node.budget_usd is not None}
    begin_for({budgets.subject_of(node): round(usd * 1_000_000) for node, usd in wanted.items()})


def _change_budgets(rows: Mapping[str, Node], update: Sequence[PlanNode]) -> None:
    """Budgets that the plan changes; one that only a person has changed since stays."""
    before = _budgets(rows[node.key] for node in update)
    for node in update:
        row = rows[node.key]
        if node.budget_usd == before.get(row.pk):
            continue
        limit = None if node.budget_usd is None else round(node.budget_usd * 1_000_000)
        budgets.set_limit(budgets.subject_of(row), limit)
