"""Decisions and their reasons, searched."""

from urllib.parse import urlencode

from django.http import Http404, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_GET

from sessions.decisions import PEOPLE, PLATFORM, RULES
from swarms import decided
from swarms.models import Project
from swarms.views.found import before
from tenants.access import TeamRequest
from tenants.models import Membership

PAGE = 50
_PLATFORM = [(who, who.capitalize()) for who in PLATFORM]


@require_GET
def decisions(request: TeamRequest) -> HttpResponse:
    """What was decided: ?q=words&project=textkit&swarm=12&who=engine&before=<id of the last one that is known>."""
    try:
        wanted = decided.Wanted.asked(request.GET, "swarm")
    except ValueError:
        raise Http404("no such swarm") from None
    rows, more = decided.found(wanted, before=before(request), most=PAGE)
    kept = {name: request.GET[name] for name in ("q", "project", "swarm", "who") if request.GET.get(name)}
    context = {
        "decisions": rows,
        "wanted": wanted,
        "projects": Project.objects.order_by("name"),
        "deciders": [(PEOPLE, "People"), *_members(request), *_PLATFORM, (RULES, "Rules for plans")],
        "older": f"?{urlencode(kept | {'before': more})}" if more else "",
    }
    return render(request, "swarms/decisions.html", context)


def _members(request: TeamRequest) -> list[tuple[str, str]]:
    members = Membership.objects.filter(team=request.team).select_related("user").order_by("user__name", "pk")
    return [(f"user:{member.user_id}", f"– {member.user}") for member in members]
