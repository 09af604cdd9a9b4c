"""Who works, and where: agents, servers and the team's own runners, by their own verbs."""

from typing import Any

from django import forms
from django.contrib import admin
from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.http import HttpRequest

from agents import hosting, placing, registry, servers
from agents.forms import AgentForm, ServerForm, WorkForm
from agents.handshake import NoServer
from agents.models import Agent, Server
from agents.registry import Terms
from sessions.admin_actions import action, because
from sessions.events import acting
from tenants import runners
from tenants.models import Runner
from tenants.roles import Permission
from tenants.sites import TeamAdminMixin, team_admin


class AgentAdminForm(forms.ModelForm):
    """The terms of an agent, with the fields of the dashboard's form."""

    class Meta:
        model = Agent
        fields = ("name", "roles", "runtime", "model", "capacity", "runner", "server", "skills")

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        mine = AgentForm(initial=AgentForm.initial_of(self.instance)) if self.instance.name else AgentForm()
        for name in set(self.fields) & set(mine.fields):
            self.fields[name] = mine.fields[name]
        if self.instance.name:
            self.initial["skills"] = " ".join(self.instance.skills)

    def clean(self) -> dict[str, Any]:
        """As terms, which the registry looks at."""
        given = super().clean() or self.cleaned_data
        if not self.errors:
            given["skills"] = tuple(given["skills"].replace(",", " ").split())
            self.terms = Terms(**{"name": self.instance.name} | given)
            registry.check(self.terms)
        return given


@admin.register(Agent, site=team_admin)
class AgentAdmin(TeamAdminMixin, admin.ModelAdmin):
    """The registry, by its own verbs."""

    form = AgentAdminForm
    add_needs = change_needs = delete_needs = Permission.ENROL
    list_display = ("name", "state", "roles", "runtime", "model", "capacity", "runner", "server", "because")
    list_filter = ("state",)
    search_fields = ("name",)
    actions = (
        action(because(registry.drain), "Drain"),
        action(because(registry.enable), "Enable"),
        action(because(registry.disable), "Disable at once"),
    )

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        return ["name"] if obj else []

    def get_actions(self, request: HttpRequest) -> Any:
        found = super().get_actions(request)
        found.pop("delete_selected", None)  # one that is at work cannot be removed: each has a page of its own
        return found

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return super().has_delete_permission(request, obj) and (obj is None or not placing.busy(obj))

    def save_model(self, request: HttpRequest, obj: Agent, form: Any, change: bool) -> None:
        with acting(f"user:{request.user.pk}"):
            if change:
                registry.change(Agent.objects.get(pk=obj.pk), form.terms)
            else:
                obj.pk = registry.add(form.terms).pk
        obj.refresh_from_db()

    def delete_model(self, request: HttpRequest, obj: Agent) -> None:
        with acting(f"user:{request.user.pk}"):
            registry.remove(obj)


class AddServerForm(forms.ModelForm):
    """A server by its address, which is asked at once."""

    class Meta:
        model = Server
        fields = ("url", "name")

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.fields |= {name: ServerForm().fields[name] for name in ("url", "name")}

    def clean(self) -> dict[str, Any]:
        """Asks it."""
        given = super().clean() or self.cleaned_data
        if not self.errors:
            self.made = servers.add(given["url"], given["name"])
        return given

    def _post_clean(self) -> None:
        """The row is made by the verb alone."""


class WorkAdminForm(forms.ModelForm):
    """Which work a server takes, with the fields of the dashboard's form."""

    unsandboxed = WorkForm.base_fields["unsandboxed"]

    class Meta:
        model = Server
        fields = ("roles", "capacity", "takes_untrusted")

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.fields |= WorkForm().fields
        self.initial.update(WorkForm.initial_of(self.instance))

    def clean(self) -> dict[str, Any]:
        """As work, at which the platform looks."""
        given = super().clean() or self.cleaned_data
        if given.get("roles") and not given.get("unsandboxed"):
            self.add_error("unsandboxed", "Say that you want this, or choose no role.")
        if not self.errors:
            self.work = servers.Work(given["roles"], given["capacity"], given["takes_untrusted"])
            servers.check(self.instance, self.work)
        return given

    def _post_clean(self) -> None:
        """The row is changed by the verb alone."""


def _asked(row: Server, request: HttpRequest) -> bool:
    """Asks a server now. Raises ValidationError with what is wrong."""
    answer = servers.probe(row)
    if isinstance(answer, NoServer):
        raise ValidationError(f"{row.name}: {answer}.")
    return True


@admin.register(Server, site=team_admin)
class ServerAdmin(TeamAdminMixin, admin.ModelAdmin):
    """Servers: added, moved, given work and removed; passwords are given on the dashboard or by command."""

    form = WorkAdminForm
    add_needs = change_needs = delete_needs = Permission.ENROL
    list_display = (
        "name",
        "url",
        "version",
        "state",
        "roles",
        "capacity",
        "latency_ms",
        "last_seen",
        "fault",
        "because",
    )
    list_filter = ("state",)
    search_fields = ("name", "url")
    actions = (
        action(because(servers.enrol), "Enrol"),
        action(because(servers.drain), "Drain"),
        action(because(servers.enable), "Enable"),
        action(because(servers.quarantine), "Back to quarantine"),
        action(because(servers.disable), "Disable"),
        action(_asked, "Ask it now"),
    )

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **options: Any) -> Any:
        if obj is None:
            options["form"] = AddServerForm
        return super().get_form(request, obj, change, **options)

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        if obj is None:
            return ["url", "name"]
        return [*self.get_readonly_fields(request, obj), "roles", "capacity", "unsandboxed", "takes_untrusted"]

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        names = [field.name for field in self.model._meta.fields]
        return [name for name in names if name not in (*WorkAdminForm.Meta.fields, "password")] if obj else []

    def get_actions(self, request: HttpRequest) -> Any:
        found = super().get_actions(request)
        found.pop("delete_selected", None)  # not all of them can be removed: each has a page of its own
        return found

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        may = super().has_delete_permission(request, obj)
        return may and (obj is None or not (servers.stays(obj) or hosting.on(obj)))

    def save_model(self, request: HttpRequest, obj: Server, form: Any, change: bool) -> None:
        with acting(f"user:{request.user.pk}"):
            if change:
                servers.place(Server.objects.get(pk=obj.pk), form.work)
            else:
                obj.pk = form.made.pk
        obj.refresh_from_db()

    def delete_model(self, request: HttpRequest, obj: Server) -> None:
        with acting(f"user:{request.user.pk}"):
            servers.remove(obj)


def _end(row: Runner, request: HttpRequest) -> bool:
    """Ends a runner's token."""
    if row.token.revoked_at is not None:
        return False
    runners.end(row)
    return True


@admin.register(Runner, site=team_admin)
class RunnerAdmin(TeamAdminMixin, admin.ModelAdmin):
    """The team's own runners; they are added, and given another token, where a token is shown: on the dashboard."""

    view_needs = change_needs = Permission.ENROL
    list_display = ("name", "trusted", "capacity", "sandbox", "version", "seen_at", "trouble", "is_ended")
    fields = list_display
    search_fields = ("name",)
    actions = (action(_end, "End it"),)

    @admin.display(boolean=True, description="Ended")
    def is_ended(self, runner: Runner) -> bool:
        """It may not come again."""
        return runner.token.revoked_at is not None

    def get_queryset(self, request: HttpRequest) -> QuerySet[Runner]:
        return super().get_queryset(request).filter(team=getattr(request, "team", None)).select_related("token")

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        return tuple(name for name in self.list_display if name != "trusted")
