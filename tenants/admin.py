"""What operators see on `/operator/`: nothing of a team's content."""

from django.contrib import admin
from django.http import HttpRequest

from tenants.models import Domain, Removal, Runner, Team, TeamShare, User
from tenants.sites import OperatorAdminMixin, operator_admin


class DomainInline(OperatorAdminMixin, admin.TabularInline):
    model = Domain
    fields = ("domain", "slug", "is_primary")
    readonly_fields = fields
    extra = 0


class ShareInline(OperatorAdminMixin, admin.TabularInline):
    model = TeamShare
    fields = ("weight", "cap", "max_waiting", "max_swarms", "virtual_time")
    readonly_fields = ("virtual_time",)
    extra = 0


@admin.register(Team, site=operator_admin)
class TeamAdmin(OperatorAdminMixin, admin.ModelAdmin):
    list_display = ("name", "state", "created_at")
    list_filter = ("state",)
    search_fields = ("name", "domains__slug")
    fields = ("name", "state", "because", "step", "schema_name", "created_at")
    readonly_fields = ("state", "because", "step", "schema_name", "created_at")
    inlines = (DomainInline, ShareInline)


@admin.register(User, site=operator_admin)
class UserAdmin(OperatorAdminMixin, admin.ModelAdmin):
    """Users are deactivated, never removed: rows of teams point at them."""

    list_display = ("email", "name", "is_active", "is_staff", "last_login")
    list_filter = ("is_active", "is_staff")
    search_fields = ("email", "name")
    ordering = ("email",)
    fields = ("email", "name", "is_active", "is_staff", "last_login", "date_joined")
    readonly_fields = ("last_login", "date_joined")

    def get_readonly_fields(self, request: HttpRequest, obj: User | None = None) -> tuple[str, ...]:
        # Nobody locks themselves out.
        own = ("is_active", "is_staff") if obj is not None and obj.pk == request.user.pk else ()
        return (*self.readonly_fields, *own)


@admin.register(Runner, site=operator_admin)
class RunnerAdmin(OperatorAdminMixin, admin.ModelAdmin):
    list_display = ("name", "team", "trusted", "capacity", "sandbox", "seen_at")
    fields = ("name", "team", "trusted", "capacity", "sandbox", "version", "seen_at")
    readonly_fields = ("name", "team", "capacity", "sandbox", "version", "seen_at")


@admin.register(Removal, site=operator_admin)
class RemovalAdmin(OperatorAdminMixin, admin.ModelAdmin):
    """Teams that were deleted: only to be read."""

    list_display = ("name", "slug", "asked_by", "asked_at", "done_at")
    search_fields = ("name", "slug", "asked_by")
    ordering = ("-asked_at",)
    fields = ("name", "slug", "schema_name", "asked_by", "asked_at", "held", "fault", "done_at")
    readonly_fields = fields
