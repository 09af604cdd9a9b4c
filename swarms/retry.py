"""Trying again: what has failed goes back to waiting, with what was left out because of it. What succeeded stays."""

from typing import Any
from uuid import UUID

from django.db import connection

from swarms import approvals, progress
from swarms.models import Node, Swarm
from swarms.release import SWARM_STOPS, Verdict, case_of, verdict
from swarms.states import NodeState
from tenants import turns

_STOPS = ", ".join(f"'{policy}'" for policy in sorted(SWARM_STOPS))
_NEVER = case_of("never", fan_in="c.fan_in", parents="c.parents", left="c.deps_left", ok="c.deps_ok")

# `drawn`: nodes whose end something that has begun already builds on. `again`: what is reset, from its roots down to
# whatever was released, or left out, because of how they ended. (A node that a person skipped is not among them: by
# its counts it could run.)
_WANTED = f"""
WITH RECURSIVE drawn AS (
  SELECT e.parent_id AS id FROM swarms_edge e JOIN swarms_node c ON c.id = e.child_id
  WHERE c.swarm_id = %(swarm)s AND c.attempts_made > 0 AND e.resolved IS NOT NULL
  UNION
  SELECT e.parent_id FROM drawn d JOIN swarms_node s ON s.id = d.id AND s.state = 'skipped'
  JOIN swarms_edge e ON e.child_id = s.id WHERE e.resolved IS NOT NULL
), again AS (
  SELECT n.id FROM swarms_node n
  WHERE n.swarm_id = %(swarm)s AND n.dropped_by_id IS NULL AND n.undoes_id IS NULL AND CASE
    WHEN %(node)s::uuid IS NOT NULL THEN n.id = %(node)s AND n.id NOT IN (SELECT d.id FROM drawn d)
    WHEN n.state = 'failed' THEN n.on_failure IN ({_STOPS}) OR n.id NOT IN (SELECT d.id FROM drawn d)
    ELSE n.state = 'cancelled' END
  UNION
  SELECT c.id FROM again a JOIN swarms_edge e ON e.parent_id = a.id AND e.resolved IS NOT NULL
  JOIN swarms_node c ON c.id = e.child_id
  WHERE c.dropped_by_id IS NULL
    AND (c.state IN ('blocked', 'awaiting_approval', 'ready') OR (c.state = 'skipped' AND {_NEVER}))
)
SELECT n.id, n.state FROM again a JOIN swarms_node n ON n.id = a.id
"""
_OPEN = "UPDATE swarms_edge SET resolved = NULL WHERE parent_id = ANY (%(ids)s) AND resolved IS NOT NULL"
# A parent that ended while nothing was released any more has told its children nothing.
_CLOSE = """
UPDATE swarms_edge e SET resolved = false FROM swarms_node p
WHERE e.child_id = ANY (%(ids)s) AND e.resolved IS NULL AND p.id = e.parent_id
  AND p.state IN ('skipped', 'cancelled') AND NOT p.id = ANY (%(ids)s)
"""
_RESET = """
UPDATE swarms_node n SET
  state = 'blocked', parents = k.parents, deps_left = k.left, deps_ok = k.ok,
  because = CASE k.before WHEN 'blocked' THEN n.because ELSE %(because)s END,
  failures = CASE k.before WHEN 'blocked' THEN n.failures ELSE 0 END,
  losses = CASE k.before WHEN 'blocked' THEN n.losses ELSE 0 END,
  not_before = CASE k.before WHEN 'blocked' THEN n.not_before ELSE clock_timestamp() END,
  ready_at = NULL, ended_at = NULL
FROM (
  SELECT c.id, c.state AS before, count(e.id) AS parents, count(e.id) FILTER (WHERE e.resolved IS NULL) AS left,
    count(*) FILTER (WHERE e.resolved) AS ok
  FROM swarms_node c LEFT JOIN swarms_edge e ON e.child_id = c.id WHERE c.id = ANY (%(ids)s) GROUP BY c.id
) AS k
WHERE n.id = k.id RETURNING n.id, n.key, k.before
"""


def again(swarm: Swarm, *, because: str, node: Node | None = None) -> list[UUID]:
    """Put back to waiting what can be tried again: one node, or all that failed or were stopped with the swarm.

    Their children that never began wait again too. Nothing is released yet. Returns what was put back; nothing when
    something that has begun builds on how they ended. In the caller's transaction, with the swarm locked.
    """
    with connection.cursor() as cursor:
        cursor.execute(_WANTED, {"swarm": swarm.pk, "node": node.pk if node else None})
        states: dict[UUID, str] = dict(cursor.fetchall())
        words: dict[str, Any] = {"ids": list(states), "because": because}
        for statement in (_OPEN, _CLOSE, _RESET):
            cursor.execute(statement, words)
        rows = cursor.fetchall()
    turns.unqueue("node", *[pk for pk, state in states.items() if state == NodeState.READY])
    for asked in Node.objects.filter(pk__in=[pk for pk, state in states.items() if state == "awaiting_approval"]):
        approvals.void(swarm, because=because, node=asked)
    progress.tell(
        swarm,
        [
            {"noun": "node", "id": str(pk), "name": key, "before": before, "after": "blocked", "because": because}
            for pk, key, before in sorted(rows, key=lambda row: str(row[1]))
            if before != NodeState.BLOCKED
        ],
    )
    return list(states)


def builds_on(node: Node) -> list[str]:
    """Keys of nodes that have begun and build on how this node ended, through what was left out because of it."""
    found: set[str] = set()
    wave = {node.pk}
    seen: set[UUID] = set()
    while wave:
        seen |= wave
        children = Node.objects.filter(edges_in__parent__in=wave, edges_in__resolved__isnull=False).distinct()
        rows = list(children.values_list("pk", "key", "state", "attempts_made"))
        found |= {key for _, key, _, attempts in rows if attempts}
        wave = {pk for pk, _, state, _ in rows if state == NodeState.SKIPPED} - seen
    return sorted(found)


def can_run(node: Node) -> bool:
    """Whether its parents, as they ended, let it run (or may yet)."""
    counts = {"parents": node.parents, "left": node.deps_left, "ok": node.deps_ok}
    return verdict(node.fan_in, **counts) != Verdict.SKIP
