"""Approvals for members' programs: what waits for a person, of every kind, and the answer."""

from typing import Annotated, Any, Literal
from uuid import UUID

from django.http import JsonResponse
from django.shortcuts import get_object_or_404
from pydantic import StringConstraints

from swarms import approvals as verbs
from swarms.api.programs import Given, Refused, body_of, program
from swarms.models import Approval
from swarms.states import ApprovalState
from tenants.access import TeamRequest
from tenants.roles import Permission

MOST = 200
"""Rows of one answer."""
KINDS = [kind for kind, _ in Approval.KINDS]
Text = Annotated[str, StringConstraints(strip_whitespace=True)]


class Yes(Given):
    """How long the use of a tool is allowed; of all else there is only `once`."""

    because: Text = ""
    life: Literal["once", "swarm", "always"] = "once"


class No(Given):
    """The reason goes to those who work on it."""

    because: Annotated[Text, StringConstraints(min_length=1)]


@program("GET", Permission.VIEW)
def approvals(request: TeamRequest) -> JsonResponse:
    """The newest approvals: ?state=pending&kind=tool&swarm=<id>&limit=50&before=<id of the last one>."""
    found, asked = Approval.objects.select_related(*_RELATED).order_by("-pk"), request.GET
    for name, words in (("state", list(ApprovalState)), ("kind", KINDS)):
        if value := asked.get(name, ""):
            if value not in words:
                raise Refused(422, f"{name}: there is none called {value}. Choose one of {', '.join(words)}.")
            found = found.filter(**{name: value})
    try:
        limit = min(MOST, max(1, int(asked.get("limit", "50"))))
        if swarm := asked.get("swarm", ""):
            found = found.filter(swarm=UUID(swarm))
        if before := asked.get("before", ""):
            found = found.filter(pk__lt=UUID(before))
    except ValueError as error:
        text = f"limit is a number from 1 to {MOST}, swarm is the id of one, before is the id of an approval."
        raise Refused(422, text) from error
    rows = list(found[: limit + 1])
    more = {"before": rows[limit - 1].pk} if len(rows) > limit else None
    return JsonResponse({"approvals": [_told(row) for row in rows[:limit]], "next": more})


@program("GET", Permission.VIEW)
def approval(request: TeamRequest, approval: UUID) -> JsonResponse:
    """One approval, with exactly what is decided."""
    return JsonResponse(_whole(_found(approval)))


@program("POST", Permission.APPROVE)
def approve(request: TeamRequest, approval: UUID) -> JsonResponse:
    """Say yes; the answer is the approval as it is then."""
    found, given = _found(approval), body_of(request, Yes)
    verbs.approve(found, by=request.user, because=given.because, life=given.life)
    return JsonResponse(_whole(_found(approval)))


@program("POST", Permission.APPROVE)
def reject(request: TeamRequest, approval: UUID) -> JsonResponse:
    """Say no, with the reason; the answer is the approval as it is then."""
    found, given = _found(approval), body_of(request, No)
    verbs.reject(found, by=request.user, because=given.because)
    return JsonResponse(_whole(_found(approval)))


_RELATED = ("swarm__project", "node", "requested_by", "decided_by")


def _found(pk: UUID) -> Approval:
    return get_object_or_404(Approval.objects.select_related(*_RELATED), pk=pk)


def _told(row: Approval) -> dict[str, Any]:
    return {
        "id": row.pk,
        "kind": row.kind,
        "title": row.title,
        "state": row.state,
        "because": row.because,
        "project": row.swarm.project.slug,
        "swarm": row.swarm_id,
        "number": row.swarm.number,
        "node": row.node.key if row.node else None,
        "digest": row.digest,
        "four_eyes": row.four_eyes,
        "requested_by": str(row.requested_by) if row.requested_by else None,
        "requested_at": row.requested_at,
        "expires_at": row.expires_at,
        "decided_by": str(row.decided_by) if row.decided_by else None,
        "decided_at": row.decided_at,
    }


def _whole(row: Approval) -> dict[str, Any]:
    return _told(row) | {"subject": row.subject}
