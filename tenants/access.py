"""What a view needs of the member who asks."""

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponseBase

from tenants.models import Membership, Team, User
from tenants.roles import MAY, Permission, Role, may


class TeamRequest(HttpRequest):
    """A request on a team's host, by a member."""

    user: User
    team: Team
    membership: Membership
    htmx: Any


View = Callable[..., HttpResponseBase]


def requires(permission: Permission) -> Callable[[View], View]:
    """Let only members with this permission in; others get 403 with the roles that have it."""

    def decorate(view: View) -> View:
        @wraps(view)
        def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
            ensure(request, permission)
            return view(request, *args, **kwargs)

        guarded.needs = permission  # type: ignore[attr-defined]
        return guarded

    return decorate


def ensure(request: HttpRequest, permission: Permission) -> None:
    """Raise PermissionDenied, naming the roles that would do, unless the member may."""
    member = getattr(request, "membership", None)
    if member is None or not may(member.role, permission):
        raise PermissionDenied(refusal(member.role if member else "", permission))


def refusal(role: str, permission: Permission) -> str:
    """Why a member with this role may not, and who may."""
    able = [other.label.lower() for other in Role if permission in MAY[other]]
    yours = f"You are {role} here. " if role else ""
    return f"{yours}To {permission.words} you must be {' or '.join(able)}. Ask an owner or admin of the team."
