"""Who works, and where: agents, and servers found on the network."""

from typing import ClassVar

from django.db import models
from django.db.models import Q

from agents.states import AGENT_MOVES, SERVER_MOVES, AgentState, ServerState
from tenants.ids import uuid7
from tenants.secrets import SealedField
from tenants.states import Moves


class Agent(models.Model):
    """Who does the work: an identity with roles, what drives it and how much it takes on.

    A role that no agent has is done by one that is not kept here: see agents.placing.
    """

    NOUN = "agent"
    MOVES: ClassVar[Moves] = AGENT_MOVES

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    name = models.CharField(max_length=40, unique=True, help_text="Its executions are called so, or so with a number.")
    roles = models.JSONField(help_text="Roles that it takes: coordinator, developer, writer, reviewer.")
    runtime = models.CharField(max_length=20, blank=True, help_text="What drives it; empty: WAGGLE_RUNTIME.")
    model = models.CharField(max_length=120, blank=True, help_text="Its model; empty: the team's, else the platform's.")
    capacity = models.PositiveIntegerField(
        null=True, blank=True, help_text="Executions at once; empty: as many as the runners have room for."
    )
    runner = models.CharField(max_length=80, blank=True, help_text="The only runner on which it works; empty: any.")
    server = models.CharField(max_length=300, blank=True, help_text="Address of its enrolled server, or any; or none.")
    skills = models.JSONField(default=list, blank=True, help_text="Words; work that names one goes to it first.")
    state = models.CharField(max_length=12, default=AgentState.ACTIVE, choices=[(s, s) for s in AgentState])
    because = models.TextField(blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints: ClassVar = [
            models.CheckConstraint(condition=Q(capacity=None) | Q(capacity__gte=1), name="agent_has_room"),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def event_subject(self) -> str:
        return "team"


class Server(models.Model):
    """An agent server, seen on the network or given by its address. Quarantined until a member enrols it."""

    NOUN = "server"
    MOVES: ClassVar[Moves] = SERVER_MOVES

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    name = models.CharField(max_length=120)
    url = models.CharField(max_length=300, unique=True)
    kind = models.CharField(max_length=20, default="opencode")
    version = models.CharField(max_length=40, blank=True, help_text="Empty: it has not said it yet.")
    also_at = models.JSONField(default=list, blank=True, help_text="Other addresses of the same announcement.")
    is_given = models.BooleanField(default=False, help_text="A member gave its address; it need not announce itself.")
    wants_password = models.BooleanField(default=False, help_text="It answers only who has its password.")
    username = models.CharField(max_length=80, blank=True)
    password = SealedField(blank=True, default="", goes_with=("url",), help_text="Sent to it only while it is trusted.")
    roles = models.JSONField(default=list, blank=True, help_text="Roles of agents that work on it; none: no work.")
    capacity = models.PositiveIntegerField(default=2, help_text="Executions on it at once.")
    takes_untrusted = models.BooleanField(default=False, help_text="Also work that reads strangers' words.")
    shared_with = models.JSONField(default=dict, blank=True, help_text="Runners that share its disk: id and start.")
    latency_ms = models.PositiveIntegerField(null=True, blank=True, help_text="Of the last answer.")
    state = models.CharField(max_length=16, default=ServerState.QUARANTINED, choices=[(s, s) for s in ServerState])
    because = models.TextField(blank=True, help_text="Why it is in its state.")
    fault = models.CharField(max_length=200, blank=True, help_text="What was wrong with the last probe.")
    first_seen = models.DateTimeField(auto_now_add=True)
    last_seen = models.DateTimeField()

    class Meta:
        constraints: ClassVar = [models.CheckConstraint(condition=Q(capacity__gte=1), name="server_has_room")]

    def __str__(self) -> str:
        return f"{self.name} ({self.url})"

    @property
    def event_subject(self) -> str:
        return "team"
