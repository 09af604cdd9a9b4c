"""What follows when nodes end: the database releases, skips and queues in one statement. With the swarm locked."""

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.db import connection
from django.utils import timezone

from sessions.events import current_actor, publish_all
from sessions.transitions import move_all
from swarms import hints
from swarms.models import Node, Swarm
from swarms.procedures import LANES, MOST_MOVES
from swarms.states import NODE_WAITING
from tenants import turns
from tenants.models import Ticket
from tenants.trace import current_trace

ORDER_AGAIN = timedelta(seconds=1)
_REORDER = """
WITH wrong AS (
  SELECT t.id, s.priority + n.priority AS priority, n.path_length AS path
  FROM public.tenants_ticket t JOIN swarms_node n ON n.id = t.subject JOIN swarms_swarm s ON s.id = n.swarm_id
  WHERE t.swarm = %s AND t.kind = 'node' AND (t.priority <> s.priority + n.priority OR t.path <> n.path_length)
), free AS (
  SELECT t.id FROM public.tenants_ticket t WHERE t.id IN (SELECT w.id FROM wrong w) FOR UPDATE SKIP LOCKED
), moved AS (
  UPDATE public.tenants_ticket t SET priority = w.priority, path = w.path FROM wrong w JOIN free f ON f.id = w.id
  WHERE t.id = w.id RETURNING t.id
)
SELECT (SELECT count(*) FROM wrong) > (SELECT count(*) FROM moved)
"""
_RELEASE = "SELECT lanes, asks FROM swarms_release(%s, %s, %s, %s, %s, %s)"


@dataclass(frozen=True)
class Released:
    """How many nodes wait for their turn now, by lane, and how many for a person."""

    lanes: dict[str, int]
    asks: int


def release(swarm_id: UUID, *, ended: Iterable[UUID] = (), consider: Iterable[UUID] = ()) -> Released:
    """Settle the edges of nodes that have ended, and start or skip what waited for them (or is to be considered).

    What may start gets a ticket; what asks a person first stays blocked until the engine has asked.
    """
    words: list[Any] = [
        turns.current_team_id(),
        swarm_id,
        list(ended),
        list(consider),
        current_actor(),
        current_trace(),
    ]
    with connection.cursor() as cursor:
        cursor.execute(_RELEASE, words)
        lanes, asks = cursor.fetchone()
    found = Released(json.loads(lanes), asks)
    wake(swarm_id, found.lanes)
    if found.asks:
        hints.advance(swarm_id)
    return found


def queue(swarm: Swarm, nodes: Iterable[Node], *, delay: timedelta = timedelta(0), parked: str = "") -> None:
    """Give ready nodes their tickets; `parked` says what outside they wait for until the delay has passed."""
    now = timezone.now()
    tickets = [
        Ticket(
            kind="node",
            subject=node.pk,
            swarm=swarm.pk,
            lane=LANES.get(node.kind, "agent"),
            priority=swarm.priority + node.priority,
            path=node.path_length,
            not_before=max(now + delay, node.not_before),
            parked=turns.shortened(parked),
        )
        for node in nodes
    ]
    if tickets:
        turns.queue_all(tickets)
        wake(swarm.pk, Counter(ticket.lane for ticket in tickets))


def over(swarm_id: UUID) -> None:
    """A swarm has ended: neither its deadline nor the order of its tickets is due any more."""
    turns.settled(("swarm_deadline", "order"), swarm_id)


def reorder(swarm_id: UUID) -> None:
    """Give the tickets of a swarm the order that its priority, its nodes' and the paths left say. With it locked.

    A ticket that is being called up just now is put right soon after: who calls it up waits for the swarm that we hold.
    """
    with connection.cursor() as cursor:
        cursor.execute(_REORDER, [swarm_id])
        is_left = cursor.fetchone()[0]
    turns.settled("order", swarm_id)
    if is_left:
        turns.due("order", swarm_id, after=ORDER_AGAIN)


def wake(swarm_id: UUID, lanes: dict[str, int]) -> None:
    """Hint those who serve the lanes in which something waits."""
    if lanes.get("agent"):
        hints.dispatch()
    if lanes.get("control"):
        hints.step(swarm_id)
    if lanes.get("git"):
        hints.revert(swarm_id)


def end_waiting(swarm: Swarm, to: str, *, because: str, only: Iterable[UUID] | None = None) -> list[Node]:
    """Move what has not started to an end, all at once, and take its tickets back."""
    nodes = list(
        swarm.nodes.filter(state__in=NODE_WAITING, **({} if only is None else {"pk__in": list(only)})).order_by("key")
    )
    tell(swarm, take_back(nodes, to, because=because, ended_at=timezone.now()))
    return nodes


def take_back(nodes: Iterable[Node], to: str, *, because: str, **fields: Any) -> list[dict[str, str]]:
    """Move nodes that have not started, and take their tickets back. Returns the moves, to be told; see `tell`.

    With the swarm locked: then nobody else moves them, and all are moved by one statement.
    """
    found = list(nodes)
    moves = move_all(found, to, because=because, **fields)
    turns.unqueue("node", *(node.pk for node in found))
    return moves


def tell(swarm: Swarm, moves: list[dict[str, str]]) -> None:
    """Publish moves that were made together."""
    cut = [moves[start : start + MOST_MOVES] for start in range(0, len(moves), MOST_MOVES)]
    publish_all(swarm.topic, [("nodes.moved", {"moves": some}) for some in cut])
