"""Whether git has what the tables say: slow, for each swarm asks git a few times."""

from collections.abc import Iterator
from uuid import UUID

from swarms.models import Swarm
from swarms.workspace import repos

NAMES = {
    "git_head": "The head of a swarm's integration branch is in the repository.",
    "git_merged": "What is merged is in the integration branch.",
    "git_landed": "What landed contains the integration branch.",
}


def violations(swarm: UUID | None = None) -> Iterator[tuple[str, str, str, str]]:
    """What git does not have (invariant, id, swarm, in words), in the current schema."""
    wanted = Swarm.objects.exclude(integration_commit="").select_related("project").prefetch_related("merges")
    for one in wanted.filter(**({"pk": swarm} if swarm else {})):
        for name, says in _of(one):
            yield name, str(one.pk), str(one.pk), f"{one}: {says}"


def _of(swarm: Swarm) -> Iterator[tuple[str, str]]:
    project, head = swarm.project_id, swarm.integration_commit
    if not repos.commit_of(project, head):
        yield "git_head", f"{head} is not in the repository"
        return
    for entry in swarm.merges.all():
        if entry.state == "merged" and not repos.is_ancestor(project, entry.commit, head):
            yield "git_merged", f"merged {entry.commit} is not in {head}"
    # From its rollback on the branch begins at the target; it then lands once more.
    field = "rolled_back_commit" if swarm.rollback_at else "landed_commit"
    landed = getattr(swarm, field)
    if landed and not repos.is_ancestor(project, head, landed):
        yield "git_landed", f"{field} {landed} without {head}"
