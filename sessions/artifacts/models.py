"""Artifacts, and the contents that they name."""

from typing import ClassVar

from django.db import models
from django.db.models import Q

from tenants.ids import uuid7


class Content(models.Model):
    """Bytes that lie in the object store once, whatever names them.

    The row is there before its bytes and until after them, so that nothing lies in the store that no row knows.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False, help_text="Changes when it comes anew.")
    sha256 = models.CharField(max_length=64, unique=True)
    size = models.PositiveBigIntegerField(help_text="Bytes.")
    stored_at = models.DateTimeField(
        null=True, blank=True, help_text="Since when all of it is in the store; empty: it comes in, or goes."
    )
    kept_until = models.DateTimeField(help_text="Until then it stays although nothing names it: somebody may bring it.")

    class Meta:
        constraints: ClassVar = [
            models.CheckConstraint(condition=Q(sha256__regex=r"^[0-9a-f]{64}$"), name="content_is_named_by_its_hash"),
        ]

    def __str__(self) -> str:
        return self.sha256


class Artifact(models.Model):
    """A file with a name that somebody made: an agent in a session, or it came with an imported swarm."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    subject = models.CharField(max_length=80, help_text="Whose it is: swarm:<uuid> or archive:<uuid>.")
    session = models.ForeignKey(
        "agent_sessions.Session",
        models.CASCADE,
        null=True,
        blank=True,
        related_name="artifacts",
        help_text="In which it was made; of an archive none.",
    )
    name = models.CharField(max_length=200, help_text="Its path where it was made.")
    media_type = models.CharField(max_length=100, help_text="As whoever made it says.")
    content = models.ForeignKey(Content, models.PROTECT, related_name="artifacts")
    made_by = models.CharField(max_length=80, help_text="Name of the agent.")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["session", "name"], name="artifact_name_in_its_session"),
        ]
        indexes: ClassVar = [models.Index(fields=["subject", "created_at"], name="artifact_subject")]

    def __str__(self) -> str:
        return self.name
