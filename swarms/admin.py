"""Approvals in the team's admin: what exactly is decided, and the decision."""

from typing import Any, cast

from django.contrib import admin, messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse

from sessions.admin_actions import action
from swarms import approvals, projects
from swarms.decisions import describe
from swarms.models import Approval, CheckRun, Goal, Node, Plan, Project, Swarm, ToolRule
from swarms.rule_admin import ToolRuleAdmin
from tenants.access import TeamRequest
from tenants.roles import Permission, may
from tenants.sites import TeamAdminMixin, team_admin


class ReadOnly(TeamAdminMixin, admin.ModelAdmin):
    """Rows that only verbs change."""

    view_needs = Permission.VIEW
    show_full_result_count = False

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        return [field.name for field in self.model._meta.fields]


class Undecided(admin.SimpleListFilter):
    """Pending first: that is why people come."""

    title = "decision"
    parameter_name = "decision"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("pending", "Needs a decision"), ("decided", "Decided")]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        if self.value() == "pending":
            return queryset.filter(state="pending")
        if self.value() == "decided":
            return queryset.exclude(state="pending")
        return queryset


@admin.register(Approval, site=team_admin)
class ApprovalAdmin(ReadOnly):
    """List, look, decide. Deciding is the verb swarms.approvals.approve or reject, here as everywhere."""

    change_needs = Permission.APPROVE
    change_form_template = "admin/swarms/approval/change_form.html"
    list_display = ("title", "kind", "state", "swarm", "requested_by", "requested_at", "decided_by", "decided_at")
    list_filter = (Undecided, "kind", "state", "swarm__project")
    list_select_related = ("swarm__project", "requested_by", "decided_by")
    search_fields = ("title", "because")
    ordering = ("-requested_at",)
    date_hierarchy = "requested_at"

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Show exactly what is decided; a POST decides."""
        approval = self.get_object(request, object_id)
        decides = any(f"_{verdict}" in request.POST for verdict in ("approve", "swarm", "always", "reject"))
        if approval is not None and request.method == "POST" and decides:
            return self._decide(cast(TeamRequest, request), approval)
        context = describe(approval) if approval else {}
        return super().change_view(request, object_id, form_url, {**(extra_context or {}), **context})

    def _decide(self, request: TeamRequest, approval: Approval) -> HttpResponse:
        because = request.POST.get("because", "").strip()
        life = next((life for life in ("swarm", "always") if f"_{life}" in request.POST), "once")
        try:
            if "_reject" in request.POST:
                approvals.reject(approval, by=request.user, because=because)
            else:
                approvals.approve(approval, by=request.user, because=because, life=life)
        except approvals.NotDecidable as error:
            self.message_user(request, str(error), messages.ERROR)
        else:
            approval.refresh_from_db()
            self.message_user(request, f"{approval.title}: {approval.state}.", messages.SUCCESS)
        return HttpResponseRedirect(reverse("admin:swarms_approval_change", args=[approval.pk]))


@admin.action(permissions=["archive"], description="Archive…")
def _archive(admin_page: Any, request: HttpRequest, chosen: Any) -> HttpResponse | None:
    """To the page that says what goes and what stays, and asks."""
    found = list(chosen[:2])
    if len(found) == 1:
        return HttpResponseRedirect(reverse("project-archive", args=[found[0].slug]))
    messages.error(request, "Choose one project: you are shown what goes and what stays before it is archived.")
    return None


def _restore(project: Project, request: HttpRequest) -> bool:
    projects.restore(project, by=cast(TeamRequest, request).user)
    return True


@admin.register(Project, site=team_admin)
class ProjectAdmin(ReadOnly):
    actions = (_archive, action(_restore, "Restore", needs="archive"))
    list_display = ("name", "state", "target_branch", "shown_source", "created_at")
    list_filter = ("state",)
    search_fields = ("name", "slug")
    exclude = ("source",)

    def has_archive_permission(self, request: HttpRequest) -> bool:
        """Whether the member may archive and restore; its row is changed by verbs alone."""
        member = getattr(request, "membership", None)
        return member is not None and may(member.role, Permission.EDIT_PROJECT)

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        fields = super().get_readonly_fields(request, obj)
        return ["shown_source" if name == "source" else name for name in fields]


@admin.register(Goal, site=team_admin)
class GoalAdmin(ReadOnly):
    list_display = ("title", "project", "number", "created_by", "created_at")
    list_filter = ("project",)


@admin.register(Swarm, site=team_admin)
class SwarmAdmin(ReadOnly):
    list_display = ("__str__", "state", "because", "created_at", "ended_at")
    list_filter = ("state", "project")
    list_select_related = ("project",)


@admin.register(Plan, site=team_admin)
class PlanAdmin(ReadOnly):
    list_display = ("__str__", "state", "source", "created_at")
    list_filter = ("state", "source")
    list_select_related = ("swarm__project",)


@admin.register(Node, site=team_admin)
class NodeAdmin(ReadOnly):
    list_display = ("key", "title", "swarm", "role", "state", "attempts_made", "because")
    list_filter = ("state", "role", "swarm__project")
    list_select_related = ("swarm__project",)


team_admin.register(ToolRule, ToolRuleAdmin)


@admin.register(CheckRun, site=team_admin)
class CheckRunAdmin(ReadOnly):
    list_display = ("purpose", "swarm", "commit", "state", "because", "created_at")
    list_filter = ("purpose", "state")
    list_select_related = ("swarm__project",)
