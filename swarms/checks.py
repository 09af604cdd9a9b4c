"""Proof, not claims: the control plane runs checks on exact commits, on trusted runners, in fresh clones."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any
from uuid import UUID

from django.utils import timezone

from agents import executions, placing
from agents.contracts import CheckOutcome
from agents.models import Execution
from agents.placement import Nobody, unwalled
from sessions.events import publish
from sessions.transitions import move
from swarms import confinement, hints
from swarms.allowances import Denied, Parked
from swarms.models import Attempt, CheckRun, Merge, Swarm
from swarms.states import CheckRunState
from tenants import turns
from tenants.faults import crash_point
from tenants.models import Runner

MAX_TRIES = 5
"""Executions of one check run, should its runners be lost."""
CLONE_SECONDS = 600
PRIORITY = 500
"""Checks go before new work: something waits for them."""

Follow = Callable[[CheckRun], None]
_follows: dict[str, Follow] = {}


def bind(follows: Mapping[str, Follow]) -> None:
    """What becomes of those for whom settled checks were run, by purpose. (See swarms.settlement.)"""
    _follows.update(follows)


def ask(
    swarm: Swarm,
    purpose: str,
    commit: str,
    checks: Iterable[dict[str, Any]],
    *,
    attempt: Attempt | None = None,
    merge: Merge | None = None,
) -> CheckRun:
    """Have checks run on a commit. Without any check they have passed already, and who waits for them goes on at once.

    With the swarm locked.
    """
    unique = list({check["command"]: check for check in checks}.values())
    run = CheckRun.objects.create(
        swarm=swarm, purpose=purpose, commit=commit, checks=unique, attempt=attempt, merge=merge
    )
    if unique:
        turns.queue("checks", run.id, priority=PRIORITY, cost=0.2)
        hints.dispatch()
    else:
        finished(run, CheckOutcome(results=[]))
    return run


def begin(run_id: UUID, runner: Runner) -> Execution | Nobody | Parked | None:
    """The turn of a check run has come: place it, if it may work on this runner."""
    # The swarm first: whoever voids this run holds it, and a run that is void must not be begun.
    Swarm.objects.select_for_update(no_key=True, of=("self",)).get(check_runs=run_id)
    run = CheckRun.objects.select_related("swarm__project", "attempt__node").get(pk=run_id)
    if run.state != CheckRunState.WAITING:
        return None
    held = confinement.allowed(run, unwalled(None, runner.name, runner.sandbox))
    if isinstance(held, Nobody | Parked):
        return held
    if isinstance(held, Denied):
        _broken(run, held.because)
        return None
    return _start(run, runner)


def _start(run: CheckRun, runner: Runner) -> Execution | None:
    if not move(run, CheckRunState.RUNNING, because=f"on {runner.name}", tries=run.tries + 1):
        return None
    node = run.attempt.node.key if run.attempt else ""
    return executions.open_execution(
        kind="check",
        subject=f"checks:{run.id}",
        swarm=run.swarm_id,
        runner=runner,
        agent=placing.own_name("checks"),
        title=f"Checks {dict(CheckRun.PURPOSES)[run.purpose]}" + (f" of {node}" if node else ""),
        assignment={
            "role": "checks",
            "attempt": run.tries,
            "checks": run.checks,
            "repository": {"url": str(run.swarm.project_id), "commit": run.commit},
            # Each check has its own limit; the rest is for the clone. Silence is normal: no stall.
            "time_limit": sum(check.get("timeout", 120) for check in run.checks) + CLONE_SECONDS,
        },
    )


def finished(run: CheckRun, outcome: CheckOutcome) -> None:
    """Keep the results, unless the run is settled already; who waits for them goes on. With the swarm locked."""
    results = [result.model_dump(mode="json") for result in outcome.results]
    failed = [result.name for result in outcome.results if not result.ok]
    to = CheckRunState.FAILED if failed else CheckRunState.PASSED
    passed = f"{len(results)} passed" if results else "there are no checks"
    because = f"failed: {', '.join(failed)}" if failed else passed
    if not move(run, to, because=because, results=results, ended_at=timezone.now()):
        return
    publish(
        run.event_subject,
        "checks.finished",
        purpose=run.purpose,
        commit=run.commit,
        passed=len(results) - len(failed),
        total=len(results),
        node=run.attempt.node.key if run.attempt else "",
        failed=failed,
    )
    _follow(run)


def lost(run: CheckRun, because: str) -> None:
    """Its runner brought no result: again, or the run is broken, and who waits for it goes on.

    With the swarm locked.
    """
    if run.tries < MAX_TRIES:
        if move(run, CheckRunState.WAITING, because=because):
            turns.queue("checks", run.id, priority=PRIORITY, cost=0.2)
            hints.dispatch()
    else:
        _broken(run, because)


def _broken(run: CheckRun, because: str) -> None:
    if move(run, CheckRunState.BROKEN, because=because, ended_at=timezone.now()):
        _follow(run)
        hints.advance(run.swarm_id)


def _follow(run: CheckRun) -> None:
    crash_point("checks.settling")
    if verb := _follows.get(run.purpose):
        verb(run)


def void(swarm: Swarm, because: str, *, attempt: Attempt | None = None) -> None:
    """Nobody needs these results any more."""
    open_runs = CheckRun.objects.filter(swarm=swarm, state__in=[CheckRunState.WAITING, CheckRunState.RUNNING])
    if attempt:
        open_runs = open_runs.filter(attempt=attempt)
    for run in open_runs.select_related("swarm"):
        if move(run, CheckRunState.VOID, because=because, ended_at=timezone.now()):
            turns.unqueue("checks", run.id)
            executions.request_cancel(Execution.objects.filter(subject=f"checks:{run.id}", ended_at=None))


def reason(run: CheckRun) -> str:
    """Why the work did not succeed that these checks were run for."""
    return "check_failed" if run.state == CheckRunState.FAILED else "checks_broken"


def evidence(results: Iterable[dict[str, Any]], where: str) -> str:
    """What the next attempt is told of failed checks."""
    return "\n\n".join(
        f"`{result['command']}` ended with {result['exit_code']} {where} {result['commit'][:10]}:\n\n"
        f"```\n{result['output'].strip()[-4000:]}\n```"
        for result in results
        if result["exit_code"] != 0
    )
