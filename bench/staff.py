"""What agents need beside the workers: a model, a web process, a runner, a repository; and swarms of agents."""

from functools import partial
from typing import Any
from uuid import UUID

import httpx
from django.db import transaction

from agents.contracts import Check, PlanProposal
from bench.stage import Stage, wait_for
from swarms import goals, planner, projects, sample
from swarms.models import Project, Swarm
from tenants import runners
from tenants.context import PUBLIC, in_schema
from tenants.models import Runner, Team, User

NAME = "bench"


def start(at: Stage, *, capacity: int, **variables: str) -> None:
    """The scripted model, a web process and one runner, linked. `variables` are added to the runner's environment."""
    port = at.environment["WAGGLE_PORT"]
    model = at.environment["WAGGLE_MODEL_BASE_URL"].rpartition(":")[2].split("/")[0]
    uvicorn = ("-m", "uvicorn", "--host", "127.0.0.1")
    at.start("model", *uvicorn, "bench.model:application", "--port", model)
    at.start("web", *uvicorn, "config.asgi:application", "--port", port)
    wait_for(partial(_answers, f"http://127.0.0.1:{model}/healthz"), "the model does not start")
    runner(at, capacity=capacity, **variables)


def runner(at: Stage, *, capacity: int, **variables: str) -> None:
    """The runner, linked; one that was there before has ended. `variables` are added to its environment."""
    if "runner" in at.processes:
        at.end("runner")
        with in_schema(PUBLIC):
            wait_for(lambda: not _linked(), "the runner does not go")
    with in_schema(PUBLIC):
        secret = runners.register(NAME)
    at.start(
        "runner",
        "-m",
        "agents.runner",
        WAGGLE_URL=f"http://127.0.0.1:{at.environment['WAGGLE_PORT']}",
        WAGGLE_RUNNER_TOKEN=secret,
        WAGGLE_RUNNER_DIR=str(at.folder / "runner"),
        WAGGLE_RUNNER_NAME=NAME,
        WAGGLE_RUNNER_CAPACITY=str(capacity),
        **variables,
    )
    with in_schema(PUBLIC):
        wait_for(_linked, "the runner does not come")


def _linked() -> bool:
    return Runner.objects.filter(name=NAME).exclude(channel="").exists()


def owner_of(of: Team) -> User:
    """Its first member."""
    with in_schema(PUBLIC):
        return User.objects.get(memberships__team=of)


def project(at: Stage, of: Team, *, checks: tuple[Check, ...] = (), approve_plan: bool = False) -> Project:
    """A project of the team with the sample's repository, copied by a worker."""
    built = sample.build(at.folder / "sample")
    owner = owner_of(of)
    with in_schema(of.schema_name):
        made = projects.add_project(
            name=sample.PROJECT_NAME,
            slug="sample",
            source=str(built.path),
            target_branch=built.branch,
            checks=checks,
            approve_plan=approve_plan,
            by=owner,
        )
        wait_for(partial(_is, Project, made.pk, "ready"), "the sample is not copied")
        made.refresh_from_db()
    return made


def submit(of: Team, project: Project, plan: PlanProposal) -> Swarm:
    """A goal with its plan, as a person gives both."""
    owner = owner_of(of)
    with in_schema(of.schema_name), transaction.atomic():
        swarm = goals.state_goal(project, "Be measured.", by=owner)
        planner.version_of(swarm, plan, by=owner)
    return swarm


def _answers(address: str) -> bool:
    try:
        return httpx.get(address).is_success
    except httpx.TransportError:
        return False


def _is(model: Any, pk: UUID, state: str) -> bool:
    return bool(model.objects.filter(pk=pk, state=state).exists())
