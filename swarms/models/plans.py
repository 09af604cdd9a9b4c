"""Plans, and the nodes and edges of an approved one."""

from typing import ClassVar

from django.db import models
from django.db.models import F, Q
from django.utils import timezone

from swarms.models.projects import Swarm
from swarms.states import NODE_ENDED, NODE_MOVES, PLAN_MOVES, NodeState, PlanState
from tenants.ids import uuid7
from tenants.models import User
from tenants.states import Moves


class Plan(models.Model):
    """One version of a swarm's plan. Its document becomes nodes and edges when it is approved."""

    NOUN = "plan"
    MOVES: ClassVar[Moves] = PLAN_MOVES

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    swarm = models.ForeignKey(Swarm, models.PROTECT, related_name="plans")
    version = models.PositiveIntegerField()
    state = models.CharField(max_length=12, default=PlanState.DRAFTING, choices=[(s, s) for s in PlanState])
    because = models.TextField(blank=True)
    source = models.CharField(max_length=12, choices=[("coordinator", "coordinator"), ("yaml", "yaml")])
    document = models.JSONField(null=True, blank=True, help_text="A PlanProposal.")
    digest = models.CharField(
        max_length=64, blank=True, help_text="SHA-256 of the document; approvals are bound to it."
    )
    faults = models.JSONField(default=list, blank=True)
    warnings = models.JSONField(default=list, blank=True)
    rounds = models.PositiveSmallIntegerField(default=0, help_text="Proposals of the coordinator so far.")
    tries = models.PositiveSmallIntegerField(default=0, help_text="Executions so far.")
    created_by = models.ForeignKey(User, models.PROTECT, null=True, blank=True, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints: ClassVar = [models.UniqueConstraint(fields=["swarm", "version"], name="plan_version")]

    def __str__(self) -> str:
        return f"plan {self.version} of {self.swarm}"

    @property
    def event_subject(self) -> str:
        return self.swarm.topic


class Node(models.Model):
    """A vertex of the plan."""

    NOUN = "node"
    MOVES: ClassVar[Moves] = NODE_MOVES

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    swarm = models.ForeignKey(Swarm, models.PROTECT, related_name="nodes")
    plan = models.ForeignKey(Plan, models.PROTECT, related_name="nodes")
    key = models.CharField(max_length=40)
    title = models.CharField(max_length=200)
    role = models.CharField(max_length=20)
    instructions = models.TextField()
    writes = models.JSONField(default=list, blank=True)
    checks = models.JSONField(default=list, blank=True)
    risk = models.CharField(max_length=8, default="low")
    state = models.CharField(max_length=20, default=NodeState.BLOCKED, choices=[(s, s) for s in NodeState])
    because = models.TextField(blank=True, help_text="Why it is in this state.")
    deps_left = models.PositiveIntegerField(default=0)
    attempts_made = models.PositiveIntegerField(default=0)
    failures = models.PositiveIntegerField(default=0, help_text="Attempts that failed by their own work.")
    losses = models.PositiveIntegerField(default=0, help_text="Attempts lost in a row.")
    max_attempts = models.PositiveIntegerField(default=3)
    priority = models.IntegerField(default=0, help_text="Length of the longest path from here to the end.")
    not_before = models.DateTimeField(default=timezone.now)
    ready_at = models.DateTimeField(null=True, blank=True)
    started_at = models.DateTimeField(null=True, blank=True)
    ended_at = models.DateTimeField(null=True, blank=True)
    commit = models.CharField(max_length=40, blank=True, help_text="Where its work was merged.")
    summary = models.TextField(blank=True, help_text="What its agent says it did.")

    class Meta:
        constraints: ClassVar = [models.UniqueConstraint(fields=["swarm", "key"], name="node_key")]
        indexes: ClassVar = [models.Index(fields=["swarm", "state"], name="node_state")]

    def __str__(self) -> str:
        return self.key

    @property
    def event_subject(self) -> str:
        return f"swarm:{self.swarm_id}"

    @property
    def is_ended(self) -> bool:
        return self.state in NODE_ENDED


class Edge(models.Model):
    """`child` waits for `parent`."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    parent = models.ForeignKey(Node, models.CASCADE, related_name="edges_out")
    child = models.ForeignKey(Node, models.CASCADE, related_name="edges_in")

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["parent", "child"], name="edge_once"),
            models.CheckConstraint(condition=~Q(parent=F("child")), name="edge_not_to_itself"),
        ]
