"""Whose turn it is, what is due and what must be announced: written in the transaction of what they follow from."""

from typing import ClassVar

from django.db import models
from django.db.models import Q
from django.utils import timezone

from tenants.ids import uuid7
from tenants.models.people import Team
from tenants.models.tokens import Runner


class Ticket(models.Model):
    """Something of a team is ready and waits for its turn on a runner."""

    id = models.BigAutoField(primary_key=True)
    team = models.ForeignKey(Team, models.CASCADE, related_name="tickets")
    kind = models.CharField(max_length=16, help_text="plan, node or checks")
    subject = models.UUIDField()
    priority = models.IntegerField(default=0, help_text="Higher goes first: the length of the critical path.")
    not_before = models.DateTimeField(default=timezone.now)
    cost = models.FloatField(default=1.0, help_text="Estimate, in turns.")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints: ClassVar = [models.UniqueConstraint(fields=["kind", "subject"], name="one_ticket_per_subject")]
        indexes: ClassVar = [models.Index(fields=["team", "-priority", "created_at"], name="ticket_turn")]


class TeamShare(models.Model):
    """A team's fair share (start-time fair queueing): the lowest virtual time goes next."""

    team = models.OneToOneField(Team, models.CASCADE, primary_key=True, related_name="share")
    virtual_time = models.FloatField(default=0)
    weight = models.FloatField(default=1)
    cap = models.PositiveIntegerField(default=16, help_text="Executions at once.")

    class Meta:
        constraints: ClassVar = [models.CheckConstraint(condition=Q(weight__gt=0), name="share_weight_positive")]


class Placement(models.Model):
    """A live execution and the runner that has it; gone when the execution ends."""

    execution = models.UUIDField(primary_key=True)
    team = models.ForeignKey(Team, models.CASCADE, related_name="placements")
    runner = models.ForeignKey(Runner, models.PROTECT, related_name="placements")
    kind = models.CharField(max_length=16)
    created_at = models.DateTimeField(auto_now_add=True)
    delivered_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        indexes: ClassVar = [models.Index(fields=["runner"], name="placement_runner")]


class Due(models.Model):
    """Something of a team that must be looked at when its time has come."""

    id = models.BigAutoField(primary_key=True)
    team = models.ForeignKey(Team, models.CASCADE, related_name="+")
    kind = models.CharField(max_length=16, help_text="lease, advance, merge, approval, fetch, landing")
    subject = models.UUIDField()
    due_at = models.DateTimeField()

    class Meta:
        constraints: ClassVar = [models.UniqueConstraint(fields=["kind", "subject"], name="one_due_per_subject")]
        indexes: ClassVar = [models.Index(fields=["due_at"], name="due_at")]


class Outbox(models.Model):
    """An event that the relay must publish."""

    id = models.BigAutoField(primary_key=True)
    team = models.ForeignKey(Team, models.CASCADE, related_name="+")
    event = models.UUIDField(default=uuid7)
