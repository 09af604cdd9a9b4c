"""Models and their money: providers with the team's keys, prices, metered calls, the books of budgets."""

from decimal import Decimal
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils.decorators import method_decorator
from django.views.decorators.debug import sensitive_post_parameters

from agents import credentials, routes
from agents.forms import key_field, serves_field
from agents.models import Budget, ModelCall, ModelPrice, Provider
from sessions.admin_actions import action
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


class OfProvider(admin.AllValuesFieldListFilter):
    """Calls by who answered them; what the platform has set has no name."""

    def choices(self, changelist: Any) -> Any:
        """See Django: each value as a link, none of them without words."""
        for one in super().choices(changelist):
            yield one | {"display": one["display"] or "The platform's"}


@admin.register(ModelCall, site=team_admin)
class ModelCallAdmin(TeamAdminMixin, admin.ModelAdmin):
    """Metered calls, to be looked at: who answered, why not another one, and what it cost."""

    list_display = ("at", "model", "provider", "because", "status", "input_tokens", "output_tokens", "cost_microusd")
    list_filter = (("provider", OfProvider), "status")
    search_fields = ("model", "because")
    ordering = ("-at",)
    show_full_result_count = False

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        return [field.name for field in self.model._meta.fields]


@admin.register(Budget, site=team_admin)
class BudgetAdmin(TeamAdminMixin, admin.ModelAdmin):
    """The books, to be looked at; a budget is set on the dashboard."""

    list_display = (
        "subject",
        "limit_microusd",
        "reserved_microusd",
        "spent_microusd",
        "over_microusd",
        "soft_percent",
        "asked_at",
    )
    search_fields = ("subject",)

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        return [field.name for field in self.model._meta.fields]


class ProviderAdminForm(forms.ModelForm):
    """What is asked of a provider, and its key, which is written and never shown."""

    serves = serves_field()
    key = key_field("Never shown again.")

    class Meta:
        model = Provider
        fields = ("name", "base_url", "serves", "key")

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.initial.pop("key", None)
        if not self.instance._state.adding:
            self.initial["serves"] = " ".join(self.instance.serves)
            self.fields["key"].required = False
            self.fields["key"].help_text = "Empty: as before. Another address needs the key anew. Never shown again."

    def clean(self) -> dict[str, Any]:
        """A key goes to no other address than it was given for."""
        given = super().clean() or self.cleaned_data
        if not self.instance._state.adding and "base_url" in self.changed_data and not given.get("key"):
            self.add_error("key", "Another address needs the key anew: a key is for where it was given for.")
        given["serves"] = given.get("serves", "").split()
        if not self.errors:
            self._look(given)
        return given

    def _look(self, given: dict[str, Any]) -> None:
        """As the verbs will. Raises ValidationError."""
        where = given["base_url"].strip().rstrip("/")
        if self.instance._state.adding:
            credentials.proposed(given["name"], where, given["serves"], given["key"])
        elif given["key"]:
            credentials.look(Provider(name=self.instance.name, base_url=where, serves=given["serves"]), given["key"])
        else:
            credentials.models(given["serves"])

    def _post_clean(self) -> None:
        """The row is changed by the verbs alone."""


def _revoked(row: Provider, request: HttpRequest) -> bool:
    """Its key is gone."""
    return credentials.revoke(row, by=str(request.user))


@admin.register(Provider, site=team_admin)
class ProviderAdmin(TeamAdminMixin, admin.ModelAdmin):
    """Providers, by their own verbs. Keys go in, and never come out."""

    form = ProviderAdminForm
    add_needs = change_needs = delete_needs = Permission.KEYS
    list_display = ("name", "rank", "base_url", "serves", "key_end", "set_by", "set_at", "revoked_by", "revoked_at")
    ordering = routes.IN_ORDER
    actions = ("prefer", "try_out", action(_revoked, "Revoke the key"))

    @admin.action(permissions=["change"], description="Ask first")
    def prefer(self, request: HttpRequest, chosen: QuerySet[Provider]) -> None:
        """Each, so that they stay in their order among themselves."""
        for provider in reversed(chosen):
            with acting(f"user:{request.user.pk}"):
                credentials.prefer(provider, by=str(request.user))

    @admin.action(permissions=["change"], description="Test the connection")
    def try_out(self, request: HttpRequest, chosen: QuerySet[Provider]) -> None:
        """Each is asked, with its key."""
        for provider in chosen:
            trial = credentials.try_out(provider)
            (messages.success if trial.is_good else messages.error)(request, trial.text)

    @method_decorator(sensitive_post_parameters("key"))
    def changeform_view(self, request: HttpRequest, *args: Any, **options: Any) -> HttpResponse:
        """As ever, and what was typed is in no report of an error."""
        return super().changeform_view(request, *args, **options)

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        return ["name"] if obj else []

    def get_actions(self, request: HttpRequest) -> Any:
        found = super().get_actions(request)
        found.pop("delete_selected", None)
        return found

    def save_model(self, request: HttpRequest, obj: Provider, form: Any, change: bool) -> None:
        given, by = form.cleaned_data, str(request.user)
        with acting(f"user:{request.user.pk}"):
            if not change:
                words = {name: given[name] for name in ("name", "base_url", "serves", "key")}
                obj.pk = credentials.add(**words, by=by).pk
            else:
                row = Provider.objects.get(pk=obj.pk)
                if given["key"]:
                    credentials.replace(row, given["key"], by=by, base_url=given["base_url"])
                if given["serves"] != row.serves:
                    credentials.change(row, given["serves"], by=by)
        obj.refresh_from_db()

    def delete_model(self, request: HttpRequest, obj: Provider) -> None:
        with acting(f"user:{request.user.pk}"):
            credentials.remove(obj, by=str(request.user))
