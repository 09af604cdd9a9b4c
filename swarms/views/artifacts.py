"""Artifacts for people: take one home, take one away."""

from uuid import UUID

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import get_object_or_404
from django.urls import reverse
from django.views.decorators.http import require_GET, require_POST

from sessions.artifacts import keeping, sending
from sessions.events import acting
from sessions.models import Artifact
from swarms.views.found import back
from tenants.access import TeamRequest, requires
from tenants.roles import Permission


def _found(pk: UUID) -> Artifact:
    return get_object_or_404(Artifact.objects.select_related("content"), pk=pk)


@require_GET
def artifact(request: HttpRequest, pk: UUID) -> HttpResponseBase:
    """The file, to be saved."""
    return sending.answer(_found(pk))


@require_POST
@requires(Permission.STATE_GOAL)
def remove(request: TeamRequest, pk: UUID) -> HttpResponse:
    """Take it away; its bytes go within two hours, if nothing else has the same."""
    found = _found(pk)
    if not found.subject.startswith("swarm:"):
        messages.error(request, f"{found.name} belongs to an imported swarm; delete that.")
        return back(request, reverse("archives"))
    with acting(f"user:{request.user.pk}"):
        keeping.remove(found)
    messages.success(request, f"Deleted: {found.name}")
    return back(request, reverse("swarms"))
