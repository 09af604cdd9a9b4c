"""Where a person decides."""

from typing import ClassVar

from django.db import models
from django.db.models import F, Q

from agents.models import Execution
from swarms.models.plans import Node, Plan
from swarms.models.projects import Swarm
from swarms.states import APPROVAL_MOVES, ApprovalState
from tenants.ids import uuid7
from tenants.models import User
from tenants.states import Moves


class Approval(models.Model):
    """A question to a person, bound to the hash of exactly what is decided."""

    NOUN = "approval"
    MOVES: ClassVar[Moves] = APPROVAL_MOVES

    KINDS: ClassVar = [
        ("plan", "plan"),
        ("node", "risky node"),
        ("landing", "landing"),
        ("budget", "budget"),
        ("rollback", "rollback"),
        ("tool", "use of a tool"),
        ("unconfined", "work that nothing locks in"),
    ]

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    swarm = models.ForeignKey(Swarm, models.PROTECT, related_name="approvals")
    kind = models.CharField(max_length=12, choices=KINDS)
    plan = models.ForeignKey(Plan, models.PROTECT, null=True, blank=True, related_name="approvals")
    node = models.ForeignKey(Node, models.PROTECT, null=True, blank=True, related_name="approvals")
    execution = models.ForeignKey(Execution, models.PROTECT, null=True, blank=True, related_name="+")
    call = models.CharField(max_length=120, blank=True, help_text="Which call of a tool of that execution.")
    title = models.CharField(max_length=200)
    subject = models.JSONField(help_text="What exactly is decided.")
    digest = models.CharField(max_length=64, help_text="SHA-256 of the subject.")
    state = models.CharField(max_length=12, default=ApprovalState.PENDING, choices=[(s, s) for s in ApprovalState])
    because = models.TextField(blank=True, help_text="The reason that was given.")
    four_eyes = models.BooleanField(default=False, help_text="Who asked may not decide.")
    requested_by = models.ForeignKey(User, models.PROTECT, null=True, blank=True, related_name="+")
    requested_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField()
    decided_by = models.ForeignKey(User, models.PROTECT, null=True, blank=True, related_name="+")
    decided_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        permissions: ClassVar = []
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["swarm", "kind", "node"],
                condition=Q(state="pending", call=""),
                nulls_distinct=False,
                name="one_pending_approval_per_subject",
            ),
            models.UniqueConstraint(fields=["execution", "call"], condition=~Q(call=""), name="one_approval_per_call"),
            models.CheckConstraint(
                condition=Q(kind="tool", execution__isnull=False) & ~Q(call="")
                | ~Q(kind="tool") & Q(execution__isnull=True, call=""),
                name="approval_of_call",
            ),
            models.CheckConstraint(
                condition=Q(state__in=["approved", "rejected"], decided_by__isnull=False)
                | ~Q(state__in=["approved", "rejected"]) & Q(decided_by__isnull=True),
                name="decided_has_decider",
            ),
            models.CheckConstraint(
                condition=Q(four_eyes=False)
                | Q(decided_by__isnull=True)
                | Q(requested_by__isnull=True)
                | ~Q(decided_by=F("requested_by")),
                name="four_eyes",
            ),
        ]

    def __str__(self) -> str:
        return self.title

    @property
    def event_subject(self) -> str:
        return f"swarm:{self.swarm_id}"
