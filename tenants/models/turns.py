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
    # Its own index would tempt the planner away from that of turns, which begins with lane and team.
    team = models.ForeignKey(Team, models.CASCADE, related_name="tickets", db_index=False)
    kind = models.CharField(max_length=16, help_text="plan, node or checks")
    subject = models.UUIDField()
    swarm = models.UUIDField(null=True, help_text="The swarm that it belongs to.")
    lane = models.CharField(max_length=8, default="agent", help_text="Who serves it: agent (a runner), control (us).")
    priority = models.IntegerField(default=0, help_text="Higher goes first.")
    path = models.IntegerField(default=0, help_text="Then the longer critical path goes first.")
    not_before = models.DateTimeField(default=timezone.now)
    cost = models.FloatField(default=1.0, help_text="Estimate, in turns.")
    parked = models.CharField(
        max_length=200, blank=True, help_text="Why it was put off although its turn had come: breaker:…, budget:…"
    )
    parked_at = models.DateTimeField(null=True, blank=True, help_text="Since when for this kind of reason.")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints: ClassVar = [models.UniqueConstraint(fields=["kind", "subject"], name="one_ticket_per_subject")]
        indexes: ClassVar = [
            # The order of turns has an index as well: tenants.procedures.TURN_INDEX.
            models.Index(fields=["swarm"], name="ticket_swarm"),
        ]


class TeamShare(models.Model):
    """A team's fair share (start-time fair queueing): the lowest virtual time goes next."""

    team = models.OneToOneField(Team, models.CASCADE, primary_key=True, related_name="share")
    virtual_time = models.FloatField(default=0)
    last_start = models.FloatField(default=0, help_text="Virtual time at which its last turn started.")
    credit = models.FloatField(default=0, help_text="Turns that were charged and not used: off the next charges.")
    weight = models.FloatField(default=1, help_text="Twice the weight is twice the turns when others wait as well.")
    cap = models.PositiveIntegerField(default=16, help_text="Executions at once.")
    max_waiting = models.PositiveIntegerField(
        default=20_000, help_text="Nodes that may wait; beyond it a new goal is refused."
    )
    max_swarms = models.PositiveIntegerField(
        default=100, help_text="Swarms that have not ended; beyond it a new goal is refused."
    )

    class Meta:
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=Q(weight__gt=0, weight__lte=1000),
                name="share_weight",
                violation_error_message="A weight is more than 0 and at most 1000.",
            )
        ]


class Placement(models.Model):
    """A live execution and the runner that has it; gone when the execution ends."""

    execution = models.UUIDField(primary_key=True)
    team = models.ForeignKey(Team, models.CASCADE, related_name="placements")
    runner = models.ForeignKey(Runner, models.PROTECT, related_name="placements")
    kind = models.CharField(max_length=16)
    charged = models.FloatField(default=0, help_text="What it cost its team's share so far, in turns.")
    created_at = models.DateTimeField(auto_now_add=True)
    delivered_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        indexes: ClassVar = [models.Index(fields=["runner"], name="placement_runner")]


class Due(models.Model):
    """Something of a team that must be looked at when its time has come."""

    id = models.BigAutoField(primary_key=True)
    team = models.ForeignKey(Team, models.CASCADE, related_name="+")
    kind = models.CharField(max_length=16, help_text="What must be looked at: see swarms.reconcile.LOOK.")
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
