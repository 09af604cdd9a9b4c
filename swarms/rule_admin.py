"""Rules for agents' tools in the team's administration, by their own verbs."""

from typing import Any, ClassVar

from django import forms
from django.contrib import admin
from django.http import HttpRequest

from sessions.admin_actions import action
from swarms import rulebook, toolrules
from swarms.models import ToolRule
from swarms.rule_forms import RuleForm
from tenants.models import User
from tenants.roles import Permission
from tenants.sites import TeamAdminMixin

FIELDS = ("verdict", "tool", "arguments", "role", "project", "sandboxed", "why")


class ToolRuleForm(forms.ModelForm):
    """A new rule, with the fields of the dashboard's form."""

    last = RuleForm.base_fields["last"]
    by: ClassVar[User]

    class Meta:
        model = ToolRule
        fields = FIELDS

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.fields |= RuleForm().fields

    def clean(self) -> dict[str, Any]:
        """Makes it, when all is well."""
        given = super().clean() or self.cleaned_data
        if not self.errors:
            words = {name: given[name] for name in FIELDS}
            self.made = toolrules.make(by=self.by, **words, last=given["last"] == "last")
        return given

    def _post_clean(self) -> None:
        """The row is made by the verb alone."""


def _revoked(row: ToolRule, request: HttpRequest) -> bool:
    """It holds no longer."""
    toolrules.revoke(row, by=request.user)  # type: ignore[arg-type]
    return True


def _shifted(row: ToolRule, request: HttpRequest, *, up: bool) -> bool:
    """It is asked before, or after, its neighbour among those that hold where it does."""
    seen = rulebook.of_project(row.project).exclude(life="once")
    toolrules.shift(row, up=up, among=seen, by=request.user)  # type: ignore[arg-type]
    return True


class ToolRuleAdmin(TeamAdminMixin, admin.ModelAdmin):
    """A rule never changes: it is made, asked earlier or later, and revoked."""

    form = ToolRuleForm
    add_needs = change_needs = Permission.POLICY
    show_full_result_count = False
    list_display = ("__str__", "arguments", "role", "project", "swarm", "life", "made_by", "made_at", "revoked_at")
    list_filter = ("verdict", "life", "project", "tool")
    list_select_related = ("project", "swarm__project", "made_by")
    ordering = ("position",)
    actions = (
        action(_revoked, "Revoke"),
        action(lambda row, request: _shifted(row, request, up=True), "Ask earlier"),
        action(lambda row, request: _shifted(row, request, up=False), "Ask later"),
    )

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **options: Any) -> Any:
        found: Any = super().get_form(request, obj, change, **options)
        found.by = request.user
        return found

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return self.get_readonly_fields(request, obj) or [*FIELDS, "last"]

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        return [field.name for field in self.model._meta.fields] if obj else []

    def save_model(self, request: HttpRequest, obj: ToolRule, form: Any, change: bool) -> None:
        if not change:
            obj.pk = form.made.pk
            obj.refresh_from_db()
