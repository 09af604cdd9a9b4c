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
    amends = models.ForeignKey(
        "self", models.PROTECT, null=True, blank=True, related_name="+", help_text="The running plan that it changes."
    )
    node = models.ForeignKey(
        "swarms.Node", models.PROTECT, null=True, blank=True, related_name="+", help_text="The node that it details."
    )
    document = models.JSONField(null=True, blank=True, help_text="A PlanProposal.")
    digest = models.CharField(
        max_length=64, blank=True, help_text="SHA-256 of the document; approvals are bound to it."
    )
    faults = models.JSONField(default=list, blank=True)
    warnings = models.JSONField(default=list, blank=True)
    changes = models.JSONField(
        null=True, blank=True, help_text="Keys that it inserts, drops, rewires and rewords; exactly that is approved."
    )
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


def part_of(kind: str, role: str) -> str:
    """What part a node plays, for people: its role, or what else it is."""
    return role or {"noop": "milestone", "plan": "nested plan", "revert": "revert"}.get(kind, kind)


class Node(models.Model):
    """A vertex of the plan."""

    NOUN = "node"
    MOVES: ClassVar[Moves] = NODE_MOVES

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    # No index on what changes at every move: then Postgres rewrites the row in place. `node_key` serves the swarm.
    swarm = models.ForeignKey(Swarm, models.PROTECT, related_name="nodes", db_index=False)
    plan = models.ForeignKey(Plan, models.PROTECT, related_name="nodes", db_index=False)
    key = models.CharField(max_length=40)
    title = models.CharField(max_length=200)
    kind = models.CharField(max_length=8, default="agent", help_text="agent, noop, plan, undo or revert")
    role = models.CharField(max_length=20)
    instructions = models.TextField()
    writes = models.JSONField(default=list, blank=True)
    checks = models.JSONField(default=list, blank=True)
    answers = models.JSONField(default=list, blank=True, help_text="What its agent must answer, by name.")
    risk = models.CharField(max_length=8, default="low")
    untrusted = models.BooleanField(default=False, help_text="Its plan says: it reads what strangers wrote.")
    secrets = models.BooleanField(default=False, help_text="Its plan says: it works with secrets.")
    effects = models.BooleanField(default=False, help_text="Its plan says: it has effects outside the repository.")
    trifecta = models.BooleanField(
        default=False, help_text="By its plan and its project it has all three: a person decides before it starts."
    )
    state = models.CharField(max_length=20, default=NodeState.BLOCKED, choices=[(s, s) for s in NodeState])
    because = models.TextField(blank=True, help_text="Why it is in this state.")
    fan_in = models.CharField(max_length=12, default="all_success", help_text="Which ends of parents let it start.")
    on_failure = models.CharField(max_length=16, default="fail_swarm", help_text="What its failure means.")
    compensate = models.TextField(blank=True, help_text="How an agent undoes its effects outside git.")
    undoes = models.ForeignKey(
        "self", models.PROTECT, null=True, blank=True, related_name="undone_by", help_text="What it takes back."
    )
    parent = models.ForeignKey(
        "self", models.PROTECT, null=True, blank=True, related_name="details", help_text="Whose nested plan it is of."
    )
    depth = models.PositiveSmallIntegerField(default=0, help_text="Of nesting.")
    dropped_by = models.ForeignKey(
        Plan, models.PROTECT, null=True, blank=True, related_name="dropped", help_text="The version that left it out."
    )
    parents = models.PositiveIntegerField(default=0, help_text="Edges in.")
    deps_left = models.PositiveIntegerField(default=0, help_text="Edges in whose parent has not ended.")
    deps_ok = models.PositiveIntegerField(default=0, help_text="Edges in that are satisfied.")
    output = models.JSONField(default=dict, blank=True, help_text="What conditions of edges look at.")
    time_limit = models.PositiveIntegerField(null=True, blank=True, help_text="Seconds; empty: the project's.")
    attempts_made = models.PositiveIntegerField(default=0)
    failures = models.PositiveIntegerField(default=0, help_text="Attempts that failed by their own work.")
    losses = models.PositiveIntegerField(default=0, help_text="Attempts lost in a row.")
    max_attempts = models.PositiveIntegerField(default=3)
    priority = models.IntegerField(default=0, help_text="Higher goes first; a person may change it.")
    path_length = models.PositiveIntegerField(default=1, help_text="Nodes on the longest path from here to an end.")
    not_before = models.DateTimeField(default=timezone.now)
    ready_at = models.DateTimeField(null=True, blank=True)
    started_at = models.DateTimeField(null=True, blank=True)
    ended_at = models.DateTimeField(null=True, blank=True)
    commit = models.CharField(max_length=40, blank=True, help_text="Where its work was merged.")
    summary = models.TextField(blank=True, help_text="What its agent says it did.")

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["swarm", "key"], name="node_key"),
            # Once its effects outside git, once its commit (by the control plane, or by an agent after a conflict).
            models.UniqueConstraint(fields=["undoes"], condition=Q(kind="undo"), name="node_undone_once"),
            models.UniqueConstraint(
                fields=["undoes"], condition=Q(kind__in=["revert", "agent"]), name="node_reverted_once"
            ),
            models.CheckConstraint(
                condition=Q(parents__gte=F("deps_left") + F("deps_ok")), name="node_counts_its_parents"
            ),
        ]
        indexes: ClassVar = [
            models.Index(fields=["swarm"], condition=Q(untrusted=True), name="node_untrusted"),
        ]

    def __str__(self) -> str:
        return self.key

    @property
    def event_subject(self) -> str:
        return f"swarm:{self.swarm_id}"

    @property
    def part(self) -> str:
        """What part it plays, for people: its role, or what else it is."""
        return part_of(self.kind, self.role)

    @property
    def is_ended(self) -> bool:
        return self.state in NODE_ENDED


class Edge(models.Model):
    """`child` waits for `parent`."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    parent = models.ForeignKey(Node, models.CASCADE, related_name="edges_out", db_index=False)  # edge_once serves
    child = models.ForeignKey(Node, models.CASCADE, related_name="edges_in")
    condition = models.JSONField(null=True, blank=True, help_text="What the parent's output must say.")
    resolved = models.BooleanField(null=True, help_text="Satisfied or not; empty while the parent has not ended.")

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["parent", "child"], name="edge_once"),
            models.CheckConstraint(condition=~Q(parent=F("child")), name="edge_not_to_itself"),
        ]
