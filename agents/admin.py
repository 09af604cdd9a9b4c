"""Agents, servers, the prices of models and the books of budgets in the team's administration."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.http import HttpRequest

from agents import credentials, placing, registry, routes, servers
from agents.forms import AgentForm
from agents.models import Agent, Budget, ModelCall, ModelPrice, Provider, Server
from agents.registry import Terms
from sessions.events import acting
from tenants.roles import Permission
from tenants.sites import TeamAdminMixin, team_admin

DOLLAR = 1_000_000
PRICES = {"input": "Input", "cached": "Cached input", "output": "Output"}


def _dollars(label: str) -> forms.DecimalField:
    return forms.DecimalField(
        label=f"{label}, $ for a million tokens", min_value=0, max_value=1_000_000, decimal_places=6
    )


class PriceForm(forms.ModelForm):
    """A price in dollars; the row has millionths of them."""

    input = _dollars(PRICES["input"])
    cached = _dollars(PRICES["cached"])
    output = _dollars(PRICES["output"])

    class Meta:
        model = ModelPrice
        fields = ("model", "provider")
        help_texts = {
            "model": "As in WAGGLE_MODEL_NAME, or as the provider calls it. This price wins over the public list."
        }

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        if not self.instance._state.adding:
            for name in PRICES:
                self.fields[name].initial = Decimal(getattr(self.instance, f"{name}_microusd")) / DOLLAR

    def clean(self) -> dict[str, Any]:
        """The dollars as the row's millionths."""
        given = super().clean() or self.cleaned_data
        for name in PRICES.keys() & given.keys():
            setattr(self.instance, f"{name}_microusd", int(given[name] * DOLLAR))
        return given


@admin.register(ModelPrice, site=team_admin)
class ModelPriceAdmin(TeamAdminMixin, admin.ModelAdmin):
    """What models cost this team: set by who may spend."""

    form = PriceForm
    add_needs = change_needs = delete_needs = Permission.SPEND
    list_display = ("model", "provider", "input", "cached", "output")
    search_fields = ("model",)

    @admin.display(description="Input, $ a million")
    def input(self, price: ModelPrice) -> str:
        """In dollars."""
        return _shown(price.input_microusd)

    @admin.display(description="Cached, $ a million")
    def cached(self, price: ModelPrice) -> str:
        """In dollars."""
        return _shown(price.cached_microusd)

    @admin.display(description="Output, $ a million")
    def output(self, price: ModelPrice) -> str:
        """In dollars."""
        return _shown(price.output_microusd)


def _shown(microusd: int) -> str:
    return f"{Decimal(microusd) / DOLLAR:f}"


@admin.register(ModelCall, site=team_admin)
class ModelCallAdmin(TeamAdminMixin, admin.ModelAdmin):
    """Metered calls, to be looked at: who answered, why not another one, and what it cost."""

    list_display = ("at", "model", "provider", "because", "status", "input_tokens", "output_tokens", "cost_microusd")
    list_filter = ("provider", "status")
    search_fields = ("model", "because")
    ordering = ("-at",)
    show_full_result_count = False

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        return [field.name for field in self.model._meta.fields]


@admin.register(Budget, site=team_admin)
class BudgetAdmin(TeamAdminMixin, admin.ModelAdmin):
    """The books, to be looked at; a budget is set on the dashboard."""

    list_display = ("subject", "limit_microusd", "reserved_microusd", "spent_microusd", "soft_percent", "asked_at")
    search_fields = ("subject",)

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        return [field.name for field in self.model._meta.fields]


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


Verb = Callable[..., bool]


def _action(verb: Verb, description: str) -> Any:
    """An action of a list: the verb for each that was chosen."""

    def act(self: Any, request: HttpRequest, chosen: QuerySet[Any]) -> None:
        done = 0
        with acting(f"user:{request.user.pk}"):
            for row in chosen:
                try:
                    done += verb(row, because=f"by {request.user}")
                except ValidationError as error:
                    messages.error(request, " ".join(error.messages))
        messages.success(request, f"{done} of {len(chosen)} changed.")

    act.__name__ = description.lower().replace(" ", "_")
    return admin.action(permissions=["change"], description=description)(act)


@admin.register(Agent, site=team_admin)
class AgentAdmin(TeamAdminMixin, admin.ModelAdmin):
    """The registry, by its own verbs."""

    form = AgentAdminForm
    add_needs = change_needs = delete_needs = Permission.ENROL
    list_display = ("name", "state", "roles", "runtime", "model", "capacity", "runner", "server", "because")
    list_filter = ("state",)
    search_fields = ("name",)
    actions = (
        _action(registry.drain, "Drain"),
        _action(registry.enable, "Enable"),
        _action(registry.disable, "Disable at once"),
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


@admin.register(Server, site=team_admin)
class ServerAdmin(TeamAdminMixin, admin.ModelAdmin):
    """Servers, to be looked at and moved; passwords and the work that they take are given on the dashboard."""

    change_needs = Permission.ENROL
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
    exclude = ("password",)
    actions = (
        _action(servers.enrol, "Enrol"),
        _action(servers.drain, "Drain"),
        _action(servers.enable, "Enable"),
        _action(servers.quarantine, "Back to quarantine"),
        _action(servers.disable, "Disable"),
    )

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        return [field.name for field in self.model._meta.fields if field.name != "password"]


@admin.register(Provider, site=team_admin)
class ProviderAdmin(TeamAdminMixin, admin.ModelAdmin):
    """Providers, to be looked at and revoked; keys are given on the dashboard or by a command."""

    change_needs = Permission.KEYS
    list_display = ("name", "rank", "base_url", "serves", "key_end", "set_by", "set_at", "revoked_by", "revoked_at")
    ordering = routes.IN_ORDER
    exclude = ("key",)
    actions = ("prefer", "revoke")

    @admin.action(description="Ask first")
    def prefer(self, request: HttpRequest, chosen: Any) -> None:
        """Each, so that they stay in their order among themselves."""
        for provider in reversed(chosen):
            with acting(f"user:{request.user.pk}"):
                credentials.prefer(provider, by=str(request.user))

    @admin.action(description="Revoke the key")
    def revoke(self, request: HttpRequest, chosen: Any) -> None:
        """Of each."""
        for provider in chosen:
            with acting(f"user:{request.user.pk}"):
                credentials.revoke(provider, by=str(request.user))

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        return [field.name for field in self.model._meta.fields if field.name != "key"]
