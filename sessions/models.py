"""What happened: numbered events, and the transcripts of agents' sessions."""

from typing import Any, ClassVar

from django.db import models
from django.db.models import Q
from django.utils import timezone

from sessions.artifacts.models import Artifact, Content
from sessions.webhooks.models import Backlog, Delivery, Letter, Webhook
from tenants.ids import uuid7

__all__ = [
    "Artifact",
    "Backlog",
    "Content",
    "Delivery",
    "Event",
    "Letter",
    "Message",
    "Part",
    "Session",
    "Stream",
    "Subject",
    "Webhook",
]


class Subject(models.Model):
    """Something that events are about, by name (`swarm:<uuid>`); numbers its events without gaps.

    Here and in `Event` numbers are given by the database and held against each other by `verify`; a CHECK that they are
    positive would be parsed anew for each event.
    """

    name = models.CharField(max_length=80, primary_key=True)
    last_seq = models.BigIntegerField(default=0)


class Event(models.Model):
    """A durable fact, written in the transaction of the change it tells of."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    subject = models.CharField(max_length=80)
    seq = models.BigIntegerField()
    kind = models.CharField(max_length=40)
    payload = models.JSONField(default=dict, blank=True)
    actor = models.CharField(max_length=80, help_text="user:<uuid>, agent:<name> or system")
    cause = models.UUIDField(null=True, blank=True, help_text="The event that this one follows from.")
    trace = models.CharField(max_length=32, blank=True)
    at = models.DateTimeField(auto_now_add=True)
    position = models.BigIntegerField(null=True, help_text="Place in the team's stream; given by the relay.")

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["subject", "seq"], name="event_seq"),
            models.UniqueConstraint(fields=["position"], name="event_position"),
        ]

    def __str__(self) -> str:
        return f"{self.subject}#{self.seq} {self.kind}"


class Stream(models.Model):
    """The team's stream: one row, numbers the positions."""

    id = models.SmallIntegerField(primary_key=True, default=1)
    last_position = models.PositiveBigIntegerField(default=0)


class Session(models.Model):
    """One talk of an agent with its model."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    subject = models.CharField(max_length=80, help_text="Whose work it is, e.g. swarm:<uuid>.")
    title = models.CharField(max_length=200)
    agent = models.CharField(max_length=80)
    model = models.CharField(max_length=120, blank=True, help_text="What answered, as the provider says.")
    doing = models.CharField(max_length=200, blank=True, help_text="What the agent does now.")
    input_tokens = models.PositiveBigIntegerField(default=0)
    output_tokens = models.PositiveBigIntegerField(default=0)
    created_at = models.DateTimeField(default=timezone.now)
    ended_at = models.DateTimeField(null=True, blank=True)
    origin = models.JSONField(
        null=True, blank=True, help_text="Of a session that happened elsewhere: where, see sessions.history."
    )

    class Meta:
        indexes: ClassVar = [models.Index(fields=["subject", "created_at"], name="session_subject")]

    def __str__(self) -> str:
        return self.title

    @property
    def is_rehearsal(self) -> bool:
        """Whether its answers are a recording."""
        return self.model.startswith("rehearsal")


class Message(models.Model):
    """One turn in a session. The id comes from the runtime, so that sending it twice changes nothing."""

    id = models.UUIDField(primary_key=True)
    session = models.ForeignKey(Session, models.CASCADE, related_name="messages")
    number = models.PositiveIntegerField(help_text="Place in the session, as it arrived.")
    role = models.CharField(max_length=16)
    author = models.CharField(max_length=120, blank=True, help_text="The name of the person who said it, if one did.")
    model = models.CharField(max_length=120, blank=True)
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints: ClassVar = [models.UniqueConstraint(fields=["session", "number"], name="message_number")]


def options_of(given: dict[str, Any]) -> list[str]:
    """The answers to choose from that are in the input of a question, as its agent wrote it."""
    options = given.get("options")
    return [str(option) for option in options] if isinstance(options, list) else []


class Part(models.Model):
    """A piece of a message: text, reasoning, tool call with its result, file, patch, question, step, error."""

    id = models.UUIDField(primary_key=True)
    message = models.ForeignKey(Message, models.CASCADE, related_name="parts")
    index = models.PositiveIntegerField()
    kind = models.CharField(max_length=16)
    state = models.CharField(max_length=8)
    text = models.TextField(blank=True)
    tool = models.CharField(max_length=80, blank=True)
    input = models.JSONField(default=dict, blank=True)
    output = models.TextField(blank=True)
    usage = models.JSONField(null=True, blank=True)
    started_at = models.DateTimeField(null=True, blank=True, help_text="When it began, as the runtime says.")
    ended_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(default=timezone.now)
    updated_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["message", "index"], name="part_index"),
            models.CheckConstraint(condition=Q(state__in=["open", "done", "failed"]), name="part_state"),
        ]

    @property
    def options(self) -> list[str]:
        """Of a question: the answers to choose from."""
        return options_of(self.input)
