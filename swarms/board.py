"""What the dashboard shows, read with few queries."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db.models import Count, Prefetch, Q, QuerySet, Sum

from agents.contracts import AnswerAsked
from agents.contracts.plan import EdgeCondition
from agents.models import Execution, ModelCall
from agents.states import LIVE
from sessions.models import Stream
from swarms import conditions
from swarms.graph import path_lengths
from swarms.looks import Look, look
from swarms.models import Approval, Attempt, CheckRun, Edge, Node, Plan, Swarm
from swarms.states import NodeState
from swarms.why import Unmet
from swarms.words import plain


def position() -> int:
    """Where the team's stream is now. Ask before the page's own queries: what changes meanwhile comes by the stream."""
    return Stream.objects.values_list("last_position", flat=True).first() or 0


@dataclass(frozen=True)
class Card:
    """A node on the board, planned or real."""

    key: str
    title: str
    role: str
    look: Look
    parents: tuple[str, ...] = ()
    agent: str = ""
    attempt: int = 0
    max_attempts: int = 0
    reasons: tuple[Unmet, ...] = ()
    because: str = ""
    writes: tuple[str, ...] = ()
    checks: tuple[dict[str, Any], ...] = ()
    instructions: str = ""
    when: tuple[str, ...] = ()
    """Conditions on what its parents say, in words."""
    answers: tuple[AnswerAsked, ...] = ()
    risk: str = "low"
    summary: str = ""
    state: str = "planned"
    started_at: datetime | None = None
    ended_at: datetime | None = None

    @property
    def sub(self) -> str:
        """The second line of its box in the graph."""
        return " · ".join(
            part
            for part in (self.look.word, self.agent or (f"attempt {self.attempt}" if self.attempt > 1 else ""))
            if part
        )


def cards(swarm: Swarm) -> list[Card]:
    """The nodes of a swarm in the order of the work: none before those that it needs."""
    tries = Attempt.objects.select_related("execution").order_by("number")
    nodes = list(
        Node.objects.filter(swarm=swarm, dropped_by=None)
        .order_by("-priority", "key")
        .prefetch_related(Prefetch("attempts", tries))
    )
    names = {node.pk: node.key for node in nodes}
    edges = Edge.objects.filter(parent__swarm=swarm).values_list("parent_id", "child_id")
    above: dict[UUID, list[str]] = {node.pk: [] for node in nodes}
    below: dict[str, list[str]] = {node.key: [] for node in nodes}
    for parent, child in edges:
        if parent in names and child in names:  # else the plan was changed after we looked at the nodes
            above[child].append(names[parent])
            below[names[parent]].append(names[child])
    depth = path_lengths(below)
    nodes.sort(key=lambda node: depth[node.key])
    reasons = conditions.of_nodes(swarm, nodes)
    return [_card(node, sorted(above[node.pk]), reasons.get(node.pk, [])) for node in nodes]


def _card(node: Node, parents: list[str], reasons: list[Unmet]) -> Card:
    tries = list(node.attempts.all())
    last = tries[-1] if tries else None
    works = last is not None and not last.is_ended
    return Card(
        key=node.key,
        title=node.title,
        role=node.part,
        look=node_look(node, last),
        parents=tuple(parents),
        agent=last.execution.agent if last and works and last.execution else "",
        attempt=node.attempts_made,
        max_attempts=node.max_attempts,
        reasons=tuple(reasons),
        because=plain(node.because),
        writes=tuple(node.writes),
        checks=tuple(node.checks),
        instructions=node.instructions,
        risk=node.risk,
        summary=node.summary,
        state=node.state,
        started_at=node.started_at,
        ended_at=node.ended_at,
    )


def node_look(node: Node, last: Attempt | None) -> Look:
    """A node that waits for another attempt looks like what went wrong."""
    if node.state == NodeState.READY and last is not None:
        return look("node", "conflict" if last.reason == "merge_conflict" else "retrying")
    return look("node", node.state)


def planned(document: dict[str, Any] | None) -> list[Card]:
    """The nodes of a plan that is not approved yet."""
    nodes = (document or {}).get("nodes", [])
    return [
        Card(
            key=node["key"],
            title=node["title"],
            role=node["role"],
            look=look("node", "planned"),
            parents=tuple(node["depends_on"]),
            writes=tuple(node["writes"]),
            checks=tuple(node["checks"]),
            instructions=node["instructions"],
            when=tuple(f"{one['parent']}: {EdgeCondition.model_validate(one).told}" for one in node.get("when", ())),
            answers=tuple(AnswerAsked.model_validate(one) for one in node.get("answers", ())),
            risk=node["risk"],
        )
        for node in nodes
    ]


@dataclass(frozen=True)
class Meters:
    """The figures in a swarm's header."""

    done: int = 0
    total: int = 0
    agents: int = 0
    tokens: int = 0
    cost: int | None = None
    """Millionths of a dollar, of the calls whose price is known."""
    unpriced: int = 0
    """Calls whose price is not known."""
    is_rehearsal: bool = False


def meters(swarm: Swarm) -> Meters:
    """Figures of one swarm."""
    nodes = Node.objects.filter(swarm=swarm, dropped_by=None).aggregate(
        total=Count("pk"), done=Count("pk", filter=Q(state=NodeState.SUCCEEDED))
    )
    calls = ModelCall.objects.filter(execution__swarm=swarm.pk).aggregate(
        tokens=Sum("input_tokens", default=0) + Sum("output_tokens", default=0),
        cost=Sum("cost_microusd"),
        unpriced=Count("pk", filter=Q(cost_microusd=None)),
        rehearsed=Count("pk", filter=Q(rehearsal=True)),
    )
    agents = Execution.objects.filter(swarm=swarm.pk, state__in=LIVE).exclude(kind="check").count()
    return Meters(
        done=nodes["done"],
        total=nodes["total"],
        agents=agents,
        tokens=calls["tokens"],
        cost=calls["cost"],
        unpriced=calls["unpriced"],
        is_rehearsal=bool(calls["rehearsed"]),
    )


def at_work(**where: Any) -> QuerySet[Execution]:
    """Live executions with what their agents do now."""
    return Execution.objects.filter(state__in=LIVE, **where).select_related("session", "runner").order_by("created_at")


def asks(swarm: Swarm) -> list[Approval]:
    """What waits for a person."""
    return list(swarm.approvals.filter(state="pending").select_related("node", "plan").order_by("requested_at"))


def last_plan(swarm: Swarm) -> Plan | None:
    """The plan that counts: the newest version of the whole."""
    return swarm.plans.filter(node=None).order_by("-version").first()


def parts(swarm: Swarm) -> list[Plan]:
    """Versions that detail a node: those that somebody writes or decides, and those that took effect."""
    found = swarm.plans.filter(node__isnull=False, state__in=["drafting", "proposed", "approved"])
    return list(found.select_related("node").order_by("version"))


def result_checks(swarm: Swarm) -> list[CheckRun]:
    """Checks on the whole: before anything, on the result, on what landed."""
    wanted = CheckRun.objects.filter(swarm=swarm, purpose__in=["before", "integration", "landing"])
    return list(wanted.exclude(state="void").order_by("created_at"))
