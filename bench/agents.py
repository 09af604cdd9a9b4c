"""A goal through the real runner and the rehearsal model: how soon the first agent works."""

import time
from functools import partial
from typing import Any
from uuid import UUID

from django.db import connection

from bench.engine import Figures, quantile
from bench.stage import Stage, wait_for
from swarms import approvals, goals, operations, projects, sample
from swarms.models import Approval, Project, Swarm
from tenants import runners
from tenants.context import PUBLIC, in_schema
from tenants.models import Runner, Team, User

SAMPLES = 8
_FIRST_WORD = """
SELECT extract(epoch FROM min(e.at) - a.decided_at) FROM agent_sessions_event e, swarms_approval a
WHERE a.swarm_id = %(swarm)s AND a.kind = 'plan' AND e.subject = %(topic)s AND e.kind = 'message.recorded'
  AND e.at > a.decided_at GROUP BY a.decided_at
"""
_GAPS = """
SELECT extract(epoch FROM started_at - created_at) * 1000 FROM agents_execution WHERE started_at IS NOT NULL
"""


def measure(at: Stage, of: Team) -> Figures:
    """From a plan's approval to the first message of an agent at work; from placement to the runner's beginning."""
    _start(at)
    with in_schema(of.schema_name):
        owner = User.objects.get(memberships__team=of)
        project = _project(at, owner)
        took = [_first_word(project, owner) for _ in range(SAMPLES)]
        begun = sorted(float(row[0]) for row in _rows(_GAPS))
    return {
        "engine.plan_to_first_agent_p95_s": quantile(took, 0.95),
        "engine.plan_to_first_agent_p50_s": quantile(took, 0.5),
        "engine.placed_to_begun_p50_ms": quantile(begun, 0.5),
        "engine.placed_to_begun_p95_ms": quantile(begun, 0.95),
    }


def _start(at: Stage) -> None:
    port, model = (
        at.environment["WAGGLE_PORT"],
        at.environment["WAGGLE_MODEL_BASE_URL"].rpartition(":")[2].split("/")[0],
    )
    uvicorn = ("-m", "uvicorn", "--host", "127.0.0.1")
    at.start("rehearsal", *uvicorn, "agents.rehearsal.app:application", "--port", model)
    at.start("web", *uvicorn, "config.asgi:application", "--port", port)
    with in_schema(PUBLIC):
        secret = runners.register("bench")
    address = f"http://127.0.0.1:{port}"
    folder = str(at.folder / "runner")
    more = {"WAGGLE_URL": address, "WAGGLE_RUNNER_TOKEN": secret, "WAGGLE_RUNNER_DIR": folder}
    at.start("runner", "-m", "agents.runner", WAGGLE_RUNNER_NAME="bench", **more)
    with in_schema(PUBLIC):
        wait_for(lambda: Runner.objects.filter(name="bench").exclude(channel="").exists(), "the runner does not come")


def _project(at: Stage, owner: User) -> Project:
    built = sample.build(at.folder / "sample")
    project = projects.add_project(
        name=sample.PROJECT_NAME,
        slug="sample",
        source=str(built.path),
        target_branch=built.branch,
        checks=sample.CHECKS,
        acceptance=sample.ACCEPTANCE,
        by=owner,
    )
    wait_for(partial(_is, Project, project.pk, "ready"), "the sample is not copied")
    project.refresh_from_db()
    return project


def _first_word(project: Project, owner: User) -> float:
    swarm = goals.state_goal(project, sample.GOAL, by=owner)
    pending = Approval.objects.filter(swarm=swarm, kind="plan", state="pending")
    wait_for(pending.exists, "no plan is proposed")
    time.sleep(1)
    approvals.approve(pending.get(), by=owner)
    words: dict[str, Any] = {"swarm": swarm.pk, "topic": swarm.topic}
    wait_for(lambda: bool(_rows(_FIRST_WORD, words)), "no agent says a word")
    seconds = float(_rows(_FIRST_WORD, words)[0][0])
    operations.cancel(Swarm.objects.get(pk=swarm.pk), by=owner)
    wait_for(partial(_is, Swarm, swarm.pk, "cancelled"), "the swarm is not cancelled")
    return seconds


def _is(model: Any, pk: UUID, state: str) -> bool:
    return bool(model.objects.filter(pk=pk, state=state).exists())


def _rows(sql: str, words: dict[str, Any] | None = None) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(sql, words)
        return list(cursor.fetchall())
