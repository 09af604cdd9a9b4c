"""Swarms of nodes that do nothing, through the real verbs: what the engine itself costs."""

from uuid import UUID

from django.db import connection, transaction

from agents.contracts import PlanNode, PlanProposal
from bench.shapes import Edges
from sessions.transitions import move
from swarms import engine, operations, planner
from swarms.models import Goal, Node, Plan, Project, Swarm
from swarms.states import SWARM_ENDED
from tenants import provisioning, signup
from tenants.context import PUBLIC, in_schema
from tenants.models import Outbox, Team, User

COMMIT = "0" * 40


def team(slug: str) -> Team:
    """A team with an owner."""
    owner = User.objects.create_user(f"owner@{slug}.example", "bench bench bench", name=slug)
    made = signup.make_team(name=slug, slug=slug, owner=owner)
    provisioning.build(made, wait=True)
    return made


def proposal(nodes: int, edges: Edges) -> PlanProposal:
    """A plan of milestones."""
    parents: dict[int, list[str]] = {}
    for parent, child in edges:
        parents.setdefault(child, []).append(f"n{parent}")
    return PlanProposal(
        summary="bench",
        nodes=tuple(
            PlanNode(key=f"n{n}", title="m", kind="noop", depends_on=tuple(parents.get(n, ()))) for n in range(nodes)
        ),
    )


def agents(nodes: int, edges: Edges = (), *, role: str = "reviewer", title: str = "m") -> PlanProposal:
    """The same for agents, whose turn is on a runner."""
    parents: dict[int, list[str]] = {}
    for parent, child in edges:
        parents.setdefault(child, []).append(f"n{parent}")
    return PlanProposal(
        summary="bench",
        nodes=tuple(
            PlanNode(
                key=f"n{n}",
                title=title,
                role=role,
                instructions="Nothing has to be done.",
                writes=() if role == "reviewer" else (f"part{n}.txt",),
                depends_on=tuple(parents.get(n, ())),
            )
            for n in range(nodes)
        ),
    )


def proposed(of: Team, plan: PlanProposal) -> UUID:
    """A swarm whose plan waits to be adopted: everything before the engine begins."""
    with in_schema(of.schema_name), transaction.atomic():
        owner = User.objects.get(memberships__team=of)
        project = Project.objects.filter(slug="bench").first() or _project(owner)
        number = Goal.objects.count() + 1
        goal = Goal.objects.create(project=project, number=number, text="bench", created_by=owner)
        swarm = Swarm.objects.create(
            project=project, goal=goal, number=number, base_commit=COMMIT, integration_commit=COMMIT, trace="b" * 32
        )
        planner.propose(Plan.objects.create(swarm=swarm, version=1, source="yaml", created_by=owner), plan)
    return swarm.pk


def _project(owner: User) -> Project:
    made = Project.objects.create(
        slug="bench",
        name="bench",
        source="/nowhere",
        head=COMMIT,
        approve_plan=False,
        approve_landing=True,  # there is nothing to land: each swarm ends by waiting for a person
        max_nodes=100_000,
        created_by=owner,
    )
    move(made, "ready", because="it has no repository")
    return made


def adopt(of: Team, swarm: UUID) -> None:
    """The engine takes it from here."""
    with in_schema(of.schema_name):
        engine.advance(swarm)


def is_done(of: Team, swarm: UUID) -> bool:
    """Whether every node has ended."""
    with in_schema(of.schema_name):
        states = set(Node.objects.filter(swarm=swarm).order_by().values_list("state", flat=True).distinct())
        return states == {"succeeded"}


def relayed(of: Team) -> bool:
    """Whether the relay has published every event of the team."""
    with in_schema(PUBLIC):
        return not Outbox.objects.filter(team=of.pk).exists()


def end(of: Team, swarm: UUID) -> None:
    """Cancel what is left of a swarm that was measured: its landing would wait for a person."""
    with in_schema(of.schema_name):
        operations.cancel(Swarm.objects.get(pk=swarm), by=None)


def is_ended(of: Team, swarm: UUID) -> bool:
    """Whether nothing more will happen to a swarm."""
    with in_schema(of.schema_name):
        return Swarm.objects.filter(pk=swarm, state__in=SWARM_ENDED).exists()


def waits(of: Team, swarm: UUID) -> list[float]:
    """Milliseconds from the end of its last parent to the start of each node, sorted."""
    with in_schema(of.schema_name), connection.cursor() as cursor:
        cursor.execute(_WAITS, [swarm])
        return sorted(float(row[0]) for row in cursor.fetchall())


def span(of: Team, swarm: UUID) -> tuple[float, float]:
    """Its first start and its last end, in seconds since 1970."""
    with in_schema(of.schema_name), connection.cursor() as cursor:
        cursor.execute(_SPAN, [swarm])
        start, end = cursor.fetchone()
    return float(start), float(end)


def wall(of: Team, swarm: UUID) -> float:
    """Seconds from the first start to the last end."""
    start, end = span(of, swarm)
    return end - start


_SPAN = """
SELECT extract(epoch FROM min(started_at)), extract(epoch FROM max(ended_at)) FROM swarms_node WHERE swarm_id = %s
"""
_WAITS = """
SELECT extract(epoch FROM n.started_at - max(p.ended_at)) * 1000 FROM swarms_node n
JOIN swarms_edge e ON e.child_id = n.id JOIN swarms_node p ON p.id = e.parent_id
WHERE n.swarm_id = %s GROUP BY n.id
"""


def first_start(of: Team, swarm: UUID) -> float:
    """When its first node started, in seconds since 1970."""
    return span(of, swarm)[0]
