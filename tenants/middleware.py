"""Which team a request is for, and whether its user may see that team at all."""

import re
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

import structlog
from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBadRequest, HttpResponseRedirect
from django.shortcuts import render
from django.urls import resolve
from django.views.defaults import page_not_found
from django_htmx.http import HttpResponseClientRedirect

from tenants import context, problems
from tenants.hosts import public_url
from tenants.models import Domain, Membership, Team
from tenants.states import TeamState
from tenants.trace import begin_trace

_PATH_FORM = re.compile(r"^/t/(?P<slug>[^/]+)/")
_PROBES = ("/livez", "/readyz", "/metrics")
_LOOPBACK = ("127.0.0.1", "localhost", "[::1]")

Next = Callable[[HttpRequest], HttpResponse]


class TeamMiddleware:
    """Finds the team by the path form or by the host, and works in its schema for the length of the request.

    Sets `request.team` (None on the public host and where there is no such team) and `request.on_team_host`.
    """

    def __init__(self, get_response: Next) -> None:
        self.get_response = get_response

    def __call__(self, request: Any) -> HttpResponse:
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(trace=begin_trace())
        request.team, request.membership, request.on_team_host = None, None, False
        with context.in_schema(context.PUBLIC):
            return self._answer(request)

    def _answer(self, request: Any) -> HttpResponse:
        if request.path in _PROBES:
            # Probes name whatever host they like, so nothing that looks at the host may see them.
            view, args, kwargs = resolve(request.path, "config.urls_health")
            return view(request, *args, **kwargs)
        texts = (request.path, *request.COOKIES.values())
        if "%00" in request.META["QUERY_STRING"] or any("\0" in text for text in texts):
            return _no_nul(request)
        if request.path == "/api" or request.path.startswith("/api/"):
            # Before anything is known of the host or of who asks: it tells nobody which teams there are.
            return problems.problem(404, problems.ELSEWHERE)
        if by_path := _PATH_FORM.match(request.path):
            return self._program(request, by_path["slug"])
        request.urlconf = settings.PUBLIC_SCHEMA_URLCONF
        host = request.get_host().rsplit(":", 1)[0].lower()
        if host == settings.WAGGLE_HOST:
            return self.get_response(request)
        if host in _LOOPBACK:
            # The session's cookie belongs to the public host: nobody could stay signed in here.
            return HttpResponseRedirect(public_url(request.get_full_path()))
        request.on_team_host = True
        team = find_team(domain=host)
        if team is None:
            return self.get_response(request)
        request.urlconf = settings.ROOT_URLCONF
        return self._inside(request, team)

    def _program(self, request: Any, slug: str) -> HttpResponse:
        request.urlconf = settings.PROGRAMS_URLCONF
        # Programs bring a token with each request; a browser's cookies mean nothing here.
        request.COOKIES.clear()
        request._dont_enforce_csrf_checks = True
        team = find_team(slug=slug)
        if team is None or team.state != TeamState.READY:
            return self.get_response(request)
        return self._inside(request, team)

    def _inside(self, request: Any, team: Team) -> HttpResponse:
        request.team = team
        structlog.contextvars.bind_contextvars(team=team.schema_name)
        with context.in_schema(team.schema_name):
            return self.get_response(request)


class MembershipRequired:
    """On a team's host: visitors are asked to sign in, strangers get the 404 of a missing page.

    Both whether or not there is such a team, so that nobody can find out which teams exist. Comes last, so that its
    answers pass all other middleware like those of views. Sets `request.membership`.
    """

    def __init__(self, get_response: Next) -> None:
        self.get_response = get_response

    def __call__(self, request: Any) -> HttpResponse:
        if not request.on_team_host:
            return self.get_response(request)
        if not request.user.is_authenticated:
            return _sign_in_first(request)
        member = Membership.objects.filter(team=request.team, user=request.user) if request.team else None
        request.membership = member.select_related("user").first() if member else None
        if request.membership is None:
            return page_not_found(request, Http404())
        if request.team.state != TeamState.READY:
            progress = public_url(f"/teams/{request.team.pk}/preparing/")
            request.membership = None
            return render(
                request, "tenants/not_ready.html", {"unready": request.team, "progress_url": progress}, status=503
            )
        return self.get_response(request)

    def process_view(self, request: Any, view: Any, args: Any, kwargs: Any) -> HttpResponse | None:
        """A program hears of a team that does not exist what a stranger hears of one that does, header by header."""
        if request.team is None and getattr(request, "urlconf", "") == settings.PROGRAMS_URLCONF:
            return problems.problem(404, "not found")
        if request.on_team_host and any("\0" in text for _, texts in request.POST.lists() for text in texts):
            return _no_nul(request)
        return None


def _no_nul(request: HttpRequest) -> HttpResponse:
    """Postgres keeps no NUL character in a text, and nobody types one."""
    text = "A text has a NUL character (\\0). Take it out."
    if problems.is_for_programs(request.path):
        return problems.problem(400, text)
    return HttpResponseBadRequest(f"{text}\n", content_type="text/plain")


def _sign_in_first(request: Any) -> HttpResponse:
    back = request.build_absolute_uri() if request.method == "GET" else request.build_absolute_uri("/")
    if request.htmx:
        # The fragment's address is no page: come back to the page that asked for it.
        back = request.htmx.current_url or request.build_absolute_uri("/")
        return HttpResponseClientRedirect(public_url(f"/login/?{urlencode({'next': back})}"))
    return HttpResponseRedirect(public_url(f"/login/?{urlencode({'next': back})}"))


def find_team(*, slug: str = "", domain: str = "") -> Team | None:
    """The team of a path's slug or of a host name."""
    found = Domain.objects.select_related("tenant")
    row = found.filter(slug=slug).first() if slug else found.filter(domain=domain).first()
    return row.tenant if row else None
