"""Why is it not running? Reads what decides about nodes, and says it in words (swarms.why)."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from django.db import connection
from django.db.models import Count, Q, Sum
from django.utils import timezone

from agents.models import Execution
from agents.standings import connected
from agents.states import LIVE
from sessions.models import Event
from swarms import admission
from swarms.models import Approval, CheckRun, Edge, Merge, Node, Plan, Swarm
from swarms.states import NODE_ENDED, SWARM_PAUSED, NodeState, PlanState, SwarmState
from swarms.why import Facts, Surroundings, Unmet, Waiting, Whole, unmet, unmet_of
from tenants import turns
from tenants.ids import made_at
from tenants.models import Placement, TeamShare
from tenants.procedures import ORDER

_IN_ORDER = f"""
SELECT subject, CASE WHEN parked <> '' THEN coalesce(parked_at, created_at) ELSE created_at END, not_before, parked,
  ahead, lane
FROM (
  SELECT t.*, count(*) FILTER (WHERE not_before <= statement_timestamp()) OVER (
    PARTITION BY lane ORDER BY {ORDER} ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS ahead
  FROM public.tenants_ticket t WHERE team_id = %s
) AS t WHERE subject = ANY (%s)
"""
"""Tickets with how many of their team go before them now: in the order in which turns are given out."""


def of_nodes(swarm: Swarm, nodes: Iterable[Node]) -> dict[UUID, list[Unmet]]:
    """The unmet conditions of these nodes of one swarm, by node; few queries, however many nodes."""
    open_nodes = [node for node in nodes if node.state not in NODE_ENDED]
    asked = _asked(open_nodes)
    # What runs waits for nothing but a person whom its agent has asked.
    waiting = [node for node in open_nodes if node.state != NodeState.RUNNING or node.pk in asked]
    if not waiting:
        return {}
    ids = [node.pk for node in waiting]
    around = surroundings(swarm)
    parents = _open_parents(ids)
    checks = dict(
        CheckRun.objects.filter(attempt__node__in=ids, state="waiting").values_list("attempt__node", "created_at")
    )
    tickets, queue = _tickets(ids), _queue(swarm)
    full = _no_room([node.pk for node in waiting if node.kind == "plan" and node.pk not in asked])
    return {
        node.pk: unmet(
            Facts(
                state=node.state,
                not_before=node.not_before,
                since=_since_of(node, swarm, queue),
                because=node.because,
                open_parents=parents.get(node.pk, ()),
                fan_in=node.fan_in,
                asked_at=asked.get(node.pk),
                no_room=full.get(node.pk, ""),
                ticket=tickets.get(node.pk),
                checks_since=checks.get(node.pk),
                merges_ahead=queue[node.pk].ahead if node.pk in queue else None,
            ),
            around,
        )
        for node in waiting
    }


def of_node(node: Node) -> list[Unmet]:
    """The unmet conditions of one node."""
    return of_nodes(node.swarm, [node]).get(node.pk, [])


def of_swarm(swarm: Swarm) -> list[Unmet]:
    """What a swarm waits for as a whole; its nodes have reasons of their own."""
    if swarm.state in (SwarmState.CANCELLED, SwarmState.ROLLED_BACK):
        return []  # others that have ended may wait for an answer about their rollback
    asks = swarm.approvals.filter(state="pending", node=None).exclude(kind="tool").order_by("requested_at")
    plan = swarm.plans.filter(node=None).order_by("-version").first()
    is_planning = swarm.state == SwarmState.PLANNING and plan is not None
    ticket = _tickets([plan.pk]).get(plan.pk) if plan and plan.state == PlanState.DRAFTING else None
    is_stopping = swarm.state in (SwarmState.CANCELLING, SwarmState.FAILING)
    checks = CheckRun.objects.filter(swarm=swarm, purpose__in=["integration", "landing"], state="waiting")
    whole = Whole(
        asked=list(asks.values_list("title", "requested_at")),
        needs_help=bool(is_planning and plan and plan.state == PlanState.INVALID),
        plan_ticket=ticket,
        checks_since=checks.values_list("created_at", flat=True).first(),
        stopping=Execution.objects.filter(swarm=swarm.pk, state__in=LIVE).count() if is_stopping else 0,
    )
    return unmet_of(whole, surroundings(swarm))


def surroundings(swarm: Swarm) -> Surroundings:
    """What is the same for all nodes of this swarm now."""
    team = turns.current_team_id()
    ours = connected().filter(Q(team=None) | Q(team=team))
    takes = Q(capacity__gt=0)
    capacity = ours.aggregate(
        n=Count("pk", filter=takes),
        leaving=Count("pk", filter=~takes),
        slots=Sum("capacity"),
        trusted=Count("pk", filter=takes & Q(trusted=True)),
    )
    taken = Placement.objects.filter(runner__in=ours.filter(takes)).count()
    asked = swarm.approvals.filter(kind="unconfined", state="pending").values_list("requested_at", flat=True)
    cap = TeamShare.objects.filter(team=team).values_list("cap", flat=True).first()
    return Surroundings(
        now=timezone.now(),
        swarm_state=swarm.state,
        swarm_since=_since(swarm),
        swarm_because=swarm.because,
        runners=capacity["n"],
        leaving=capacity["leaving"],
        trusted=capacity["trusted"],
        free_slots=max(0, (capacity["slots"] or 0) - taken),
        placed=Placement.objects.filter(team=team).count(),
        cap=cap,
        unconfined_asked_at=asked.first(),
    )


def _since(swarm: Swarm) -> datetime | None:
    if swarm.state not in (*SWARM_PAUSED, SwarmState.PLANNING, SwarmState.CANCELLING, SwarmState.FAILING):
        return swarm.started_at
    moved = Event.objects.filter(subject=swarm.topic, kind="swarm.moved").order_by("-seq")
    return moved.values_list("at", flat=True).first() or swarm.created_at


def _asked(nodes: list[Node]) -> dict[UUID, datetime]:
    """Since when a person is asked about each of these nodes, its plan, or what its agent wants to do.

    Not about its money: then its ticket says that it waits for that, if it does.
    """
    if not nodes:
        return {}
    asked = Approval.objects.filter(node__in=[node.pk for node in nodes], state="pending").exclude(kind="budget")
    kinds = {node.pk: {"tool"} if node.state == NodeState.RUNNING else {"node", "plan"} for node in nodes}
    rows = asked.order_by("-requested_at").values_list("node", "kind", "requested_at")
    return {node: at for node, kind, at in rows if node and kind in kinds[node]}


def _open_parents(ids: list[UUID]) -> dict[UUID, list[str]]:
    found: dict[UUID, list[str]] = {}
    edges = Edge.objects.filter(child__in=ids, resolved=None).order_by("parent__key")
    for child, key, state in edges.values_list("child", "parent__key", "parent__state"):
        found.setdefault(child, []).append(f"{key} ({state.replace('_', ' ')})")
    return found


def _tickets(ids: list[UUID]) -> dict[UUID, Waiting]:
    with connection.cursor() as cursor:
        cursor.execute(_IN_ORDER, [turns.current_team_id(), ids])
        return {subject: Waiting(*facts) for subject, *facts in cursor.fetchall()}


def _no_room(ids: list[UUID]) -> dict[UUID, str]:
    """Of nodes that are detailed and wait to become their parts: why their team may not have these yet."""
    if not ids:
        return {}
    found = {}
    for plan in Plan.objects.select_related("swarm").filter(node__in=ids, state=PlanState.PROPOSED):
        reason = admission.why_not(admission.brought_by(plan, len((plan.document or {}).get("nodes", []))))
        if plan.node_id and reason:
            found[plan.node_id] = reason.removesuffix(f" {admission.REMEDY}")
    return found


class _Queued(NamedTuple):
    """An entry of the merge queue."""

    ahead: int
    since: datetime


def _queue(swarm: Swarm) -> dict[UUID, _Queued]:
    entries = Merge.objects.filter(swarm=swarm, state__in=["queued", "checking"]).order_by("created_at", "pk")
    rows = entries.values_list("attempt__node", "created_at")
    return {node: _Queued(place, at) for place, (node, at) in enumerate(rows)}


def _since_of(node: Node, swarm: Swarm, queue: Mapping[UUID, _Queued]) -> datetime | None:
    """Since when a node waits, as far as rows tell: of one that was added or tried again later, since then."""
    if node.pk in queue:
        return queue[node.pk].since
    if node.state != NodeState.BLOCKED:
        return node.ready_at or swarm.started_at
    began = (swarm.started_at, swarm.retried_at, swarm.rollback_at if node.undoes_id else None, made_at(node.pk))
    return max(filter(None, began))
