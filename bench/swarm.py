"""Swarms of nodes that do nothing, through the real verbs: what the engine itself costs."""

from uuid import UUID

from django.db import transaction
from django.utils import timezone

from agents.contracts import PlanNode, PlanProposal
from bench.shapes import Edges
from swarms import engine, planner
from swarms.models import Goal, Node, Plan, Project, Swarm
from tenants import provisioning, signup
from tenants.context import in_schema
from tenants.models import Team, User

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
            PlanNode(key=f"n{n}", title=f"n{n}", kind="noop", depends_on=tuple(parents.get(n, ()))) for n in range(nodes)
        ),
    )


def proposed(of: Team, plan: PlanProposal) -> UUID:
    """A swarm whose plan waits to be adopted: everything before the engine begins."""
    with in_schema(of.schema_name), transaction.atomic():
        owner = User.objects.get(memberships__team=of)
        project = Project.objects.filter(slug="bench").first() or Project.objects.create(
            slug="bench", name="bench", source="/nowhere", state="ready", head=COMMIT, approve_plan=False,
            approve_landing=False, max_nodes=100_000, created_by=owner,
        )  # fmt: skip
        number = Goal.objects.count() + 1
        goal = Goal.objects.create(project=project, number=number, text="bench", created_by=owner)
        swarm = Swarm.objects.create(
            project=project, goal=goal, number=number, base_commit=COMMIT, integration_commit=COMMIT, trace="b" * 32
        )
        planner.propose(Plan.objects.create(swarm=swarm, version=1, source="yaml", created_by=owner), plan)
    return swarm.pk


def adopt(of: Team, swarm: UUID) -> None:
    """The engine takes it from here."""
    with in_schema(of.schema_name):
        engine.advance(swarm)


def is_done(of: Team, swarm: UUID) -> bool:
    """Whether every node has ended."""
    with in_schema(of.schema_name):
        return not Node.objects.filter(swarm=swarm).exclude(state="succeeded").exists()


def waits(of: Team, swarm: UUID) -> list[float]:
    """Milliseconds from the end of its last parent (or its adoption) to the start of each node, sorted."""
    with in_schema(of.schema_name):
        nodes = {node.pk: node for node in Node.objects.filter(swarm=swarm)}
        last = {}
        for parent, child in Node.objects.filter(swarm=swarm).values_list("edges_in__parent", "pk"):
            if parent:
                last[child] = max(last.get(child, nodes[parent].ended_at), nodes[parent].ended_at)
    return sorted(
        (node.started_at - last[pk]).total_seconds() * 1000 for pk, node in nodes.items() if pk in last
    )


def wall(of: Team, swarm: UUID) -> float:
    """Seconds from the first start to the last end."""
    with in_schema(of.schema_name):
        nodes = Node.objects.filter(swarm=swarm)
        began = min(node.started_at or timezone.now() for node in nodes)
        return (max(node.ended_at for node in nodes) - began).total_seconds()
