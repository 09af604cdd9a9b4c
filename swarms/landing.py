"""Landing: the integration branch goes to the target branch, checked on the exact commit that lands."""

from collections.abc import Iterable
from typing import Any
from uuid import UUID

from django.db import transaction
from django.utils import timezone

from sessions.events import publish
from sessions.transitions import move
from swarms import checks, compensation, hints, progress
from swarms.models import CheckRun, Node, Project, Swarm
from swarms.states import CheckRunState, SwarmState
from swarms.workspace import repos
from swarms.workspace.git import GitError
from tenants import turns
from tenants.faults import crash_point


def acceptance(swarm: Swarm) -> list[dict[str, str]]:
    """The checks that the whole result must pass: of its adopted plans, the project's acceptance, the project's own."""
    adopted = swarm.plans.filter(state="approved").order_by("version")
    return required(swarm, adopted.values_list("document", flat=True))


def required(swarm: Swarm, documents: Iterable[dict[str, Any] | None]) -> list[dict[str, str]]:
    """The same, with the documents of the adopted plans.

    What the plan wanted is not there any more when it is rolled back: then only the project's count.
    """
    if swarm.undoes:
        return compensation.required(swarm, [*swarm.project.acceptance, *swarm.project.checks])
    proposed = [check for document in documents if document for check in document["acceptance"]]
    return [*swarm.project.acceptance, *proposed, *swarm.project.checks]


def reviews(swarm: Swarm) -> list[dict[str, str]]:
    """What reviewers said, for the person who decides the landing; nobody reviews what is left after a rollback."""
    if swarm.undoes:
        return []
    return [
        {"node": node.key, "summary": node.summary}
        for node in Node.objects.filter(swarm=swarm, role="reviewer", state="succeeded").order_by("key")
    ]


def land(swarm_id: UUID) -> None:
    """Bring a landing as far as it goes. Each step can be done again: a crash between two loses nothing."""
    swarm = Swarm.objects.select_related("project", "goal").get(pk=swarm_id)
    if _lands(swarm):
        run = _candidate_run(swarm)
        if run is None:
            _prepare(swarm)
        elif run.state == CheckRunState.PASSED:
            _finish(swarm, run)
    # Due until it is done, also when whoever landed it died right after.
    _tidy(swarm_id)
    _settle(swarm_id)


def _lands(swarm: Swarm) -> bool:
    """Whether it was decided that this swarm lands, or that its rollback does."""
    # What is due was written with the decision; a hint alone may be one that strayed.
    return swarm.state in (SwarmState.LANDING, SwarmState.ROLLING_BACK) and turns.is_due("land", swarm.pk)


def _field(swarm: Swarm) -> str:
    """Where the commit that lands is written down."""
    return "rolled_back_commit" if swarm.state == SwarmState.ROLLING_BACK else "landed_commit"


@transaction.atomic
def _settle(swarm_id: UUID) -> None:
    """Nothing is due any more, unless there is a next step already: then the reconciler hints it."""
    swarm = Swarm.objects.select_for_update(no_key=True).get(pk=swarm_id)
    run = _candidate_run(swarm)
    if not _lands(swarm) or (run is not None and run.state != CheckRunState.PASSED):
        turns.settled("land", swarm_id)


def _candidate_run(swarm: Swarm) -> CheckRun | None:
    runs = swarm.check_runs.filter(purpose="landing", created_at__gte=swarm.begun_anew_at)
    return runs.exclude(state=CheckRunState.VOID).order_by("-created_at").first()


def target(swarm: Swarm) -> str:
    """Head of the target branch, after a look at the source."""
    try:
        return repos.fetch(swarm.project)
    except GitError:
        # The source is away; what we have of it counts, and the push will say what is wrong.
        return repos.commit_of(swarm.project_id, f"refs/heads/{swarm.project.target_branch}")


def _prepare(swarm: Swarm, *, instead_of: CheckRun | None = None) -> None:
    """Make the commit that would land, and have it checked; once, or again when the target branch has moved."""
    head = target(swarm)
    what = "Roll back" if swarm.state == SwarmState.ROLLING_BACK else "Land"
    message = f"{what} goal #{swarm.number}: {swarm.goal.title}\n\nSwarm: {swarm.id}\n"
    result = repos.merge(swarm.project_id, head, swarm.integration_commit, message)
    if result.commit:
        repos.set_ref(swarm.project_id, f"refs/heads/landing/{swarm.id}", result.commit)
    crash_point("landing.made")
    with transaction.atomic():
        locked = Swarm.objects.select_for_update(no_key=True, of=("self",)).select_related("project").get(pk=swarm.pk)
        if locked.state != swarm.state or _candidate_run(locked) != instead_of:
            return
        Swarm.objects.filter(pk=locked.pk).update(**{_field(locked): ""})
        if instead_of:
            why = f"{locked.project.target_branch} moved to {head[:10]} after the commit to land was made"
            publish(swarm.topic, "decision.made", by="engine", what="merge onto the target branch again", why=why)
        if result.commit:
            checks.ask(locked, "landing", result.commit, acceptance(locked))
        else:
            paths = ", ".join(result.conflicts)
            why = f"{locked.project.target_branch} has moved, and the result conflicts with it in {paths}"
            if locked.state == SwarmState.ROLLING_BACK:
                move(locked, SwarmState.FAILED, because=why, ended_at=timezone.now())
            else:
                move(locked, SwarmState.FAILING, because=why)
            hints.advance(locked.pk)


def checked(run: CheckRun) -> None:
    """The checks on the commit to land are in: it lands, or does not."""
    hints.advance(run.swarm_id)


@transaction.atomic
def _commit_to(swarm: Swarm, run: CheckRun) -> bool:
    """From here on the swarm lands: it can no longer be cancelled. False when it does not land (so) any more."""
    locked = Swarm.objects.select_for_update(no_key=True).get(pk=swarm.pk)
    if locked.state != swarm.state or _candidate_run(locked) != run:
        return False
    Swarm.objects.filter(pk=locked.pk).update(**{_field(locked): run.commit})
    return True


def _finish(swarm: Swarm, run: CheckRun) -> None:
    """Point the target branch at the checked commit, push it, and say so."""
    if not _commit_to(swarm, run):
        return
    crash_point("landing.committed")
    project, branch = swarm.project, f"refs/heads/{swarm.project.target_branch}"
    head = repos.commit_of(project.pk, branch)
    if not repos.is_ancestor(project.pk, run.commit, head) and not (
        repos.is_ancestor(project.pk, head, run.commit) and repos.set_ref(project.pk, branch, run.commit, was=head)
    ):
        _prepare(swarm, instead_of=run)
        return
    crash_point("landing.unpushed")
    pushed = _push(project, run.commit)
    if pushed is None:
        _prepare(swarm, instead_of=run)
        return
    crash_point("landing.pushed")
    _end(swarm, run.commit, pushed)
    crash_point("landing.landed")


@transaction.atomic
def _end(swarm: Swarm, commit: str, pushed: str) -> None:
    """The commit is on the target branch: the swarm has landed, or is rolled back."""
    locked = Swarm.objects.select_for_update(no_key=True, of=("self",)).select_related("project").get(pk=swarm.pk)
    if locked.state != swarm.state:
        return  # somebody else did the same, and was faster
    project, is_rollback = locked.project, locked.state == SwarmState.ROLLING_BACK
    to, what = (SwarmState.ROLLED_BACK, "rolled back") if is_rollback else (SwarmState.SUCCEEDED, "landed")
    because = f"{what} on {project.target_branch}" + (f", but {pushed}" if pushed else "")
    facts: dict[str, Any] = {_field(locked): commit, "pushed_because": pushed, "ended_at": timezone.now()}
    if move(locked, to, because=because, **facts):
        type(project).objects.filter(pk=project.pk).update(head=commit)
        checks.void(locked, because)
        progress.over(locked.pk)
        kind = "swarm.rolled_back" if is_rollback else "swarm.landed"
        publish(swarm.topic, kind, branch=project.target_branch, commit=commit, pushed=pushed or "pushed")


def _push(project: Project, commit: str) -> str | None:
    """Push a landing. Returns what was in the way, if anything was; None when the source has moved meanwhile."""
    refused = repos.push(project, commit)
    if not refused:
        return ""
    try:
        source = repos.fetch(project)
    except GitError:
        return refused  # the source is away
    if repos.is_ancestor(project.pk, commit, source):
        return ""  # another landing, which contains this one, was pushed first
    if not repos.is_ancestor(project.pk, source, commit):
        return None
    # Our copy keeps the landing, though its source does not take it.
    repos.set_ref(project.pk, f"refs/heads/{project.target_branch}", commit, was=source)
    return refused


def _tidy(swarm_id: UUID) -> None:
    """Once it has landed, candidates of merges are of no use any more; attempts' branches stay, for their diffs."""
    swarm = Swarm.objects.get(pk=swarm_id)
    if swarm.state not in (SwarmState.SUCCEEDED, SwarmState.ROLLED_BACK):
        return
    for entry in swarm.merges.all():
        repos.delete_refs(swarm.project_id, f"refs/heads/merge/{entry.id}")
    repos.delete_refs(swarm.project_id, f"refs/heads/landing/{swarm.id}")
