"""Tries of nodes, checks that were run, entries of the merge queue, and why a node does not run."""

from typing import ClassVar

from django.db import models
from django.db.models import Q

from agents.models import Execution
from swarms.models.plans import Node
from swarms.models.projects import Swarm
from swarms.states import (
    ATTEMPT_ENDED,
    ATTEMPT_MOVES,
    CHECK_RUN_MOVES,
    MERGE_MOVES,
    AttemptState,
    CheckRunState,
    MergeState,
)
from tenants.ids import uuid7
from tenants.states import Moves


class Attempt(models.Model):
    """One try of a node; numbered, never reused."""

    NOUN = "attempt"
    MOVES: ClassVar[Moves] = ATTEMPT_MOVES

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    node = models.ForeignKey(Node, models.PROTECT, related_name="attempts", db_index=False)  # attempt_number serves
    number = models.PositiveIntegerField()
    execution = models.OneToOneField(
        Execution, models.PROTECT, null=True, related_name="attempt", help_text="Empty: the control plane itself works."
    )
    fence = models.UUIDField(null=True, help_text="The control plane's own lease; a runner's is its execution's.")
    lease_until = models.DateTimeField(null=True, help_text="Until when the control plane's worker may be silent.")
    state = models.CharField(max_length=12, default=AttemptState.LEASED, choices=[(s, s) for s in AttemptState])
    reason = models.CharField(max_length=24, blank=True, help_text="Why it did not succeed.")
    because = models.TextField(blank=True)
    evidence = models.TextField(blank=True, help_text="What the next attempt is told.")
    base_commit = models.CharField(max_length=40, help_text="What its workspace started from.")
    commit = models.CharField(max_length=40, blank=True, help_text="What its agent pushed.")
    summary = models.TextField(blank=True)
    answers = models.JSONField(default=dict, blank=True, help_text="What its agent answered, by name.")
    created_at = models.DateTimeField(auto_now_add=True)
    ended_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["node", "number"], name="attempt_number"),
            models.UniqueConstraint(
                fields=["node"], condition=Q(state__in=["leased", "running"]), name="one_live_attempt_per_node"
            ),
            models.UniqueConstraint(fields=["node"], condition=Q(state="succeeded"), name="one_success_per_node"),
            models.CheckConstraint(
                condition=Q(state__in=["leased", "running"], ended_at=None)
                | ~Q(state__in=["leased", "running"]) & ~Q(ended_at=None),
                name="attempt_live_or_ended",
            ),
            models.CheckConstraint(
                condition=Q(execution__isnull=True, fence__isnull=False)
                | Q(execution__isnull=False, fence__isnull=True, lease_until__isnull=True),
                name="attempt_has_one_lease",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.node.key} {self.number}"

    @property
    def event_subject(self) -> str:
        return f"swarm:{self.node.swarm_id}"

    @property
    def is_ended(self) -> bool:
        return self.state in ATTEMPT_ENDED

    @property
    def branch(self) -> str:
        """The only ref that it may push."""
        return f"attempt/{self.id}"


class Merge(models.Model):
    """One entry of a swarm's merge queue."""

    NOUN = "merge"
    MOVES: ClassVar[Moves] = MERGE_MOVES

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    swarm = models.ForeignKey(Swarm, models.PROTECT, related_name="merges")
    attempt = models.OneToOneField(Attempt, models.PROTECT, related_name="merge")
    state = models.CharField(max_length=12, default=MergeState.QUEUED, choices=[(s, s) for s in MergeState])
    because = models.TextField(blank=True)
    onto = models.CharField(max_length=40, blank=True, help_text="Integration commit that it was merged onto.")
    commit = models.CharField(max_length=40, blank=True, help_text="The merge commit.")
    conflicts = models.JSONField(default=list, blank=True, help_text="Paths in conflict.")
    created_at = models.DateTimeField(auto_now_add=True)
    ended_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["swarm"], condition=Q(state="checking"), name="one_merge_at_a_time"),
        ]

    @property
    def event_subject(self) -> str:
        return f"swarm:{self.swarm_id}"


class CheckRun(models.Model):
    """Checks that the control plane runs on one exact commit."""

    NOUN = "check_run"
    MOVES: ClassVar[Moves] = CHECK_RUN_MOVES

    PURPOSES: ClassVar = [
        ("before", "on the target branch, before anything"),
        ("exact", "on an attempt's commit"),
        ("merged", "on the merged tree"),
        ("integration", "on the whole result"),
        ("landing", "on the commit that landed"),
    ]

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    swarm = models.ForeignKey(Swarm, models.PROTECT, related_name="check_runs")
    purpose = models.CharField(max_length=12, choices=PURPOSES)
    attempt = models.ForeignKey(Attempt, models.PROTECT, null=True, blank=True, related_name="check_runs")
    merge = models.ForeignKey(Merge, models.PROTECT, null=True, blank=True, related_name="check_runs")
    commit = models.CharField(max_length=40)
    checks = models.JSONField(default=list, blank=True)
    results = models.JSONField(default=list, blank=True, help_text="A CheckResult for each.")
    state = models.CharField(max_length=12, default=CheckRunState.WAITING, choices=[(s, s) for s in CheckRunState])
    because = models.TextField(blank=True)
    tries = models.PositiveSmallIntegerField(
        default=0, help_text="Executions so far; more than one when runners were lost."
    )
    created_at = models.DateTimeField(auto_now_add=True)
    ended_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["attempt"], condition=Q(purpose="exact") & ~Q(state="void"), name="one_exact_check_run"
            ),
        ]
        indexes: ClassVar = [
            models.Index(fields=["swarm"], condition=Q(state__in=["running", "waiting"]), name="check_run_open"),
        ]

    @property
    def event_subject(self) -> str:
        return f"swarm:{self.swarm_id}"

    @property
    def passed(self) -> int:
        """How many of its checks passed."""
        return sum(result["exit_code"] == 0 for result in self.results)
