"""Decisions and their reasons for members' programs."""

from typing import Any
from uuid import UUID

from django.http import JsonResponse

from swarms import decided
from swarms.api.programs import Refused, program
from swarms.decided import Decision
from tenants.access import TeamRequest
from tenants.roles import Permission

MOST = 200
"""Rows of one answer."""


@program("GET", Permission.VIEW)
def decisions(request: TeamRequest) -> JsonResponse:
    """The newest decisions: ?q=words&project=slug&number=12&who=engine&limit=50&before=<id of the last one>."""
    asked = request.GET
    try:
        limit = min(MOST, max(1, int(asked.get("limit", "50"))))
        before = UUID(asked["before"]) if asked.get("before") else None
        wanted = decided.Wanted.asked(asked, "number")
    except ValueError as error:
        raise Refused(
            422, f"limit is a number from 1 to {MOST}, before is the id of a decision, number that of a swarm."
        ) from error
    rows, more = decided.found(wanted, before=before, most=limit)
    return JsonResponse({"decisions": [_told(row) for row in rows], "next": {"before": more} if more else None})


def _told(row: Decision) -> dict[str, Any]:
    return {
        "id": row.event.pk,
        "at": row.event.at,
        "kind": row.event.kind,
        "by": row.by,
        "name": row.name,
        "what": row.said.text,
        "why": row.said.why,
        "project": row.swarm.project.slug if row.swarm else None,
        "swarm": row.swarm.pk if row.swarm else None,
        "number": row.swarm.number if row.swarm else None,
        "node": row.node or None,
        "approval": row.approval or None,
    }
