"""How soon the first agent works once its plan is approved."""

import time
from functools import partial
from typing import Any

from django.db import connection

from bench import staff, swarm
from bench.figures import Figures, tail
from bench.stage import Stage, wait_for, workers
from swarms import approvals
from swarms.models import Approval, Project
from tenants.context import in_schema
from tenants.models import Team

SAMPLES = 20
_FIRST_WORD = """
SELECT extract(epoch FROM min(e.at) - min(a.decided_at)) FROM swarms_approval a
JOIN agent_sessions_session s ON s.subject = %(topic)s AND s.agent LIKE 'reviewer-%%'
JOIN agent_sessions_event e ON e.subject = 'session:' || s.id AND e.kind = 'message.recorded'
WHERE a.swarm_id = %(swarm)s AND a.kind = 'plan' HAVING count(e.id) > 0
"""
_BEGUN = """
SELECT extract(epoch FROM started_at - created_at) * 1000 FROM agents_execution
WHERE started_at IS NOT NULL AND kind = 'review'
"""


def measure(at: Stage) -> Figures:
    """From a person's yes to a plan to the first message of an agent at work; from placement to the runner's beginning.

    The goal and its plan are given by a person; the agent talks to the scripted model. In between: adoption, a turn, a
    process for the attempt, its clone.
    """
    of = swarm.team("bench")
    workers(at)
    staff.start(at, capacity=4)
    project = staff.project(at, of, approve_plan=True)
    took = [[_first_word(of, project)] for _ in range(SAMPLES)]
    begun = [[float(row[0])] for row in _rows(of, _BEGUN)]
    return {
        "engine.plan_to_first_agent_p95_s": tail(took, "s"),
        "engine.plan_to_first_agent_p50_s": tail(took, "s", 0.5),
        "engine.placed_to_begun_p95_ms": tail(begun, "ms"),
        "engine.placed_to_begun_p50_ms": tail(begun, "ms", 0.5),
    }


def _first_word(of: Team, project: Project) -> float:
    made = staff.submit(of, project, swarm.agents(1, title="answer at once"))
    time.sleep(1)
    with in_schema(of.schema_name):
        approvals.approve(Approval.objects.get(swarm=made, kind="plan", state="pending"), by=staff.owner_of(of))
    words: dict[str, Any] = {"swarm": made.pk, "topic": made.topic}
    wait_for(lambda: bool(_rows(of, _FIRST_WORD, words)), "no agent says a word", every=0.1)
    seconds = float(_rows(of, _FIRST_WORD, words)[0][0])
    wait_for(partial(swarm.is_done, of, made.pk), "the agent does not end", every=0.1)
    swarm.end(of, made.pk)
    wait_for(partial(swarm.is_ended, of, made.pk), "the swarm is not cancelled", every=0.1)
    return seconds


def _rows(of: Team, sql: str, words: dict[str, Any] | None = None) -> list[tuple[Any, ...]]:
    with in_schema(of.schema_name), connection.cursor() as cursor:
        cursor.execute(sql, words)
        return list(cursor.fetchall())
