"""Projects, the goals stated for them, and the swarms that pursue those."""

import re
from datetime import datetime
from typing import TYPE_CHECKING, ClassVar
from uuid import UUID

from django.db import models
from django.db.models import Q
from django.utils.functional import cached_property

from swarms.states import PROJECT_MOVES, SWARM_ENDED, SWARM_MOVES, SWARM_UNDOES, ProjectState, SwarmState
from tenants.ids import uuid7
from tenants.models import User
from tenants.states import Moves

if TYPE_CHECKING:
    from swarms.models.plans import Plan


class Project(models.Model):
    """A git repository with its checks and policies."""

    NOUN = "project"
    MOVES: ClassVar[Moves] = PROJECT_MOVES

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    slug = models.SlugField(max_length=40, unique=True)
    name = models.CharField(max_length=80)
    source = models.CharField(
        max_length=500, help_text="Where the repository comes from: a URL, or a path on this server."
    )
    target_branch = models.CharField(max_length=200, default="main")
    state = models.CharField(max_length=12, default=ProjectState.FETCHING, choices=[(s, s) for s in ProjectState])
    because = models.TextField(blank=True)
    head = models.CharField(max_length=40, blank=True, help_text="Commit of the target branch, as last seen.")
    checks = models.JSONField(default=list, blank=True, help_text="Commands that must pass on every merged tree.")
    acceptance = models.JSONField(default=list, blank=True, help_text="Commands that must pass before anything lands.")
    approve_plan = models.BooleanField(default=True, help_text="A person approves each plan.")
    approve_landing = models.BooleanField(default=True, help_text="A person approves each landing.")
    four_eyes = models.BooleanField(
        default=False, help_text="Who stated a goal, or gave a plan, decides nothing of it."
    )
    untrusted_input = models.BooleanField(
        default=False, help_text="Strangers may write what its agents read: issues, mails, web pages."
    )
    has_secrets = models.BooleanField(default=False, help_text="What its agents see holds secrets or private data.")
    max_nodes = models.PositiveIntegerField(default=40)
    max_attempts = models.PositiveIntegerField(default=3)
    max_depth = models.PositiveSmallIntegerField(default=2, help_text="How deep plans may nest; 0: not at all.")
    attempt_minutes = models.PositiveIntegerField(default=30, help_text="Start to close: the longest an attempt takes.")
    attempt_calls = models.PositiveIntegerField(default=60, help_text="Of its model, the most that an attempt makes.")
    stall_minutes = models.PositiveIntegerField(default=10, help_text="So long without progress is a stall.")
    start_minutes = models.PositiveIntegerField(
        default=0, help_text="Schedule to start: the longest a ready node waits for a runner; 0: for ever."
    )
    last_number = models.PositiveIntegerField(default=0, help_text="Of its goals.")
    created_by = models.ForeignKey(User, models.PROTECT, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return self.name

    @property
    def shown_source(self) -> str:
        """Where the repository comes from, for people: without the secrets that a URL may hold."""
        return re.sub(r"^([a-z]+://)[^/@]*@", r"\1…@", self.source)

    @property
    def topic(self) -> str:
        return f"project:{self.id}"

    @property
    def event_subject(self) -> str:
        return self.topic


class Goal(models.Model):
    """What a team wants of a project, in words."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    project = models.ForeignKey(Project, models.PROTECT, related_name="goals")
    number = models.PositiveIntegerField()
    text = models.TextField()
    once_key = models.CharField(max_length=200, blank=True, help_text="A program's Idempotency-Key: one goal for each.")
    created_by = models.ForeignKey(User, models.PROTECT, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["project", "number"], name="goal_number"),
            models.UniqueConstraint(fields=["project", "once_key"], condition=~Q(once_key=""), name="goal_once"),
        ]

    def __str__(self) -> str:
        return self.title

    @property
    def title(self) -> str:
        """Its first line, for lists."""
        first = self.text.strip().splitlines()[0] if self.text.strip() else ""
        return first if len(first) <= 80 else first[:79] + "…"


class Swarm(models.Model):
    """The execution of one goal."""

    NOUN = "swarm"
    MOVES: ClassVar[Moves] = SWARM_MOVES

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    project = models.ForeignKey(Project, models.PROTECT, related_name="swarms")
    goal = models.OneToOneField(Goal, models.PROTECT, related_name="swarm")
    number = models.PositiveIntegerField(help_text="The goal's number.")
    state = models.CharField(max_length=16, default=SwarmState.PLANNING, choices=[(s, s) for s in SwarmState])
    because = models.TextField(blank=True)
    base_commit = models.CharField(max_length=40, help_text="Head of the target branch when the goal was stated.")
    integration_commit = models.CharField(max_length=40, blank=True, help_text="Head of swarm/<id>.")
    landed_commit = models.CharField(max_length=40, blank=True)
    pushed_because = models.TextField(blank=True, help_text="What became of the push to the project's source.")
    trace = models.CharField(max_length=32, blank=True)
    priority = models.IntegerField(default=0, help_text="Higher goes first among the team's swarms.")
    deadline_at = models.DateTimeField(null=True, blank=True, help_text="When it must have ended, or it fails.")
    forked_from = models.ForeignKey(
        "self", models.PROTECT, null=True, blank=True, related_name="forks", help_text="The swarm that it goes on from."
    )
    forked_at = models.PositiveBigIntegerField(null=True, blank=True, help_text="At which event of that swarm.")
    forked_commit = models.CharField(max_length=40, blank=True, help_text="Head of that swarm's branch at that event.")
    rolled_back_commit = models.CharField(max_length=40, blank=True, help_text="Where its landing was taken back.")
    created_at = models.DateTimeField(auto_now_add=True)
    retried_at = models.DateTimeField(
        null=True,
        blank=True,
        help_text="When it was last tried again; what was checked or decided before counts no more.",
    )
    rollback_at = models.DateTimeField(null=True, blank=True, help_text="When its rollback began, the last time.")
    started_at = models.DateTimeField(null=True, blank=True, help_text="When its plan was approved.")
    ended_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints: ClassVar = [models.UniqueConstraint(fields=["project", "number"], name="swarm_number")]

    def __str__(self) -> str:
        return f"{self.project.slug} #{self.number}"

    @property
    def topic(self) -> str:
        return f"swarm:{self.id}"

    @property
    def event_subject(self) -> str:
        return self.topic

    @property
    def swarm_id(self) -> UUID:
        return self.id

    @property
    def branch(self) -> str:
        """The integration branch."""
        return f"swarm/{self.id}"

    @cached_property
    def newest_plan(self) -> "Plan | None":
        """The last version of its plan, read once: for who holds the swarm locked."""
        found: Plan | None = self.plans.select_related("created_by").order_by("-version").first()
        return found

    @property
    def is_ended(self) -> bool:
        return self.state in SWARM_ENDED

    @property
    def undoes(self) -> bool:
        """What it did is being taken back."""
        return self.state in SWARM_UNDOES

    @property
    def begun_anew_at(self) -> datetime:
        """Checks of the whole and answers about it from before this moment count no more."""
        return max(filter(None, [self.created_at, self.retried_at, self.rollback_at]))
