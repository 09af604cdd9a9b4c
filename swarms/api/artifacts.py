"""Artifacts: runners bring them, members' programs list and take them."""

import tempfile
from typing import Any
from uuid import UUID

from django.http import HttpRequest, HttpResponse, HttpResponseBase, JsonResponse
from django.shortcuts import get_object_or_404
from django.urls import reverse
from django.views.decorators.csrf import csrf_exempt

from agents.contracts import ArtifactKept
from sessions.artifacts import contents, keeping, sending
from sessions.artifacts.stores import PIECE
from sessions.events import acting
from sessions.models import Artifact
from swarms import artifacts
from swarms.api.programs import program
from swarms.api.runner import STALE, STALE_STATUS, find
from swarms.api.swarms import swarm_of
from tenants.access import TeamRequest
from tenants.roles import Permission


@csrf_exempt
def bring(request: TeamRequest, team: str, execution: UUID) -> HttpResponse:
    """A file of a live execution, as the body is; see agents.contracts.ArtifactKept."""
    found = find(request, execution)
    if isinstance(found, HttpResponse):
        return found
    if request.headers.get("X-Waggle-Fence", "") != str(found.fence) or found.cancel_at is not None:
        return JsonResponse(STALE, status=STALE_STATUS)
    name = request.GET.get("name", "")
    try:
        with tempfile.TemporaryFile() as file, acting(f"agent:{found.agent}"):
            keeping.checked_name(name)
            _take(request, file, name)
            kept = keeping.keep(found.session, file, name=name, media_type=request.GET.get("media_type", ""))
    except keeping.Misnamed as error:
        return JsonResponse({"faults": [str(error)]}, status=422)
    except contents.TooMuch as error:
        return JsonResponse({"faults": [str(error)]}, status=413)
    except contents.Gone as error:
        # No 5xx: the runner would send all of it again and again; so the agent hears it, and decides.
        return JsonResponse({"faults": [str(error)]}, status=422)
    told = {"artifact": kept.pk, "name": kept.name, "sha256": kept.content.sha256, "size": kept.content.size}
    return JsonResponse(ArtifactKept.model_validate(told).model_dump(mode="json"))


def _take(request: HttpRequest, file: Any, name: str) -> None:
    """The body, piece by piece. Raises TooMuch as soon as it is more than may be."""
    size = int(request.META.get("CONTENT_LENGTH") or 0)
    contents.refuse_size(size, name)
    size = 0
    while piece := request.read(PIECE):
        size += len(piece)
        contents.refuse_size(size, name)
        file.write(piece)


def told(row: artifacts.Row, team: str) -> dict[str, Any]:
    """What programs are told of an artifact."""
    one = row.artifact
    return {
        "id": one.pk,
        "name": one.name,
        "media_type": one.media_type,
        "size": one.content.size,
        "sha256": one.content.sha256,
        "node": row.node,
        "attempt": row.attempt,
        "made_by": one.made_by,
        "created_at": one.created_at,
        "url": reverse("api-artifact", args=[team, one.pk]),
    }


@program("GET", Permission.VIEW)
def of_swarm(request: TeamRequest, swarm: UUID) -> JsonResponse:
    """The newest artifacts of a swarm, with the node and the attempt that made each."""
    rows = artifacts.of_swarm(swarm_of(swarm))
    slug = request.resolver_match.kwargs["team"] if request.resolver_match else ""
    return JsonResponse({"artifacts": [told(row, slug) for row in rows]})


@program("GET", Permission.VIEW)
def take(request: TeamRequest, artifact: UUID) -> HttpResponseBase:
    """One artifact, as it is."""
    return sending.answer(get_object_or_404(Artifact.objects.select_related("content"), pk=artifact))
