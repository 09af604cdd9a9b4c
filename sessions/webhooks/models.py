"""Where events are sent on to, what waits for each, and what was tried."""

from typing import ClassVar

from django.db import models
from django.db.models import Q

from sessions.states import WEBHOOK_MOVES, WebhookState
from tenants.ids import uuid7
from tenants.models import User
from tenants.secrets import SealedField
from tenants.states import Moves


class Webhook(models.Model):
    """An address to which a team's events are sent on."""

    NOUN = "webhook"
    MOVES: ClassVar[Moves] = WEBHOOK_MOVES

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    name = models.CharField(max_length=80)
    url = models.CharField(max_length=500)
    kinds = models.JSONField(default=list, blank=True, help_text="Kinds of events, or their beginnings; empty: all.")
    projects = models.JSONField(default=list, blank=True, help_text="Ids of projects; empty: the whole team.")
    secret = SealedField()
    old_secret = SealedField(blank=True, help_text="The one before, for as long as both sign.")
    old_secret_until = models.DateTimeField(null=True, blank=True)
    state = models.CharField(max_length=12, default=WebhookState.ENABLED, choices=[(s, s) for s in WebhookState])
    because = models.TextField(blank=True)
    is_given_up = models.BooleanField(default=False, help_text="It was the platform that switched it off.")
    position = models.PositiveBigIntegerField(help_text="Place in the team's stream up to which events are sorted.")
    failures = models.PositiveIntegerField(default=0, help_text="Failed deliveries since the last good one.")
    failing_since = models.DateTimeField(null=True, blank=True)
    hold_until = models.DateTimeField(null=True, blank=True, help_text="Until then it is left alone.")
    sent_at = models.DateTimeField(null=True, blank=True, help_text="The last good delivery.")
    fence = models.UUIDField(null=True, blank=True, help_text="Of the worker that sends just now.")
    lease_until = models.DateTimeField(null=True, blank=True)
    turned_at = models.DateTimeField(null=True, blank=True, help_text="When its last turn was over.")
    created_by = models.ForeignKey(User, models.PROTECT, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=Q(old_secret="") | Q(old_secret_until__isnull=False), name="old_secret_ends"
            ),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def event_subject(self) -> str:
        return "team"


class Backlog(models.Model):
    """Events of one subject that a webhook has yet to get. There is no row where it has got all."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    webhook = models.ForeignKey(Webhook, models.CASCADE, related_name="backlogs", db_index=False)
    subject = models.CharField(max_length=80)
    seq = models.PositiveBigIntegerField(help_text="Number of the last event that it has got.")
    attempts = models.PositiveIntegerField(default=0, help_text="How often the next one was tried.")
    because = models.CharField(max_length=300, blank=True, help_text="Why the last try failed.")
    due_at = models.DateTimeField(help_text="When the next one is tried.")

    class Meta:
        constraints: ClassVar = [models.UniqueConstraint(fields=["webhook", "subject"], name="one_backlog_per_subject")]
        indexes: ClassVar = [models.Index(fields=["webhook", "due_at"], name="backlog_due")]


class Letter(models.Model):
    """One event that is sent by itself, beside the order: given up before, asked for by a person, or a test."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    webhook = models.ForeignKey(Webhook, models.CASCADE, related_name="letters", db_index=False)
    event = models.ForeignKey("agent_sessions.Event", models.CASCADE, related_name="+")
    attempts = models.PositiveIntegerField(default=0)
    because = models.CharField(max_length=300, blank=True, help_text="Why the last try failed.")
    due_at = models.DateTimeField(null=True, help_text="When it is tried; empty: it is dead until a person asks.")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints: ClassVar = [models.UniqueConstraint(fields=["webhook", "event"], name="one_letter_per_event")]
        indexes: ClassVar = [models.Index(fields=["webhook", "due_at"], name="letter_due")]

    @property
    def is_dead(self) -> bool:
        return self.due_at is None


class Delivery(models.Model):
    """One try to send an event. The latest ones of a webhook are kept."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    webhook = models.ForeignKey(Webhook, models.CASCADE, related_name="deliveries", db_index=False)
    event = models.ForeignKey("agent_sessions.Event", models.CASCADE, related_name="+")
    attempt = models.PositiveIntegerField(help_text="1 is the first try of this event.")
    is_good = models.BooleanField()
    status = models.PositiveSmallIntegerField(default=0, help_text="HTTP status; 0: there was no answer.")
    because = models.CharField(max_length=300, blank=True)
    excerpt = models.TextField(blank=True, help_text="The beginning of the answer.")
    seconds = models.FloatField()
    at = models.DateTimeField(auto_now_add=True)

    class Meta:
        indexes: ClassVar = [models.Index(fields=["webhook", "-id"], name="delivery_newest")]
