"""Tries of a node: begin, verify, succeed, fail and try again."""

import random
from uuid import UUID

import structlog
from django.utils import timezone

from agents import executions
from agents.contracts import ReviewOutcome, WorkOutcome
from agents.models import Execution
from agents.placement import Chosen, Nobody, unwalled
from sessions.events import publish
from sessions.transitions import move
from swarms import allowances, answering, briefing, budgets, checks, confinement, hints, progress, rulebook, versions
from swarms.allowances import Denied, Parked
from swarms.models import Attempt, CheckRun, Merge, Node, Swarm
from swarms.overlap import outside
from swarms.reasons import RULES, UNKNOWN, Again, GiveUp, Told, after_failure, count
from swarms.states import SWARM_STARTS, AttemptState, CheckRunState, MergeState, NodeState, SwarmState
from swarms.workspace import repos
from tenants.faults import crash_point
from tenants.models import Runner

logger = structlog.get_logger(__name__)
COORDINATOR = "coordinator"
KINDS = {"plan": "plan", "reviewer": "review"}
"""Kinds of executions, by the node's kind or role; all others are work."""
TEACH = tuple(reason for reason, rule in RULES.items() if rule.told == Told.AGENT)
ENDED_AS = {
    "lost": AttemptState.LOST,
    "released": AttemptState.LOST,
    "timed_out": AttemptState.TIMED_OUT,
    "stalled": AttemptState.STALLED,
    "cancelled": AttemptState.CANCELLED,
}


def begin(node_id: UUID, runner: Runner) -> Execution | Nobody | Parked | None:
    """A node's turn has come: open its next attempt on this runner, if there is an agent and money for it.

    None: it does not run now.
    """
    swarm_id = Node.objects.values_list("swarm", flat=True).get(pk=node_id)
    swarm = (
        Swarm.objects.select_for_update(no_key=True, of=("self",)).select_related("project", "goal").get(pk=swarm_id)
    )
    node = Node.objects.get(pk=node_id)
    node.swarm = swarm
    if node.state != NodeState.READY or swarm.state not in SWARM_STARTS:
        return None
    role = node.role or COORDINATOR
    chosen = confinement.chosen(node, role, runner)
    if not isinstance(chosen, Chosen):
        return chosen
    begun = allowances.allowed(swarm, role, lambda: _start(node, runner, chosen), node=node)
    if not isinstance(begun, Denied):
        return begun
    node = Node.objects.get(pk=node_id)
    if move(node, NodeState.FAILED, because=begun.because, ended_at=timezone.now()):
        progress.release(swarm_id, ended=[node_id])
    return None


def _start(node: Node, runner: Runner, chosen: Chosen) -> Execution | None:
    swarm, number = node.swarm, node.attempts_made + 1
    because = f"attempt {number} on {runner.name}"
    since = node.started_at or timezone.now()
    if not move(node, NodeState.RUNNING, because=because, attempts_made=number, started_at=since):
        return None
    execution = _open(node, number, runner, chosen)
    publish(
        swarm.topic,
        "attempt.started",
        node=node.key,
        attempt=number,
        agent=execution.agent,
        runner=runner.name,
        session=str(execution.session_id),
    )
    return execution


def _open(node: Node, number: int, runner: Runner, chosen: Chosen) -> Execution:
    """The attempt and its execution: what the agent is told, where it starts and what it may push."""
    swarm = node.swarm
    attempt = Attempt(node=node, number=number, base_commit=swarm.integration_commit)
    last = _taught(node)
    kind, role = KINDS.get(node.kind) or KINDS.get(node.role, "work"), node.role or COORDINATOR
    agent = chosen.name
    repository = {"url": str(swarm.project_id), "commit": swarm.integration_commit}
    if kind == "plan":
        versions.begin_part(node)
    if kind == "work":
        repository |= {"branch": attempt.branch, "author": f"{agent} <{agent}@waggle.invalid>"}
    execution = executions.open_execution(
        kind=kind,
        subject=f"node:{node.id}",
        swarm=swarm.id,
        runner=runner,
        agent=agent,
        title=f"{node.title} (attempt {number})",
        assignment={
            "role": role,
            "attempt": number,
            "briefing": _told(node, number, last),
            "writes": node.writes,
            "unasked": rulebook.unasked(swarm, role, sandboxed=not unwalled(chosen, runner.name, runner.sandbox)),
            "checks": node.checks,
            "answers": node.answers,
            "repository": repository,
            "time_limit": node.time_limit or swarm.project.attempt_minutes * 60,
            "model_calls": swarm.project.attempt_calls,
        },
        stall_seconds=swarm.project.stall_minutes * 60,
        draws_on=budgets.subjects(swarm, node),
        chosen=chosen,
    )
    crash_point("attempt.opening")
    attempt.execution = execution
    attempt.save(force_insert=True)
    return execution


def _taught(node: Node) -> Attempt | None:
    """The attempt of which the next one is told: what was wrong with the work, though others were lost since."""
    made = node.attempts.order_by("-number")
    return made.filter(reason__in=TEACH).first() or made.first()


def _told(node: Node, number: int, last: Attempt | None) -> str:
    if node.kind != "plan":
        return briefing.for_node(node, number=number, last=last)
    files = repos.file_list(node.swarm.project, node.swarm.integration_commit)
    return briefing.for_part(node, files, number=number, last=last)


def started(attempt: Attempt) -> None:
    """Its runner began."""
    agent = attempt.execution.agent if attempt.execution else "the control plane"
    move(attempt, AttemptState.RUNNING, because=f"{agent} began")


def examine(attempt: Attempt, outcome: WorkOutcome) -> tuple[list[str], list[str]]:
    """Faults of a work outcome, and the paths that it changed."""
    if attempt.node.kind == "undo" and outcome.commit == attempt.base_commit:
        return [], []  # it changed something else than the repository
    project_id = attempt.node.swarm.project_id
    head = repos.commit_of(project_id, f"refs/heads/{attempt.branch}")
    if head != outcome.commit:
        return [f"commit {outcome.commit[:12]} is not the head of {attempt.branch}: push it, then report it"], []
    if not repos.is_ancestor(project_id, attempt.base_commit, head):
        return [f"{attempt.branch} does not contain {attempt.base_commit[:12]}, from which the workspace started"], []
    return [], repos.changed_files(project_id, attempt.base_commit, head)


def worked(attempt: Attempt, outcome: WorkOutcome, changed: list[str]) -> None:
    """An agent reported its work: have it verified, unless it left its scope."""
    node, swarm = attempt.node, attempt.node.swarm
    Attempt.objects.filter(pk=attempt.pk).update(commit=outcome.commit, summary=outcome.summary)
    attempt.commit, attempt.summary = outcome.commit, outcome.summary
    answering.keep(attempt, outcome.answers)
    # Effects outside the repository that an agent has taken back are gone, whoever stopped the rollback meanwhile.
    if swarm.state in (SwarmState.CANCELLING, SwarmState.FAILING) and node.kind != "undo":
        fail(attempt, reason="cancelled", because=f"its swarm was {swarm.state} when it was done")
        return
    if strays := outside(changed, node.writes):
        fail(
            attempt,
            reason="out_of_scope",
            because=f"changed {', '.join(strays[:5])}, which it had not declared",
            evidence=f"You changed {', '.join(strays)}. You may only change {', '.join(node.writes)}.",
        )
        return
    if not move(node, NodeState.VERIFYING, because="the agent reports that it is done", summary=outcome.summary):
        return
    if node.kind == "undo":
        move(attempt, AttemptState.SUCCEEDED, because="undone, it reports", ended_at=timezone.now())
        _succeed(attempt, because="undone, its agent reports", commit=attempt.base_commit)
    else:
        wanted = node.checks if node.undoes_id else node.checks or swarm.project.checks
        checks.ask(swarm, "exact", outcome.commit, wanted, attempt=attempt)


def reviewed(attempt: Attempt, outcome: ReviewOutcome) -> None:
    """A review is an answer by itself: its verdict stands beside the landing's approval."""
    node = attempt.node
    places = "\n".join(f"- {f.path}:{f.line} ({f.severity}) {f.text}" for f in outcome.findings)
    summary = f"{outcome.verdict}: {outcome.summary}" + (f"\n{places}" if places else "")
    answering.keep(attempt, outcome.answers)
    move(attempt, AttemptState.SUCCEEDED, because=outcome.verdict, summary=summary, ended_at=timezone.now())
    move(node, NodeState.VERIFYING, because="the review is in", summary=summary)
    _succeed(attempt, because=f"reviewed: {outcome.verdict}", commit=attempt.base_commit, verdict=outcome.verdict)


def detailed(attempt: Attempt, because: str) -> None:
    """A node of kind plan has become a plan of its own, whose nodes wait for it."""
    node = attempt.node
    move(attempt, AttemptState.SUCCEEDED, because=because, summary=node.summary, ended_at=timezone.now())
    _succeed(attempt, because=because, commit=attempt.base_commit)


def checked(run: CheckRun) -> None:
    """The checks on an attempt's commit are settled: into the merge queue, or it has failed."""
    attempt = run.attempt
    assert attempt is not None
    if run.state != CheckRunState.PASSED:
        evidence = checks.evidence(run.results, "on your commit")
        fail(attempt, reason=checks.reason(run), because=run.because, evidence=evidence)
    elif move(attempt.node, NodeState.MERGING, because=run.because):
        Merge.objects.create(swarm=run.swarm, attempt=attempt)
        hints.merge(run.swarm_id)


def merged(merge: Merge) -> None:
    """The work is on the integration branch: attempt and node have succeeded."""
    attempt = merge.attempt
    move(attempt, AttemptState.SUCCEEDED, because="merged", ended_at=timezone.now())
    _succeed(attempt, because="merged", commit=merge.commit)
    publish(merge.event_subject, "node.merged", node=attempt.node.key, commit=merge.commit)


def _succeed(attempt: Attempt, *, because: str, commit: str, **verdict: str) -> None:
    node = attempt.node
    output = attempt.answers | {"summary": node.summary, "commit": commit} | verdict
    if move(node, NodeState.SUCCEEDED, because=because, commit=commit, output=output, ended_at=timezone.now()):
        answering.tell(attempt)
        progress.release(node.swarm_id, ended=[node.pk])


def fail(attempt: Attempt, *, reason: str, because: str, evidence: str = "") -> None:
    """An attempt did not succeed: again, with what it taught, or the node has failed. With the swarm locked."""
    node = attempt.node
    ended = move(
        attempt,
        ENDED_AS.get(reason, AttemptState.FAILED),
        because=because,
        reason=reason,
        evidence=evidence,
        ended_at=timezone.now(),
    )
    if not ended:
        return
    for merge in Merge.objects.filter(attempt=attempt, state__in=[MergeState.QUEUED, MergeState.CHECKING]):
        move(merge, MergeState.VOID, because=because, ended_at=timezone.now())
    checks.void(node.swarm, because, attempt=attempt)
    if node.kind == "plan":
        versions.end_parts(node, because)
    swarm = node.swarm = Swarm.objects.get(pk=node.swarm_id)
    if swarm.state in (SwarmState.CANCELLING, SwarmState.FAILING) or reason == "cancelled":
        move(node, NodeState.CANCELLED, because=because, ended_at=timezone.now())
        return
    follow(node, reason=reason, because=because)


def follow(node: Node, *, reason: str, because: str) -> None:
    """What a node does after an attempt that ended for this reason: try again, or fail.

    With the swarm locked, and known to the node as it is now.
    """
    if RULES.get(reason, UNKNOWN).told == Told.OPERATOR:
        logger.warning("an attempt ended for a reason of the platform", node=node.key, reason=reason, because=because)
    failures, losses = count(reason, node.failures, node.losses)
    verdict = after_failure(
        reason,
        because,
        failures=failures,
        losses=losses,
        max_attempts=node.max_attempts,
        jitter=random.random(),
    )
    if isinstance(verdict, GiveUp):
        move(node, NodeState.FAILED, because=verdict.why, failures=failures, losses=losses, ended_at=timezone.now())
        progress.release(node.swarm_id, ended=[node.pk])
        what, why = f"give up {node.key}", verdict.why
    else:
        _again(node, verdict, reason, because, failures=failures, losses=losses)
        what, why = f"try {node.key} again", f"{reason}: {because}"
    publish(node.event_subject, "decision.made", by="engine", what=what, why=why, node=node.key, is_told=True)


def _again(node: Node, verdict: Again, reason: str, because: str, *, failures: int, losses: int) -> None:
    since = timezone.now() + verdict.delay
    moved = move(
        node,
        NodeState.READY,
        because=f"{reason}: {because}",
        failures=failures,
        losses=losses,
        not_before=since,
        ready_at=since,
    )
    if moved and node.swarm.state in SWARM_STARTS:  # a swarm that was paused gives tickets when it is resumed
        progress.queue(node.swarm, [node], delay=verdict.delay, parked=verdict.parked)
