"""Landing: the integration branch goes to the target branch, checked on the exact commit that lands."""

from uuid import UUID

from django.db import transaction
from django.utils import timezone

from sessions.events import publish
from sessions.transitions import move
from swarms import checks, hints
from swarms.models import CheckRun, Node, Project, Swarm
from swarms.states import CheckRunState, SwarmState
from swarms.workspace import repos
from swarms.workspace.git import GitError
from tenants import turns


def acceptance(swarm: Swarm) -> list[dict[str, str]]:
    """The checks that the whole result must pass: the plan's, the project's acceptance, the project's own."""
    plan = swarm.plans.filter(state="approved").first()
    proposed = plan.document["acceptance"] if plan and plan.document else []
    return [*swarm.project.acceptance, *proposed, *swarm.project.checks]


def reviews(swarm: Swarm) -> list[dict[str, str]]:
    """What reviewers said, for the person who decides the landing."""
    return [
        {"node": node.key, "summary": node.summary}
        for node in Node.objects.filter(swarm=swarm, role="reviewer", state="succeeded").order_by("key")
    ]


def land(swarm_id: UUID) -> None:
    """Bring a landing as far as it goes. Each step can be done again: a crash between two loses nothing."""
    swarm = Swarm.objects.select_related("project", "goal").get(pk=swarm_id)
    if swarm.state == SwarmState.LANDING:
        run = _candidate_run(swarm)
        if run is None:
            _prepare(swarm)
        elif run.state == CheckRunState.PASSED:
            _finish(swarm, run)
    _settle(swarm_id)


@transaction.atomic
def _settle(swarm_id: UUID) -> None:
    """Nothing is due any more, unless there is a next step already: then the reconciler hints it."""
    swarm = Swarm.objects.select_for_update(no_key=True).get(pk=swarm_id)
    run = _candidate_run(swarm)
    if swarm.state != SwarmState.LANDING or (run is not None and run.state != CheckRunState.PASSED):
        turns.settled("land", swarm_id)


def _candidate_run(swarm: Swarm) -> CheckRun | None:
    runs = swarm.check_runs.filter(purpose="landing", created_at__gte=swarm.begun_anew_at)
    return runs.exclude(state=CheckRunState.VOID).order_by("-created_at").first()


def _target(swarm: Swarm) -> str:
    """Head of the target branch, after a look at the source."""
    try:
        return repos.fetch(swarm.project)
    except GitError:
        # The source is away; what we have of it counts, and the push will say what is wrong.
        return repos.commit_of(swarm.project_id, f"refs/heads/{swarm.project.target_branch}")


def _prepare(swarm: Swarm, *, instead_of: CheckRun | None = None) -> None:
    """Make the commit that would land, and have it checked; once, or again when the target branch has moved."""
    target = _target(swarm)
    message = f"Land goal #{swarm.number}: {swarm.goal.title}\n\nSwarm: {swarm.id}\n"
    result = repos.merge(swarm.project_id, target, swarm.integration_commit, message)
    if result.commit:
        repos.set_ref(swarm.project_id, f"refs/heads/landing/{swarm.id}", result.commit)
    with transaction.atomic():
        locked = Swarm.objects.select_for_update(no_key=True, of=("self",)).select_related("project").get(pk=swarm.pk)
        if locked.state != SwarmState.LANDING or _candidate_run(locked) != instead_of:
            return
        Swarm.objects.filter(pk=locked.pk).update(landed_commit="")
        if instead_of:
            why = f"{locked.project.target_branch} moved to {target[:10]} after the commit to land was made"
            publish(swarm.topic, "decision.made", by="engine", what="merge onto the target branch again", why=why)
        if result.commit:
            checks.ask(locked, "landing", result.commit, acceptance(locked))
        else:
            paths = ", ".join(result.conflicts)
            why = f"{locked.project.target_branch} has moved, and the result conflicts with it in {paths}"
            move(locked, SwarmState.FAILING, because=why)
            hints.advance(locked.pk)


@transaction.atomic
def _commit_to(swarm: Swarm, run: CheckRun) -> bool:
    """From here on the swarm lands: it can no longer be cancelled. False when it does not land (so) any more."""
    locked = Swarm.objects.select_for_update(no_key=True).get(pk=swarm.pk)
    if locked.state != SwarmState.LANDING or _candidate_run(locked) != run:
        return False
    Swarm.objects.filter(pk=locked.pk).update(landed_commit=run.commit)
    return True


def _finish(swarm: Swarm, run: CheckRun) -> None:
    """Point the target branch at the checked commit, push it, and say so."""
    if not _commit_to(swarm, run):
        return
    project, branch = swarm.project, f"refs/heads/{swarm.project.target_branch}"
    head = repos.commit_of(project.pk, branch)
    if not repos.is_ancestor(project.pk, run.commit, head) and not (
        repos.is_ancestor(project.pk, head, run.commit) and repos.set_ref(project.pk, branch, run.commit, was=head)
    ):
        _prepare(swarm, instead_of=run)
        return
    pushed = _push(project, run.commit)
    if pushed is None:
        _prepare(swarm, instead_of=run)
        return
    with transaction.atomic():
        locked = Swarm.objects.select_for_update(no_key=True, of=("self",)).select_related("project").get(pk=swarm.pk)
        if locked.state != SwarmState.LANDING:
            return  # somebody else did the same, and was faster
        because = f"landed on {project.target_branch}" + (f", but {pushed}" if pushed else "")
        if move(
            locked,
            SwarmState.SUCCEEDED,
            because=because,
            landed_commit=run.commit,
            pushed_because=pushed,
            ended_at=timezone.now(),
        ):
            type(project).objects.filter(pk=project.pk).update(head=run.commit)
            checks.void(locked, "the swarm has landed")
            turns.settled("swarm_deadline", locked.pk)
            publish(
                swarm.topic, "swarm.landed", branch=project.target_branch, commit=run.commit, pushed=pushed or "pushed"
            )
    _tidy(swarm)


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


def _tidy(swarm: Swarm) -> None:
    """The candidates of merges are of no use any more; attempts' branches stay, for their diffs."""
    for entry in swarm.merges.all():
        repos.delete_refs(swarm.project_id, f"refs/heads/merge/{entry.id}")
    repos.delete_refs(swarm.project_id, f"refs/heads/landing/{swarm.id}")
