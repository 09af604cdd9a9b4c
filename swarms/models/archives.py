"""Swarms of other installations, or of long ago, that came as files: to be looked at, and nothing else."""

from typing import ClassVar

from django.db import models

from tenants.ids import uuid7
from tenants.models import User


class Archive(models.Model):
    """A swarm that was imported from a file. Nothing of it is ever carried out."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    digest = models.CharField(max_length=64, unique=True, help_text="SHA-256 of what is in the file, for each once.")
    swarm = models.UUIDField(help_text="Its id where it was carried out.")
    project = models.CharField(max_length=80, help_text="Short name of its project there.")
    number = models.PositiveIntegerField(help_text="Its number there.")
    goal = models.TextField()
    state = models.CharField(max_length=16, help_text="When it was exported.")
    last_seq = models.PositiveBigIntegerField(help_text="Of its events.")
    began_at = models.DateTimeField()
    manifest = models.JSONField()
    imported_by = models.ForeignKey(User, models.PROTECT, null=True, related_name="+")
    imported_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return f"{self.project} #{self.number}"

    @property
    def title(self) -> str:
        """The first line of its goal, for lists."""
        first = self.goal.strip().splitlines()[0] if self.goal.strip() else ""
        return first if len(first) <= 80 else first[:79] + "…"


class ArchiveRecord(models.Model):
    """One line of one member of an archive."""

    id = models.BigAutoField(primary_key=True)
    archive = models.ForeignKey(Archive, models.CASCADE, related_name="records", db_index=False)  # the index serves
    member = models.CharField(max_length=16)
    number = models.PositiveBigIntegerField(help_text="Its place in the member; of an event its number.")
    key = models.CharField(max_length=80, blank=True, help_text="Whose it is: a node's key, or a session's id.")
    body = models.JSONField()

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["archive", "member", "number"], name="archive_record"),
        ]
        indexes: ClassVar = [models.Index(fields=["archive", "member", "key"], name="archive_record_key")]
