"""Two admin sites: the team's, where roles decide, and the operator's, which sees no content of teams."""

from typing import TYPE_CHECKING, Any

import structlog
from django.contrib import admin
from django.contrib.auth import logout
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, URLResolver, reverse

from tenants.hosts import public_url
from tenants.roles import Permission, may

logger = structlog.get_logger(__name__)

# Passwords, sign-in and links to content have pages of their own.
_LEFT_OUT = ("password_change", "password_change_done", "view_on_site")


if TYPE_CHECKING:
    _Mixin = admin.ModelAdmin[Any]
else:
    _Mixin = object


class Site(admin.AdminSite):
    """An admin site that people enter by the sign-in of the public host."""

    enable_nav_sidebar = False
    index_title = "Administration"

    def get_urls(self) -> list[URLResolver | URLPattern]:
        return [url for url in super().get_urls() if getattr(url, "name", None) not in _LEFT_OUT]

    def login(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """Visitors sign in on the public host; for who is signed in but may not enter, there is nothing here."""
        if self.has_permission(request):
            return HttpResponseRedirect(reverse("admin:index", current_app=self.name))
        if request.user.is_authenticated:
            raise Http404
        return HttpResponseRedirect(public_url(f"/login/?next={reverse('admin:index', current_app=self.name)}"))

    def logout(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:  # type: ignore[override]
        """End the session on all hosts."""
        logout(request)
        return HttpResponseRedirect(public_url())


class TeamAdminSite(Site):
    """`/admin/` of a team's host: every member may enter; roles decide on all else, never `is_staff`."""

    site_header = "Waggle"
    site_title = "Waggle"

    def has_permission(self, request: HttpRequest) -> bool:
        return getattr(request, "membership", None) is not None

    def each_context(self, request: HttpRequest) -> dict[str, Any]:
        team = getattr(request, "team", None)
        return super().each_context(request) | {"site_header": team.name if team else self.site_header}


class OperatorAdminSite(Site):
    """`/operator/` of the public host: teams, addresses, users and runners, for staff."""

    site_header = "Waggle operator"
    site_title = "Waggle operator"
    index_template = "tenants/operator/index.html"

    def has_permission(self, request: HttpRequest) -> bool:
        user = request.user
        return user.is_active and user.is_staff and getattr(request, "team", None) is None


class TeamAdminMixin(_Mixin):
    """A ModelAdmin of the team's site: each permission names what of `tenants.roles` it needs, or None for nobody."""

    view_needs: Permission | None = Permission.VIEW
    add_needs: Permission | None = None
    change_needs: Permission | None = None
    delete_needs: Permission | None = None

    def has_module_permission(self, request: HttpRequest) -> bool:
        return self.has_view_permission(request)

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return _may(request, self.view_needs)

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return _may(request, self.add_needs)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return _may(request, self.change_needs)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return _may(request, self.delete_needs)


def _may(request: HttpRequest, permission: Permission | None) -> bool:
    member = getattr(request, "membership", None)
    return member is not None and permission is not None and may(member.role, permission)


class OperatorAdminMixin(_Mixin):
    """A ModelAdmin of the operator's site. Its changes are told in the log: the table of admin's log is a team's."""

    change_form_template = "tenants/operator/change_form.html"
    may_add = False
    may_delete = False

    def has_module_permission(self, request: HttpRequest) -> bool:
        return self.has_view_permission(request)

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.is_staff

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.is_staff

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.may_add and request.user.is_staff

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.may_delete and request.user.is_staff

    def log_addition(self, request: HttpRequest, obj: Any, message: Any) -> Any:
        logger.info("operator added", what=repr(obj), by=str(request.user.pk))

    def log_change(self, request: HttpRequest, obj: Any, message: Any) -> Any:
        logger.info("operator changed", what=repr(obj), changes=message, by=str(request.user.pk))

    def log_deletions(self, request: HttpRequest, queryset: Any) -> Any:
        logger.info("operator removed", what=[repr(obj) for obj in queryset], by=str(request.user.pk))

    def history_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        raise Http404


team_admin = TeamAdminSite(name="admin")
operator_admin = OperatorAdminSite(name="operator")
