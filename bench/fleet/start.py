"""How soon an agent works once it is placed, by its runtime; what an idle runner, an attempt and a server take."""

import time
from functools import partial
from pathlib import Path
from uuid import UUID

from django.db import connection

from agents import registry
from agents.models import Agent
from agents.runtimes.opencode.install import install
from bench import staff, swarm
from bench.figures import Figure, Figures, tail, typical
from bench.model import QUICK, SLOW
from bench.stage import Stage, descendants, wait_for, workers
from config.env import PROJECT_ROOT
from swarms.models import Project
from tenants.context import in_schema
from tenants.models import Team

SAMPLES = {"builtin": 20, "opencode": 10}
READY = '"a spare is ready"'
"""In the runner's log."""
_FIRST_WORD = """
SELECT extract(epoch FROM min(e.at) - x.created_at) * 1000 FROM agents_execution x
JOIN agent_sessions_event e ON e.subject = 'session:' || x.session_id AND e.kind = 'message.recorded'
  AND e.payload ->> 'role' = 'assistant'
WHERE x.swarm = %(swarm)s AND x.kind = 'review' GROUP BY x.created_at
"""


def measure(at: Stage) -> Figures:
    """From the claim, which places an assignment on a warm runner, to the first thing that its agent says: a process
    for the attempt, its clone, the scripted model through the gateway. OpenCode's server is one of the attempt: on a
    runner that keeps none ready each of its starts is a cold one, on the other a server waits before each attempt.

    Memory is the proportional set size: what processes share counts once.
    """
    of = swarm.team("bench")
    workers(at)
    opencode = str(install(PROJECT_ROOT / "var" / "tools"))
    staff.start(at, capacity=4, WAGGLE_RUNNER_OPENCODE=opencode, WAGGLE_RUNNER_WARM_SERVERS="0")
    project = staff.project(at, of)
    time.sleep(2)  # the runner has started what it forks children from
    idle = memory(at.processes["runner"].pid)
    figures: Figures = {"fleet.memory.idle_runner_mb": typical([idle], "MB")}
    for runtime, samples in SAMPLES.items():
        _works_with(of, runtime)
        took = [[_first_word(of, project)] for _ in range(samples)]
        name = "fleet.claim_to_first_event" + ("" if runtime == "builtin" else f"_{runtime}_cold")
        figures |= _early(name, took)
        figures[f"fleet.memory.attempt_{runtime}_mb"] = _attempt(of, project, at.processes["runner"].pid)
    staff.runner(at, capacity=4, WAGGLE_RUNNER_OPENCODE=opencode, WAGGLE_RUNNER_WARM_SERVERS="1")
    _first_word(of, project)  # since then servers are wanted
    took = [[_first_warm_word(at, of, project, number)] for number in range(SAMPLES["opencode"])]
    figures |= _early("fleet.claim_to_first_event_opencode_warm", took)
    _wait_for_spare(at, SAMPLES["opencode"])
    figures["fleet.memory.spare_opencode_mb"] = typical([memory(at.processes["runner"].pid) - idle], "MB")
    return figures


def _early(name: str, took: list[list[float]]) -> Figures:
    return {f"{name}_p95_ms": tail(took, "ms"), f"{name}_p50_ms": tail(took, "ms", 0.5)}


def _first_warm_word(at: Stage, of: Team, project: Project, before: int) -> float:
    """With a server that waits, after so many others."""
    _wait_for_spare(at, before)
    return _first_word(of, project)


def _wait_for_spare(at: Stage, before: int) -> None:
    wait_for(lambda: at.log("runner").count(READY) > before, "no server waits", every=0.1)
    time.sleep(1)


def _works_with(of: Team, runtime: str) -> None:
    """The team's reviewers are driven by this runtime from now on."""
    with in_schema(of.schema_name):
        Agent.objects.all().delete()
        registry.add(registry.Terms(f"reviewer-{runtime}", ("reviewer",), runtime=runtime))


def _first_word(of: Team, project: Project) -> float:
    made = staff.submit(of, project, swarm.agents(1, title=QUICK))
    wait_for(lambda: bool(_said(of, made.pk)), "no agent says a word", every=0.1)
    wait_for(partial(swarm.is_done, of, made.pk), "the agent does not end", every=0.1)
    swarm.end(of, made.pk)
    wait_for(partial(swarm.is_ended, of, made.pk), "the swarm is not cancelled", every=0.1)
    return _said(of, made.pk)[0]


def _said(of: Team, made: UUID) -> list[float]:
    with in_schema(of.schema_name), connection.cursor() as cursor:
        cursor.execute(_FIRST_WORD, {"swarm": made})
        return [float(row[0]) for row in cursor.fetchall()]


def _attempt(of: Team, project: Project, runner: int) -> Figure:
    """What one attempt takes beside its runner, while its agent hears a long answer."""
    time.sleep(3)  # whoever worked last is gone
    before = memory(runner)
    made = staff.submit(of, project, swarm.agents(1, title=SLOW))
    wait_for(lambda: bool(_said(of, made.pk)), "no agent says a word", every=0.1)
    time.sleep(3)
    took = memory(runner) - before
    swarm.end(of, made.pk)
    wait_for(partial(swarm.is_ended, of, made.pk), "the swarm is not cancelled", every=0.1)
    return typical([took], "MB")


def memory(root: int) -> float:
    """Megabytes of a process and of all that it has started."""
    total = 0
    for pid in descendants([root]):
        try:
            text = Path(f"/proc/{pid}/smaps_rollup").read_text()
        except OSError:
            continue  # it ended meanwhile
        total += next((int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:")), 0)
    return total / 1024
