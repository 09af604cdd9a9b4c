"""Models and their money: providers with the team's keys, prices, budgets, metered calls."""

from typing import ClassVar

from django.db import models
from django.db.models import F, Q

from agents.models.work import Execution
from tenants.ids import uuid7
from tenants.secrets import SealedField


class Provider(models.Model):
    """A provider of models with the team's own key, which nobody can read here again."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    name = models.CharField(max_length=60, unique=True)
    base_url = models.CharField(max_length=300, help_text="Of its OpenAI-compatible API, e.g. https://api.example/v1")
    serves = models.JSONField(help_text="Models that it is asked for; the first is the team's default.")
    rank = models.IntegerField(default=0, help_text="Of those with one model the lowest is asked first.")
    key = SealedField(
        blank=True,
        default="",
        goes_with=("base_url",),
        help_text="Only the gateway reads it, for this address; empty when it is revoked.",
    )
    key_end = models.CharField(max_length=4, blank=True, help_text="Its last characters, so that people know it.")
    set_by = models.CharField(max_length=120, help_text="Who gave the key.")
    set_at = models.DateTimeField()
    revoked_by = models.CharField(max_length=120, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=(Q(revoked_at=None) & ~Q(key="")) | (Q(revoked_at__isnull=False, key="") & ~Q(revoked_by="")),
                name="provider_key_or_revoked",
            ),
        ]

    def __str__(self) -> str:
        return self.name


class Budget(models.Model):
    """How much may be spent on a subject (team, project, swarm or node): the database keeps the hard line."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    subject = models.CharField(max_length=80, unique=True, help_text="team, project:<uuid>, swarm:<uuid>, node:<uuid>")
    limit_microusd = models.BigIntegerField(help_text="The hard line, in millionths of a dollar.")
    reserved_microusd = models.BigIntegerField(default=0)
    spent_microusd = models.BigIntegerField(default=0)
    over_microusd = models.BigIntegerField(
        default=0, help_text="What providers charged beyond the limit: it is spent when there is room again."
    )
    soft_percent = models.PositiveSmallIntegerField(default=80, help_text="From here on a person is asked.")
    asked_at = models.DateTimeField(null=True, blank=True, help_text="When a person was asked at the soft line.")

    class Meta:
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=Q(spent_microusd__gte=0)
                & Q(reserved_microusd__gte=0)
                & Q(limit_microusd__gte=F("spent_microusd") + F("reserved_microusd")),
                name="budget_hard_line",
            ),
            models.CheckConstraint(condition=Q(soft_percent__lte=100), name="budget_soft_line"),
        ]

    def __str__(self) -> str:
        return self.subject


class ModelPrice(models.Model):
    """What a model costs this team where the public list is wrong or silent; microdollars for a million tokens."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    model = models.CharField(max_length=120)
    provider = models.ForeignKey(
        Provider,
        models.CASCADE,
        null=True,
        blank=True,
        help_text="Only there; empty: wherever it has no price of its own.",
    )
    input_microusd = models.BigIntegerField()
    cached_microusd = models.BigIntegerField()
    output_microusd = models.BigIntegerField()

    class Meta:
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=Q(input_microusd__gte=0, cached_microusd__gte=0, output_microusd__gte=0),
                name="price_not_negative",
            ),
            models.UniqueConstraint(
                fields=["model", "provider"], nulls_distinct=False, name="one_price_of_a_model_at_a_provider"
            ),
        ]

    def __str__(self) -> str:
        return self.model


class HeldCall(models.Model):
    """What is held for a model call until somebody tells what it cost."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    execution = models.ForeignKey(Execution, models.CASCADE, related_name="held_calls")
    microusd = models.BigIntegerField()
    at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return f"{self.microusd} for a call of {self.execution_id}"


class ModelCall(models.Model):
    """One metered call through the gateway."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    execution = models.ForeignKey(Execution, models.CASCADE, related_name="model_calls")
    model = models.CharField(max_length=120)
    provider = models.CharField(max_length=60, blank=True, help_text="The team's own; empty: the platform's.")
    because = models.TextField(blank=True, help_text="Why others of the team that have the model did not answer.")
    rehearsal = models.BooleanField(default=False)
    status = models.PositiveSmallIntegerField(help_text="HTTP status of the provider; 0: not reached.")
    input_tokens = models.PositiveIntegerField(default=0)
    cached_tokens = models.PositiveIntegerField(default=0)
    output_tokens = models.PositiveIntegerField(default=0)
    cost_microusd = models.BigIntegerField(null=True, help_text="Millionths of a dollar; empty: price unknown.")
    seconds = models.FloatField(default=0)
    trace = models.CharField(max_length=32, blank=True)
    at = models.DateTimeField(auto_now_add=True)
