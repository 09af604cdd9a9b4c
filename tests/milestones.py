"""Swarms without a repository: plans of milestones (and others), adopted by the engine itself."""

from agents.contracts import PlanProposal
from sessions.events import publish
from swarms import engine, planner
from swarms.models import Goal, Plan, Project, Swarm
from tests.conftest import user_of

COMMIT = "0" * 40


def proposed(plan: PlanProposal, *, team: str = "acme") -> Swarm:
    """A swarm whose plan waits to be adopted."""
    owner = user_of("alice", team)
    project, _ = Project.objects.get_or_create(
        slug="plain",
        defaults={
            "name": "plain",
            "source": "/nowhere",
            "state": "ready",
            "head": COMMIT,
            "approve_plan": False,
            "approve_landing": False,
            "max_nodes": 100_000,
            "created_by": owner,
        },
    )
    number = Goal.objects.filter(project=project).count() + 1
    goal = Goal.objects.create(project=project, number=number, text="milestones", created_by=owner)
    swarm = Swarm.objects.create(
        project=project, goal=goal, number=number, base_commit=COMMIT, integration_commit=COMMIT
    )
    publish(swarm.topic, "goal.stated", goal=str(goal.pk), number=number, text=goal.text, base=COMMIT)
    planner.propose(Plan.objects.create(swarm=swarm, version=1, source="yaml", created_by=owner), plan)
    return swarm


def adopted(plan: PlanProposal, *, team: str = "acme") -> Swarm:
    """A swarm that runs."""
    swarm = proposed(plan, team=team)
    engine.advance(swarm.pk)
    swarm.refresh_from_db()
    return swarm
