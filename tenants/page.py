"""What every page knows: team, member, permissions, theme, badges of the navigation."""

from collections.abc import Callable
from typing import Any

from django.http import HttpRequest
from django.utils.functional import SimpleLazyObject

from tenants.hosts import url_of_host
from tenants.models import Domain, Membership
from tenants.roles import Permission, may
from tenants.states import TeamState

THEMES = ("auto", "light", "dark")
THEME_COOKIE = "waggle_theme"

badges: dict[str, Callable[[HttpRequest], int]] = {}
"""Counts beside entries of the navigation, by name; apps above put theirs here when they are ready."""


def theme_of(request: HttpRequest) -> str:
    """The look that this browser asks for."""
    chosen = request.COOKIES.get(THEME_COOKIE, "")
    return chosen if chosen in THEMES else "auto"


def teams_of(user: Any) -> list[dict[str, Any]]:
    """The teams of a user with their addresses, by name."""
    if not user.is_authenticated:
        return []
    rows = Membership.objects.filter(user=user).select_related("team").order_by("team__name", "pk")
    found = list(rows)
    domains = dict(
        Domain.objects.filter(tenant__in=[row.team_id for row in found], is_primary=True).values_list(
            "tenant_id", "domain"
        )
    )
    return [
        {
            "team": row.team,
            "role": row.get_role_display(),
            "url": url_of_host(domains[row.team_id]),
            "is_ready": row.team.state == TeamState.READY,
        }
        for row in found
        if row.team_id in domains
    ]


def page(request: HttpRequest) -> dict[str, Any]:
    """Context processor."""
    team, member = getattr(request, "team", None), getattr(request, "membership", None)
    if member is None:
        team = None
    return {
        "team": team,
        "membership": member,
        "may": {p.value: member is not None and may(member.role, p) for p in Permission},
        "theme": theme_of(request),
        "badges": SimpleLazyObject(lambda: {name: count(request) for name, count in badges.items()} if member else {}),
        "teams": SimpleLazyObject(lambda: teams_of(request.user)),
    }
