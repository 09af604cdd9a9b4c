"""Taking back what was merged: on the swarm's branch, one merge at a time, through the same checks and queue."""

from uuid import UUID, uuid4

import structlog
from django.db import transaction
from django.db.models.functions import Now
from django.utils import timezone

from sessions.events import publish
from sessions.transitions import move
from swarms import attempts, hints, landing, planned, progress
from swarms.models import Attempt, Merge, Node, Swarm
from swarms.states import MergeState, NodeState, SwarmState
from swarms.workspace import repos
from tenants import turns
from tenants.faults import crash_point

logger = structlog.get_logger(__name__)
MAX_DIFF = 6000
"""Characters of a diff in a conflict's evidence."""


def process(swarm_id: UUID) -> None:
    """Take back the next merge whose turn has come. Safe to call at any time, by several at once."""
    while True:
        swarm = Swarm.objects.select_related("project").get(pk=swarm_id)
        node = _next(swarm)
        if node is None:
            if _settle(swarm_id):
                return
            continue
        # git's part comes first, outside any transaction; what it found is used only if nothing has moved since.
        if not repos.is_ancestor(swarm.project_id, swarm.landed_commit, swarm.integration_commit):
            _start_at_target(swarm)
            continue
        merge = Merge.objects.select_related("attempt").get(attempt__node=node.undoes_id, state=MergeState.MERGED)
        paths = repos.changed_files(swarm.project_id, merge.onto, merge.commit)
        if node.attempts.exclude(reason="cancelled").exists():
            _give_to_agent(swarm, node, paths)
            continue
        result = repos.revert(swarm.project_id, swarm.integration_commit, merge.commit, _message(node, merge))
        attempt = Attempt(node=node, fence=uuid4(), base_commit=swarm.integration_commit, commit=result.commit)
        if result.commit:
            repos.set_ref(swarm.project_id, f"refs/heads/{attempt.branch}", result.commit)
        evidence = "" if result.commit else _evidence(swarm, merge, list(result.conflicts))
        crash_point("revert.made")
        if not _record(swarm, attempt, list(result.conflicts), evidence, paths):
            repos.delete_refs(swarm.project_id, f"refs/heads/{attempt.branch}")
        crash_point("revert.recorded")


def _next(swarm: Swarm) -> Node | None:
    """The node whose merge is taken back now; None while nothing may be."""
    if swarm.state != SwarmState.ROLLING_BACK:
        return None
    ready = swarm.nodes.filter(kind="revert", state=NodeState.READY, not_before__lte=Now())
    return ready.select_related("undoes").order_by("-path_length", "key").first()


@transaction.atomic
def _settle(swarm_id: UUID) -> bool:
    """Nothing is due any more, unless something came since we looked."""
    swarm = Swarm.objects.select_for_update(no_key=True, of=("self",)).get(pk=swarm_id)
    if _next(swarm) is not None:
        return False
    if swarm.state == SwarmState.ROLLING_BACK and swarm.nodes.filter(kind="revert", state=NodeState.READY).exists():
        turns.postpone("revert", swarm_id, after=hints.LOST_HINT)  # its time has not come
    else:
        turns.settled("revert", swarm_id)
    return True


def _message(node: Node, merge: Merge) -> str:
    assert node.undoes is not None
    return f"Revert {node.undoes.key}: {node.undoes.title}\n\nThis takes back the merge {merge.commit}.\n"


def _start_at_target(seen: Swarm) -> None:
    """The swarm's branch goes on from where the target branch is: others' later work stays."""
    head = landing.target(seen)
    contains = repos.is_ancestor(seen.project_id, seen.landed_commit, head)
    with transaction.atomic():
        swarm = Swarm.objects.select_for_update(no_key=True, of=("self",)).select_related("project").get(pk=seen.pk)
        if swarm.integration_commit != seen.integration_commit or swarm.state != SwarmState.ROLLING_BACK:
            return
        if contains:
            Swarm.objects.filter(pk=swarm.pk).update(integration_commit=head)
            why = f"{swarm.project.target_branch} is at {head[:10]}"
            publish(swarm.topic, "branch.set", commit=head, why=why)
            publish(swarm.topic, "decision.made", by="engine", what="take back what landed from there", why=why)
            return
        because = (
            f"{swarm.project.target_branch} does not contain {swarm.landed_commit[:10]} any more, where the swarm "
            "landed: there is nothing to take back from it"
        )
        for node in swarm.nodes.filter(kind="revert", state=NodeState.READY):
            turns.unqueue("node", node.pk)
            if move(node, NodeState.FAILED, because=because, ended_at=timezone.now()):
                progress.release(swarm.pk, ended=[node.pk])
        hints.advance(swarm.pk)


@transaction.atomic
def _record(seen: Swarm, attempt: Attempt, conflicts: list[str], evidence: str, paths: list[str]) -> bool:
    """The attempt of the control plane: into the merge queue, or over to an agent. False when somebody was faster."""
    swarm = Swarm.objects.select_for_update(no_key=True, of=("self",)).select_related("project").get(pk=seen.pk)
    node = Node.objects.select_related("swarm__project").get(pk=attempt.node_id)
    if swarm.integration_commit != seen.integration_commit or swarm.state != seen.state:
        return False
    attempt.number = node.attempts_made + 1
    because = "the control plane takes back its merge"
    if node.state != NodeState.READY or not move(
        node,
        NodeState.RUNNING,
        because=because,
        attempts_made=attempt.number,
        started_at=node.started_at or timezone.now(),
    ):
        return False
    turns.unqueue("node", node.pk)
    attempt.node = node
    attempt.save(force_insert=True)
    if conflicts:
        _write_for_agent(node, {*paths, *conflicts})
        because = f"taking it back conflicts with later work in {', '.join(conflicts)}"
        attempts.fail(attempt, reason="merge_conflict", because=because, evidence=evidence)
        hints.advance(swarm.pk)
        return True
    move(node, NodeState.VERIFYING, because="it applies cleanly", summary=f"took back {len(paths)} changed files")
    move(node, NodeState.MERGING, because="its tree is checked in the queue")
    Merge.objects.create(swarm=swarm, attempt=attempt)
    hints.merge(swarm.pk)
    return True


@transaction.atomic
def _give_to_agent(seen: Swarm, node: Node, paths: list[str]) -> None:
    """The checks failed on what git made of it, and would again."""
    swarm = Swarm.objects.select_for_update(no_key=True, of=("self",)).select_related("project").get(pk=seen.pk)
    node.refresh_from_db()
    if swarm.state != SwarmState.ROLLING_BACK or node.state != NodeState.READY:
        return
    turns.unqueue("node", node.pk)
    _write_for_agent(node, set(paths))
    progress.queue(swarm, [node])


def _write_for_agent(node: Node, paths: set[str]) -> None:
    """What git cannot take back by itself is an agent's work; what was tried stands in the evidence."""
    assert node.undoes is not None
    node.kind, node.writes = "agent", sorted(paths)
    node.instructions = (
        f"Take back what `{node.undoes.key}` ({node.undoes.title}) changed in the repository: its swarm is rolled back."
        " Others may have changed the same places since: keep their work. Change nothing else."
    )
    Node.objects.filter(pk=node.pk).update(kind=node.kind, writes=node.writes, instructions=node.instructions)
    planned.tell(node.swarm, [node])


def _evidence(swarm: Swarm, merge: Merge, conflicts: list[str]) -> str:
    """What was merged, and what came after it in the same places."""
    mine = repos.diff(swarm.project, merge.onto, merge.commit)[:MAX_DIFF]
    theirs = repos.diff(swarm.project, merge.commit, swarm.integration_commit)[:MAX_DIFF]
    said = merge.attempt.summary or "no summary"
    return (
        f"`git revert -m 1 {merge.commit[:10]}` conflicts in {', '.join(conflicts)}.\n\n### What is taken back: {said}"
        f"\n```diff\n{mine}\n```\n\n### What was done since\n```diff\n{theirs}\n```"
    )
