"""The public start page, and the page of a team that is being made."""

from uuid import UUID

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404, render
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe
from django_htmx.http import HttpResponseClientRedirect

from tenants import provisioning, signup
from tenants.hosts import team_url
from tenants.models import Team
from tenants.page import teams_of
from tenants.states import TeamState


@require_safe
def start(request: HttpRequest) -> HttpResponse:
    """Who is signed in sees their teams; others learn what this is."""
    if not request.user.is_authenticated:
        return render(request, "tenants/landing.html")
    return render(request, "tenants/teams.html", {"teams": teams_of(request.user)})


@never_cache
@login_required
@require_safe
def preparing(request: HttpRequest, team: UUID) -> HttpResponse:
    """How far the making of a team is; leads to its host once it is ready. htmx asks again and again."""
    found = get_object_or_404(Team, pk=team, memberships__user=request.user)
    if found.state == TeamState.READY:
        url = team_url(found)
        return HttpResponseClientRedirect(url) if request.htmx else HttpResponseRedirect(url)  # type: ignore[attr-defined]
    template = "tenants/_progress.html" if request.htmx else "tenants/preparing.html"  # type: ignore[attr-defined]
    return render(request, template, {"unready": found, "failed": found.state == TeamState.FAILED})


@login_required
@require_POST
def try_again(request: HttpRequest, team: UUID) -> HttpResponse:
    """Make a team once more whose making failed."""
    found = get_object_or_404(Team, pk=team, memberships__user=request.user)
    if provisioning.retry(found):
        signup.ask_again(found.pk)
    return HttpResponseRedirect(reverse("preparing", args=[found.pk]))
