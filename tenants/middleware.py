"""Which team a request is for, and whether its user may see that team at all."""

import re
from collections.abc import Callable
from urllib.parse import urlencode

import structlog
from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.shortcuts import render
from django.views.defaults import page_not_found

from tenants import context
from tenants.models import Domain, Membership, Team
from tenants.states import TeamState
from tenants.trace import begin_trace

_PATH_FORM = re.compile(r"^/t/(?P<slug>[^/]+)/")
_PROBES = ("/livez", "/readyz")
_OPEN = ("/static/",)

Next = Callable[[HttpRequest], HttpResponse]


class TeamMiddleware:
    """Finds the team by the path form or by the host, and enters its schema for the length of the request.

    An unknown team answers 404 like any missing object. Sets `request.team` (None on the public host).
    """

    def __init__(self, get_response: Next) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        context.leave()
        structlog.contextvars.clear_contextvars()
        trace = begin_trace()
        structlog.contextvars.bind_contextvars(trace=trace)
        request.team = None
        try:
            return self._answer(request)
        finally:
            context.leave()

    def _answer(self, request: HttpRequest) -> HttpResponse:
        if request.path in _PROBES:
            request.urlconf = "config.urls_health"
            return self.get_response(request)
        if by_path := _PATH_FORM.match(request.path):
            request.urlconf = settings.PROGRAMS_URLCONF
            team = find_team(slug=by_path["slug"])
            if team is None or team.state != TeamState.READY:
                return JsonResponse({"error": "not found"}, status=404)
            # Programs bring a token with each request; a browser's cookies mean nothing here.
            request.COOKIES.clear()
            request._dont_enforce_csrf_checks = True
            return self._inside(request, team)
        host = request.get_host().rsplit(":", 1)[0].lower()
        if host in (settings.WAGGLE_HOST, "127.0.0.1", "localhost"):
            request.urlconf = settings.PUBLIC_SCHEMA_URLCONF
            return self.get_response(request)
        team = find_team(domain=host)
        if team is None:
            request.urlconf = settings.PUBLIC_SCHEMA_URLCONF
            return page_not_found(request, Http404())
        if team.state != TeamState.READY:
            request.urlconf = settings.PUBLIC_SCHEMA_URLCONF
            return render(request, "tenants/not_ready.html", {"unready_team": team}, status=503)
        return self._inside(request, team)

    def _inside(self, request: HttpRequest, team: Team) -> HttpResponse:
        request.team = team
        structlog.contextvars.bind_contextvars(team=team.schema_name)
        context.enter(team.schema_name)
        return self.get_response(request)


class MembershipRequired:
    """On a team's host: strangers get the 404 of a missing page, visitors are asked to sign in.

    Sets `request.membership` (None on the public host and in the path form).
    """

    def __init__(self, get_response: Next) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        request.membership = None
        team = request.team
        if team is None or _PATH_FORM.match(request.path) or request.path.startswith(_OPEN):
            return self.get_response(request)
        if not request.user.is_authenticated:
            back = request.build_absolute_uri() if request.method == "GET" else request.build_absolute_uri("/")
            return HttpResponseRedirect(f"{settings.PUBLIC_URL}/login/?{urlencode({'next': back})}")
        request.membership = (
            Membership.objects.filter(team=team, user=request.user, user__is_active=True).select_related("user").first()
        )
        if request.membership is None:
            return page_not_found(request, Http404())
        return self.get_response(request)


def find_team(*, slug: str = "", domain: str = "") -> Team | None:
    """The team of a path's slug or of a host name."""
    found = Domain.objects.select_related("tenant")
    domain_row = found.filter(slug=slug).first() if slug else found.filter(domain=domain).first()
    return domain_row.tenant if domain_row else None
