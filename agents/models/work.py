"""Work under way: executions on runners, and what people say to agents meanwhile."""

from typing import ClassVar

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils import timezone

from agents.contracts import AGENT_RUNTIMES
from agents.states import EXECUTION_MOVES, LIVE, ExecutionState
from sessions.models import Session
from tenants.ids import uuid7
from tenants.models import Runner
from tenants.states import Moves


class Execution(models.Model):
    """One run of an assignment on a runner: a lease with a fence."""

    NOUN = "execution"
    MOVES: ClassVar[Moves] = EXECUTION_MOVES

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    kind = models.CharField(max_length=8, help_text="plan, work, review or check")
    subject = models.CharField(max_length=80, help_text="What it is for: plan:<uuid>, node:<uuid> or checks:<uuid>.")
    swarm = models.UUIDField(help_text="The swarm whose work it is.")
    state = models.CharField(max_length=12, default=ExecutionState.LEASED, choices=[(s, s) for s in ExecutionState])
    because = models.TextField(blank=True)
    reason = models.CharField(max_length=24, blank=True, help_text="Why it failed: a FailureReason.")
    fence = models.UUIDField(default=uuid7)
    lease_until = models.DateTimeField()
    runner = models.ForeignKey(Runner, models.PROTECT, related_name="+")
    session = models.OneToOneField(Session, models.PROTECT, related_name="execution")
    agent = models.CharField(max_length=80, help_text="Who works, e.g. developer-2.")
    assignment = models.JSONField(help_text="What the runner was asked to do, without its token.")
    placed = models.JSONField(
        default=dict, blank=True, help_text="What was decided: agent, model, because; asks, rehearsal."
    )
    outcome = models.JSONField(null=True, blank=True)
    progress = models.PositiveIntegerField(default=0, help_text="Records of its runner so far; more is progress.")
    progress_at = models.DateTimeField(default=timezone.now, help_text="When it last made progress.")
    stall_seconds = models.PositiveIntegerField(default=600, help_text="So long without progress is a stall.")
    deadline_at = models.DateTimeField(null=True, blank=True, help_text="Start-to-close: when it must be over.")
    budgets = models.JSONField(default=list, blank=True, help_text="Subjects whose budgets it draws on.")
    reserved_microusd = models.BigIntegerField(default=0, help_text="Set aside for it in each of its budgets.")
    held_microusd = models.BigIntegerField(default=0, help_text="Of that, for model calls that are under way.")
    spent_microusd = models.BigIntegerField(default=0)
    cancel_at = models.DateTimeField(null=True, blank=True, help_text="When somebody asked it to stop.")
    trace = models.CharField(max_length=32, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    started_at = models.DateTimeField(null=True, blank=True)
    ended_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["subject"], condition=Q(state__in=sorted(LIVE)), name="one_live_execution_per_subject"
            ),
            models.CheckConstraint(
                condition=Q(state__in=sorted(LIVE), ended_at=None) | ~Q(state__in=sorted(LIVE)) & ~Q(ended_at=None),
                name="execution_live_or_ended",
            ),
        ]
        indexes: ClassVar = [models.Index(fields=["swarm", "created_at"], name="execution_swarm")]

    def __str__(self) -> str:
        return f"{self.kind} {self.subject}"

    @property
    def event_subject(self) -> str:
        return f"swarm:{self.swarm}"

    @property
    def runtime(self) -> str:
        """What drives its agent; empty when that is Waggle itself."""
        named = str(self.assignment.get("runtime", ""))
        return "" if named == AGENT_RUNTIMES[0] or self.kind == "check" else named

    @property
    def model(self) -> str:
        """The model that its agent asks."""
        return str(self.placed.get("asks") or settings.MODEL_NAME)

    @property
    def is_rehearsal(self) -> bool:
        """Whether the rehearsal answers its agent."""
        return bool(self.placed.get("rehearsal", settings.MODEL_REHEARSAL))

    @property
    def is_live(self) -> bool:
        return self.state in LIVE


class LeftSession(models.Model):
    """An execution has ended, and its session is still to be removed from the enrolled server that it worked on."""

    execution = models.OneToOneField(Execution, models.CASCADE, primary_key=True, related_name="+")
    # No foreign key: nothing about a server may keep an execution from ending.
    server = models.UUIDField(db_index=True, help_text="Where it is.")
    created_at = models.DateTimeField(auto_now_add=True)


class Steer(models.Model):
    """What a person says to an agent at work: see agents.contracts.link.Steer."""

    id = models.UUIDField(primary_key=True, default=uuid7, help_text="May be made by the page: sent twice, it is one.")
    execution = models.ForeignKey(Execution, models.CASCADE, related_name="steers")
    kind = models.CharField(max_length=12, help_text="message, interrupt, answer, revert or unrevert")
    text = models.TextField(blank=True)
    question = models.UUIDField(null=True, blank=True, help_text="Of an answer: the part that asks.")
    by = models.UUIDField(help_text="The user.")
    name = models.CharField(max_length=120, help_text="The user's name.")
    created_at = models.DateTimeField(auto_now_add=True)
    taken_at = models.DateTimeField(null=True, blank=True, help_text="When the agent had it.")

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["question"], name="one_answer_to_a_question"),
            models.CheckConstraint(
                condition=Q(kind="answer", question__isnull=False)
                | Q(kind__in=["message", "interrupt", "revert", "unrevert"], question__isnull=True),
                name="steer_answers_a_question",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.kind} of {self.name}"
