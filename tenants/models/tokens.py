"""Machine credentials, and the runners that hold them."""

from datetime import timedelta
from typing import ClassVar

from django.db import models
from django.utils import timezone

from tenants.ids import uuid7
from tenants.models.people import Team, User


class TokenKind(models.TextChoices):
    RUNNER = "runner", "runner: asks for work"
    ATTEMPT = "attempt", "attempt: one execution's git, records and model"
    RESCUE = "rescue", "rescue: pushes what an execution that is over had left"
    SIGNIN = "signin", "one-time sign-in link"
    API = "api", "program of a member"


class Token(models.Model):
    """A secret `wg_…`, kept as its SHA-256 only (256 random bits need no slow hash)."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    kind = models.CharField(max_length=16, choices=TokenKind)
    hash = models.CharField(max_length=64, unique=True)
    team = models.ForeignKey(Team, models.CASCADE, null=True, blank=True, related_name="tokens")
    user = models.ForeignKey(User, models.PROTECT, null=True, blank=True, related_name="tokens")
    subject = models.CharField(max_length=120, blank=True, help_text="What it is bound to, e.g. execution:<uuid>.")
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)
    used_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        indexes: ClassVar = [models.Index(fields=["subject"], name="token_subject")]

    def __str__(self) -> str:
        return f"{self.kind} {self.subject}"


TOLD = timedelta(hours=1)
"""For so long people are told that a process was refused."""


class Runner(models.Model):
    """A process that carries out executions. Platform runners (no team) serve every team."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    name = models.CharField(max_length=80)
    team = models.ForeignKey(Team, models.CASCADE, null=True, blank=True, related_name="runners")
    token = models.OneToOneField(Token, models.PROTECT, related_name="runner")
    trusted = models.BooleanField(default=True, help_text="May run the control plane's checks.")
    capacity = models.PositiveIntegerField(default=0)
    sandbox = models.CharField(max_length=16, blank=True)
    version = models.CharField(max_length=40, blank=True)
    boot = models.UUIDField(null=True, blank=True, help_text="Changes with each start of its process.")
    proof = models.CharField(max_length=500, blank=True, help_text="A file that says `boot` to who shares its disk.")
    channel = models.CharField(max_length=120, blank=True, help_text="Where its websocket listens; empty: away.")
    seen_at = models.DateTimeField(null=True, blank=True)
    spares = models.PositiveIntegerField(default=0, help_text="Servers that wait for an attempt.")
    refused = models.CharField(max_length=120, blank=True, help_text="Why a process with its token was not let in.")
    refused_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["team", "name"], nulls_distinct=False, name="runner_name"),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def trouble(self) -> str:
        """Why a process with its token was not let in lately; empty: none was refused since one was let in."""
        is_late = self.refused_at is not None and timezone.now() - self.refused_at < TOLD
        return self.refused if is_late else ""
