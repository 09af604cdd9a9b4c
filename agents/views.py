"""Who does the work: runners, what runs on them, and servers seen on the network."""

from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db.models import Count, Q
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.http import require_GET

from agents import breakers
from agents.models import Execution, Server
from agents.states import LIVE
from sessions.models import Stream
from tenants.models import Runner


@require_GET
def agents(request: HttpRequest) -> HttpResponse:
    """Runners and live executions."""
    position = Stream.objects.values_list("last_position", flat=True).first() or 0
    return render(request, "agents/agents.html", agents_context(request) | {"position": position})


@require_GET
def agents_now(request: HttpRequest) -> HttpResponse:
    """The live part of the page."""
    return render(request, "agents/_agents_now.html", agents_context(request))


def agents_context(request: HttpRequest) -> dict[str, Any]:
    """The team's runners, and the platform's that serve every team; and what all of them depend on."""
    team = request.team  # type: ignore[attr-defined]
    silent = timezone.now() - timedelta(seconds=settings.LEASE_SECONDS)
    runners = Runner.objects.filter(Q(team=team) | Q(team=None)).order_by("name")
    counted = runners.annotate(busy=Count("placements", filter=Q(placements__team=team)))
    live = Execution.objects.filter(state__in=LIVE).select_related("session", "runner").order_by("created_at")
    return {
        "runners": [(r, "connected" if r.channel and r.seen_at and r.seen_at > silent else "away") for r in counted],
        "executions": live,
        "breakers": breakers.lines(team.schema_name),
        "topics": ["team", *sorted({f"swarm:{execution.swarm}" for execution in live})[:18]],
    }


@require_GET
def servers(request: HttpRequest) -> HttpResponse:
    """Agent servers that were seen on the network."""
    return render(request, "agents/servers.html", {"servers": Server.objects.order_by("name", "url")})
