"""All events of a team's swarms, folded, against the tables: written twice, so that neither way hides a mistake."""

import json
from collections.abc import Iterator
from typing import Any
from uuid import UUID

from django.db import connection

from swarms.models import Swarm
from swarms.replay import fold as scenes
from swarms.replay import stories, tables
from swarms.replay.scene import differences as unlike
from swarms.verify.fold import Move, fold, moves
from swarms.verify.fold import differences as differ
from swarms.verify.telling import ROWS, START

NAME = "replay"
SAYS = "The fold of all events gives the states in the tables, and the whole scene of every swarm."
PAGE = 2000
_TOLD = """
SELECT kind, payload::text, subject, seq FROM agent_sessions_event
WHERE kind LIKE '%%.moved' AND (subject, seq) > (%(subject)s, %(seq)s)
  AND (%(only)s::text IS NULL OR subject = %(only)s)
ORDER BY subject, seq LIMIT %(page)s
"""
_ROWS = f"SELECT r.noun, r.id, r.state, r.swarm FROM ({ROWS}) AS r WHERE %(swarm)s::uuid IS NULL OR r.swarm = %(swarm)s"


def differences(swarm: UUID | None = None) -> list[tuple[str, str, str]]:
    """Rows (id, swarm, in words) that are not where their events left them, in the current schema."""
    with connection.cursor() as cursor:
        states, faults = fold(_told(cursor, swarm), START)
        cursor.execute(_ROWS, {"swarm": swarm})
        rows = cursor.fetchall()
    owner = {(noun, id_): str(of or "") for noun, id_, _, of in rows}
    found = differ(states, {(noun, id_): state for noun, id_, state, _ in rows}, START)
    told = [("", str(swarm or ""), fault) for fault in faults] + [(row[1], owner[row], says) for row, says in found]
    return told or _scenes(swarm)


def _scenes(swarm: UUID | None) -> list[tuple[str, str, str]]:
    """What the events of a swarm tell otherwise than its rows show, from its goal on."""
    found = []
    for one in Swarm.objects.select_related("project", "goal").filter(**({"pk": swarm} if swarm else {})):
        seen = tables.seen(one)
        told = scenes.fold(stories.of_swarm(one).told(0, seen.seq))
        if told.base:
            found += [(str(one.pk), str(one.pk), says) for says in unlike(told, seen)]
    return found


def _told(cursor: Any, swarm: UUID | None) -> Iterator[Move]:
    only, subject, seq = swarm and f"swarm:{swarm}", "", 0
    while True:
        cursor.execute(_TOLD, {"subject": subject, "seq": seq, "only": only, "page": PAGE})
        page = cursor.fetchall()
        for kind, payload, *_ in page:
            yield from moves(kind, json.loads(payload))
        if len(page) < PAGE:
            return
        _, _, subject, seq = page[-1]
