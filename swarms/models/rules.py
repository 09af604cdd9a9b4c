"""What a team's agents may do with their tools."""

from typing import Any, ClassVar

from django.db import models
from django.db.models import Q

from swarms.models.gates import Approval
from swarms.models.projects import Project, Swarm
from swarms.policy.rules import Rule, Verdict
from tenants.ids import uuid7
from tenants.models import User


class ToolRule(models.Model):
    """One rule of the team, in its order. What it says never changes: it is revoked, and another one made."""

    LIVES: ClassVar = [("once", "for one call"), ("swarm", "for one swarm"), ("always", "until it is revoked")]

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    position = models.IntegerField(help_text="The lowest is asked first.")
    project = models.ForeignKey(Project, models.PROTECT, null=True, blank=True, related_name="tool_rules")
    swarm = models.ForeignKey(Swarm, models.PROTECT, null=True, blank=True, related_name="tool_rules")
    role = models.CharField(max_length=20, blank=True, help_text="Empty: any.")
    tool = models.CharField(max_length=80, help_text="A glob of names of tools.")
    arguments = models.JSONField(default=dict, blank=True, help_text="Globs of named arguments.")
    exact = models.BooleanField(default=False, help_text="The arguments are no patterns: calls have the very same.")
    verdict = models.CharField(max_length=8, choices=[(v, v) for v in Verdict])
    sandboxed = models.BooleanField(default=False, help_text="Only where commands are locked in.")
    why = models.CharField(max_length=500, blank=True)
    life = models.CharField(max_length=8, choices=LIVES, default="always")
    approval = models.OneToOneField(
        Approval, models.PROTECT, null=True, blank=True, related_name="rule", help_text="Whose answer it is."
    )
    digest = models.CharField(max_length=64, blank=True, help_text="SHA-256 of the one call that it is for.")
    made_by = models.ForeignKey(User, models.PROTECT, related_name="+")
    made_at = models.DateTimeField(auto_now_add=True)
    revoked_by = models.ForeignKey(User, models.PROTECT, null=True, blank=True, related_name="+")
    revoked_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=Q(revoked_at__isnull=True, revoked_by__isnull=True)
                | Q(revoked_at__isnull=False, revoked_by__isnull=False),
                name="rule_revoked_by_somebody",
            ),
            models.CheckConstraint(
                condition=Q(life="once", approval__isnull=False) & ~Q(digest="")
                | Q(life="swarm", swarm__isnull=False, digest="")
                | Q(life="always", swarm__isnull=True, digest=""),
                name="rule_life",
            ),
            models.CheckConstraint(condition=Q(sandboxed=False) | Q(verdict="allow"), name="rule_in_sandbox_allows"),
        ]
        indexes: ClassVar = [models.Index(fields=["position"], condition=Q(revoked_at=None), name="rule_order")]

    def __str__(self) -> str:
        return f"{self.verdict} {self.tool}"

    @property
    def said(self) -> list[tuple[str, Any]]:
        """Its arguments, for people."""
        return sorted(self.arguments.items())

    @property
    def event_subject(self) -> str:
        return f"project:{self.project_id}" if self.project_id else "team"

    @property
    def pure(self) -> Rule:
        """As deciding takes it."""
        return Rule(
            tool=self.tool,
            verdict=Verdict(self.verdict),
            arguments=self.arguments,
            role=self.role,
            project=str(self.project_id or ""),
            swarm=str(self.swarm_id or ""),
            sandboxed=self.sandboxed,
            exact=self.exact,
            digest=self.digest,
            key=str(self.pk),
            why=self.why,
        )
