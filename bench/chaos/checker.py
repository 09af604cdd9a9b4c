"""What must be true when all is over: nothing lost, nothing done twice, nothing accepted from who came too late."""

import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any
from uuid import UUID

from django.db import connection
from django.db.models import F

from agents.models import Execution
from bench.chaos.acts.pauses import REFUSED
from bench.chaos.chaos import Chaos
from bench.chaos.size import LEASE, NODES
from config.env import PROJECT_ROOT
from sessions.models import Message
from swarms.models import Attempt, Swarm
from tenants.context import in_schema
from tenants.models import Team

SAMPLE_SECONDS = 240.0
"""How long the sample's swarms may take to their end; no measure of speed."""
REST_SECONDS = 2.0
"""Until the last hints have come to nothing."""
NEXT_ATTEMPT = LEASE + 2
# An effect is a node that succeeded: by its attempts, by its merges, and by the events that tell of it.
_EFFECTS = """
WITH told AS (
  SELECT m.value ->> 'id' AS id, count(*) AS n FROM agent_sessions_event e, jsonb_array_elements(
    CASE e.kind WHEN 'nodes.moved' THEN e.payload -> 'moves'
      ELSE jsonb_build_array(e.payload || '{"noun": "node"}') END) AS m
  WHERE e.kind IN ('nodes.moved', 'node.moved') AND m.value ->> 'noun' = 'node' AND m.value ->> 'after' = 'succeeded'
  GROUP BY 1
), tries AS (
  SELECT a.node_id AS id, count(*) FILTER (WHERE a.state = 'succeeded') AS done,
    (SELECT count(*) FROM swarms_merge g JOIN swarms_attempt x ON x.id = g.attempt_id
     WHERE x.node_id = a.node_id AND g.state = 'merged') AS merged
  FROM swarms_attempt a GROUP BY a.node_id
)
SELECT count(*),
  count(*) FILTER (WHERE n.ended_at IS NULL OR n.state = 'succeeded'
    AND (tries.done IS DISTINCT FROM 1 OR told.n IS NULL)),
  count(*) FILTER (WHERE tries.done > 1 OR tries.merged > 1 OR told.n > 1 OR n.state <> 'succeeded' AND tries.done > 0)
FROM swarms_node n LEFT JOIN tries ON tries.id = n.id LEFT JOIN told ON told.id = n.id::text
"""
_NEXT = """
SELECT extract(epoch FROM coalesce(e.started_at, next.created_at)) FROM swarms_attempt lost
JOIN swarms_attempt next ON next.node_id = lost.node_id AND next.number = lost.number + 1
LEFT JOIN agents_execution e ON e.id = next.execution_id
WHERE lost.id = %s AND lost.state = 'lost'
"""
_OUTCOME = re.compile(r"/runner/([0-9a-f-]{36})/(outcome|records)$")


def check(chaos: Chaos) -> None:
    """Wait until all is over, and look at everything."""
    chaos.settle(*chaos.swarms)
    chaos.samples.settle(seconds=SAMPLE_SECONDS)
    time.sleep(REST_SECONDS)
    _effects(chaos)
    _deaths(chaos)
    _late_workers(chaos)
    _late_runners(chaos)
    _violations(chaos)


def _effects(chaos: Chaos) -> None:
    nodes = lost = double = 0
    for team in (chaos.team, chaos.rivals, chaos.samples.team):
        found = [int(one) for one in _rows(team, _EFFECTS)[0]]
        nodes, lost, double = nodes + found[0], lost + found[1], double + found[2]
    report = chaos.report
    report.at_least("nodes", nodes, chaos.size.kills * NODES)
    report.at_most("nodes lost", lost, 0)
    report.at_most("nodes with two effects", double, 0)
    report.at_least("kill -9 of workers that met claimed nodes", _kills_that_met(chaos), chaos.size.kills)
    unlanded = list(chaos.samples.unlanded())
    for each in unlanded:
        print(each)
    report.recovered["swarms of agents that landed"] += len(chaos.samples.swarms) - len(unlanded)
    report.at_most("swarms of agents that did not land", len(unlanded), 0)
    if retried := chaos.samples.retried.total():
        report.recovered["swarms of agents that a person tried again, for a node was poison"] += retried
    with in_schema(chaos.team.schema_name):
        unfinished = Swarm.objects.filter(pk__in=chaos.swarms).exclude(state__in=("landing", "succeeded"))
        report.at_most("swarms of milestones that did not get through", unfinished.count(), 0)


def _kills_that_met(chaos: Chaos) -> int:
    """Deaths of workers after which at least one of the attempts that they held was lost, by the books."""
    with in_schema(chaos.team.schema_name):
        lost = set(Attempt.objects.filter(state="lost").values_list("pk", flat=True))
    return sum(death.kind == "worker" and not lost.isdisjoint(death.attempts) for death in chaos.deaths)


def _deaths(chaos: Chaos) -> None:
    """From the death of who held a node to the begin of its next attempt."""
    for kind, team in (("worker", chaos.team), ("runner", chaos.samples.team)):
        took: dict[bool, list[float]] = {True: [], False: []}
        for death in chaos.deaths:
            if death.kind == kind:
                rows = [row for attempt in death.attempts for row in _rows(team, _NEXT, attempt)]
                took[death.calm] += [float(row[0]) - death.at for row in rows]
        made_again = len(took[True]) + len(took[False])
        chaos.report.recovered[f"attempts lost with a {kind}, and made again"] += made_again
        if calm := took[True]:
            name = f"dead {kind}: next attempt starts after s"
            chaos.report.at_most(name, max(calm), NEXT_ATTEMPT, speed=True)
        if wild := sorted(took[False]):
            told = f"{wild[len(wild) // 2]:.1f} s (median), {wild[-1]:.1f} s (longest)"
            chaos.report.notes.append(f"Where {kind}s died one after the other, next attempts started after {told}.")


def _late_workers(chaos: Chaos) -> None:
    """Completions that workers offered after their lease was over."""
    told = [json.loads(line[line.index("{") :]) for line in chaos.of.logs("worker") if REFUSED in line]
    with in_schema(chaos.team.schema_name):
        accepted = Attempt.objects.filter(pk__in=chaos.late, state="succeeded").count()
    chaos.report.recovered["late completions of workers, refused"] += sum(int(line["count"]) for line in told)
    chaos.report.at_least("late completions offered by workers", len(chaos.late), 1)
    chaos.report.at_most("late completions offered by workers: accepted", accepted, 0)


def _late_runners(chaos: Chaos) -> None:
    """Reports that agents made after their lease was over: refused with 409."""
    asked = list(_reports(chaos.of.logs("web")))
    refused = [execution for execution, _, status in asked if status == 409]
    outcomes = {execution for execution, what, status in asked if what == "outcome" and status == 200}
    with in_schema(chaos.samples.team.schema_name):
        lost = Execution.objects.filter(state="lost")
        accepted = lost.filter(pk__in=outcomes).count() + lost.exclude(outcome=None).count()
        late = Message.objects.filter(session__execution__state="lost", created_at__gt=F("session__ended_at")).count()
        chaos.report.recovered["executions lost with their runner or its way to us"] += lost.count()
    chaos.report.recovered["late reports of runners, refused with 409"] += len(refused)
    chaos.report.at_least("late reports offered by runners", len(refused) + accepted + late, 1)
    chaos.report.at_most("late reports offered by runners: accepted", accepted + late, 0)


def _reports(lines: Iterator[str]) -> Iterator[tuple[UUID, str, int]]:
    """Execution, what was reported, and the answer's status, of each request in the log of a web process."""
    for line in lines:
        if '"uvicorn.access"' in line:
            told: dict[str, Any] = json.loads(line[line.index("{") :])  # git may have left half a line before it
            if found := _OUTCOME.search(str(told.get("path", ""))):
                yield UUID(found[1]), found[2], int(told["status"])


def _violations(chaos: Chaos) -> None:
    """Every invariant, with all events replayed; and the repositories of the agents' team."""
    found = 0
    for arguments in (("--replay",), ("--git", "--team", chaos.samples.slug)):
        done = subprocess.run(
            [sys.executable, "manage.py", "verify", "--json", *arguments],
            cwd=PROJECT_ROOT,
            env=chaos.of.environment,
            capture_output=True,
            text=True,
        )
        told = json.loads(done.stdout)
        found += sum(told["counts"].values())
        for violation in told["violations"][:10]:
            print(violation)
    chaos.report.at_most("violations of invariants, events replayed, repositories looked at", found, 0)


def _rows(team: Team, sql: str, *words: UUID) -> list[tuple[Any, ...]]:
    with in_schema(team.schema_name), connection.cursor() as cursor:
        cursor.execute(sql, list(words))
        return list(cursor.fetchall())
