"""The merge queue: one at a time per swarm, checked on the merged tree."""

from uuid import UUID

from django.db import transaction
from django.utils import timezone

from sessions.events import publish
from sessions.transitions import move
from swarms import attempts, checks, hints
from swarms.models import Attempt, CheckRun, Merge, Node, Swarm
from swarms.states import SWARM_AT_WORK, CheckRunState, MergeState
from swarms.workspace import repos
from tenants import turns
from tenants.faults import crash_point

MAX_DIFF = 6000
"""Characters of a diff in a conflict's evidence."""


def process(swarm_id: UUID) -> None:
    """Take the next entry of a swarm's queue as far as it goes. Safe to call at any time, by several at once."""
    while True:
        swarm = Swarm.objects.select_related("project").get(pk=swarm_id)
        sync_ref(swarm)
        entry = _next(swarm)
        if entry is None:
            if _settle(swarm):
                return
            continue
        # git's part comes first, outside any transaction; what it found is used only if nothing has moved since.
        result = repos.merge(swarm.project_id, swarm.integration_commit, entry.attempt.commit, _message(entry.attempt))
        if result.commit:
            repos.set_ref(swarm.project_id, f"refs/heads/merge/{entry.id}", result.commit)
        crash_point("merge.made")
        _record(swarm, entry, result)
        crash_point("merge.recorded")


def _next(swarm: Swarm) -> Merge | None:
    """The entry whose turn it is; None while another one is being checked, or nothing may be merged."""
    if swarm.state not in SWARM_AT_WORK:
        return None
    queue = swarm.merges.select_related("attempt__node").order_by("created_at", "pk")
    if queue.filter(state=MergeState.CHECKING).exists():
        return None
    return queue.filter(state=MergeState.QUEUED).first()


@transaction.atomic
def _settle(seen: Swarm) -> bool:
    """Nothing is due any more, unless something came, or the integration branch moved, since we looked."""
    swarm = Swarm.objects.select_for_update(no_key=True, of=("self",)).get(pk=seen.pk)
    if swarm.integration_commit != seen.integration_commit or _next(swarm) is not None:
        return False
    turns.settled("merge", swarm.pk)
    return True


def sync_ref(swarm: Swarm) -> None:
    """Point the integration branch where the database says it is."""
    repos.set_ref(swarm.project_id, f"refs/heads/{swarm.branch}", swarm.integration_commit)


def _message(attempt: Attempt) -> str:
    node = attempt.node
    return f"Merge {node.key}: {node.title}\n\nNode: {node.key}\nAttempt: {attempt.number}\n"


@transaction.atomic
def _record(seen: Swarm, entry: Merge, result: repos.Merged) -> None:
    swarm = Swarm.objects.select_for_update(no_key=True, of=("self",)).select_related("project").get(pk=seen.pk)
    if swarm.integration_commit != seen.integration_commit or swarm.state != seen.state:
        return
    entry.refresh_from_db()
    onto = swarm.integration_commit
    if entry.state != MergeState.QUEUED or swarm.merges.filter(state=MergeState.CHECKING).exists():
        return
    if result.commit:
        node = entry.attempt.node
        if move(entry, MergeState.CHECKING, because="merges cleanly", onto=onto, commit=result.commit):
            wanted = node.checks if node.undoes_id else [*node.checks, *swarm.project.checks]
            checks.ask(swarm, "merged", result.commit, wanted, attempt=entry.attempt, merge=entry)
        return
    _conflicted(swarm, entry, onto, list(result.conflicts))


def _conflicted(swarm: Swarm, entry: Merge, onto: str, paths: list[str]) -> None:
    attempt = entry.attempt
    node = attempt.node
    others = _authors(swarm, attempt, paths)
    move(entry, MergeState.CONFLICTED, because=", ".join(paths), onto=onto, conflicts=paths, ended_at=timezone.now())
    publish(
        swarm.topic,
        "merge.conflicted",
        node=node.key,
        attempt=attempt.number,
        paths=paths,
        other=[other.key for other in others],
    )
    attempts.fail(
        attempt,
        reason="merge_conflict",
        because=f"conflicts with {', '.join(other.key for other in others) or 'merged work'} in {', '.join(paths)}",
        evidence=_evidence(swarm, attempt, onto, paths, others),
    )
    hints.advance(swarm.pk)


def _authors(swarm: Swarm, attempt: Attempt, paths: list[str]) -> list[Node]:
    """Nodes merged since the attempt began whose work touches these paths."""
    since = Merge.objects.filter(swarm=swarm, state=MergeState.MERGED).select_related("attempt__node")
    return [
        merge.attempt.node
        for merge in since.order_by("ended_at")
        if not repos.is_ancestor(swarm.project_id, merge.commit, attempt.base_commit)
        and set(paths) & set(repos.changed_files(swarm.project_id, merge.onto, merge.commit))
    ]


def _evidence(swarm: Swarm, attempt: Attempt, onto: str, paths: list[str], others: list[Node]) -> str:
    """Both intents and both diffs, for the author who must bring them together."""
    node = attempt.node
    mine = repos.diff(swarm.project, attempt.base_commit, attempt.commit)[:MAX_DIFF]
    theirs = repos.diff(swarm.project, attempt.base_commit, onto)[:MAX_DIFF]
    intents = "\n".join(f"- `{other.key}` {other.title}: {other.summary}" for other in others)
    return (
        f"Your commit {attempt.commit[:10]} does not merge onto {onto[:10]}: conflicts in {', '.join(paths)}. Your new"
        f" workspace starts at {onto[:10]}, which has the others' work and not yours. Do your part again so that both"
        f" intents hold.\n\n### What the others meant\n{intents or '- see their diff'}\n\n### What you meant"
        f"\n- `{node.key}` {node.title}: {attempt.summary}\n\n### Your diff\n```diff\n{mine}\n```\n\n### Their diff"
        f"\n```diff\n{theirs}\n```"
    )


def checked(run: CheckRun) -> None:
    """The checks on a merged tree are in. In the caller's transaction, with the swarm locked."""
    entry = run.merge
    assert entry is not None
    swarm = Swarm.objects.get(pk=run.swarm_id)
    if run.state == CheckRunState.PASSED:
        if move(entry, MergeState.MERGED, because=run.because, ended_at=timezone.now()):
            Swarm.objects.filter(pk=swarm.pk).update(integration_commit=entry.commit)
            crash_point("merge.merging")
            attempts.merged(entry)
    elif move(entry, MergeState.REFUSED, because=run.because, ended_at=timezone.now()):
        attempts.fail(
            entry.attempt,
            reason=checks.reason(run),
            because=f"on the merged tree {run.because}",
            evidence=checks.evidence(run.results, "on the merged tree"),
        )
    hints.merge(swarm.pk)
    hints.advance(swarm.pk)
