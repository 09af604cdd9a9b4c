"""The prices of models and the books of budgets in the team's administration."""

from decimal import Decimal
from typing import Any

from django import forms
from django.contrib import admin
from django.http import HttpRequest

from agents.models import Budget, ModelPrice
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
        fields = ("model",)
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
    list_display = ("model", "input", "cached", "output")
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


@admin.register(Budget, site=team_admin)
class BudgetAdmin(TeamAdminMixin, admin.ModelAdmin):
    """The books, to be looked at; a budget is set on the dashboard."""

    list_display = ("subject", "limit_microusd", "reserved_microusd", "spent_microusd", "soft_percent", "asked_at")
    search_fields = ("subject",)

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        return [field.name for field in self.model._meta.fields]
