"""Who does the work: executions on runners, servers found on the network, metered model calls."""

from typing import ClassVar

from django.conf import settings
from django.db import models
from django.db.models import F, Q
from django.utils import timezone

from agents.contracts import AGENT_RUNTIMES
from agents.states import AGENT_MOVES, EXECUTION_MOVES, LIVE, SERVER_MOVES, AgentState, ExecutionState, ServerState
from sessions.models import Session
from tenants.ids import uuid7
from tenants.models import Runner
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
    password = SealedField(blank=True, default="", help_text="Sent to it only while it is trusted.")
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


class Provider(models.Model):
    """A provider of models with the team's own key, which nobody can read here again."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    name = models.CharField(max_length=60, unique=True)
    base_url = models.CharField(max_length=300, help_text="Of its OpenAI-compatible API, e.g. https://api.example/v1")
    serves = models.JSONField(help_text="Models that it is asked for; the first is the team's default.")
    key = SealedField(blank=True, default="", help_text="Only the gateway reads it; empty when it is revoked.")
    key_end = models.CharField(max_length=4, blank=True, help_text="Its last characters, so that people know it.")
    set_by = models.CharField(max_length=120, help_text="Who gave the key.")
    set_at = models.DateTimeField()
    revoked_by = models.CharField(max_length=120, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=(Q(revoked_at=None) & ~Q(key="")) | (Q(revoked_at__isnull=False, key="") & ~Q(revoked_by="")),
                name="provider_key_or_revoked",
            ),
        ]

    def __str__(self) -> str:
        return self.name


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


class Budget(models.Model):
    """How much may be spent on a subject (team, project, swarm or node): the database keeps the hard line."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    subject = models.CharField(max_length=80, unique=True, help_text="team, project:<uuid>, swarm:<uuid>, node:<uuid>")
    limit_microusd = models.BigIntegerField(help_text="The hard line, in millionths of a dollar.")
    reserved_microusd = models.BigIntegerField(default=0)
    spent_microusd = models.BigIntegerField(default=0)
    soft_percent = models.PositiveSmallIntegerField(default=80, help_text="From here on a person is asked.")
    asked_at = models.DateTimeField(null=True, blank=True, help_text="When a person was asked at the soft line.")

    class Meta:
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=Q(spent_microusd__gte=0)
                & Q(reserved_microusd__gte=0)
                & Q(limit_microusd__gte=F("spent_microusd") + F("reserved_microusd")),
                name="budget_hard_line",
            ),
            models.CheckConstraint(condition=Q(soft_percent__lte=100), name="budget_soft_line"),
        ]

    def __str__(self) -> str:
        return self.subject


class ModelPrice(models.Model):
    """What a model costs this team where the public list is wrong or silent; microdollars for a million tokens."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    model = models.CharField(max_length=120, unique=True)
    input_microusd = models.BigIntegerField()
    cached_microusd = models.BigIntegerField()
    output_microusd = models.BigIntegerField()

    class Meta:
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=Q(input_microusd__gte=0, cached_microusd__gte=0, output_microusd__gte=0),
                name="price_not_negative",
            )
        ]

    def __str__(self) -> str:
        return self.model


class HeldCall(models.Model):
    """What is held for a model call until somebody tells what it cost."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    execution = models.ForeignKey(Execution, models.CASCADE, related_name="held_calls")
    microusd = models.BigIntegerField()
    at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return f"{self.microusd} for a call of {self.execution_id}"


class ModelCall(models.Model):
    """One metered call through the gateway."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    execution = models.ForeignKey(Execution, models.CASCADE, related_name="model_calls")
    model = models.CharField(max_length=120)
    provider = models.CharField(max_length=60, blank=True, help_text="The team's own; empty: the platform's.")
    rehearsal = models.BooleanField(default=False)
    status = models.PositiveSmallIntegerField(help_text="HTTP status of the provider; 0: not reached.")
    input_tokens = models.PositiveIntegerField(default=0)
    cached_tokens = models.PositiveIntegerField(default=0)
    output_tokens = models.PositiveIntegerField(default=0)
    cost_microusd = models.BigIntegerField(null=True, help_text="Millionths of a dollar; empty: price unknown.")
    seconds = models.FloatField(default=0)
    trace = models.CharField(max_length=32, blank=True)
    at = models.DateTimeField(auto_now_add=True)
