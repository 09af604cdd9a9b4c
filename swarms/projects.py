"""Projects: add, change, copy their repository, archive and restore."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from uuid import UUID

import structlog
from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import Q

from agents.contracts import Check
from sessions.events import SYSTEM, acting, publish
from sessions.transitions import move
from swarms import hints
from swarms.models import Project, Swarm
from swarms.orders import told
from swarms.refusals import NotNow
from swarms.states import SWARM_ENDED, ProjectState
from swarms.workspace import repos, sources
from swarms.workspace.git import GitError
from tenants import turns
from tenants.faults import crash_point
from tenants.models import User

logger = structlog.get_logger(__name__)
RESERVED_BRANCHES = ("attempt", "landing", "merge", "swarm")
"""First parts of the names of our own branches."""


def check_source(source: str) -> None:
    """Refuse what repositories are not taken from. Raises ValidationError."""
    try:
        sources.check(source)
    except ValidationError as error:
        raise ValidationError({"source": error.messages}) from error


def check_branch(name: str) -> None:
    """Refuse what cannot be the name of a branch, or lies among our own. Raises ValidationError."""
    if name.startswith("-") or not repos.is_branch_name(name):
        raise ValidationError({"target_branch": f"'{name}' cannot be the name of a branch. For example: main."})
    if name.partition("/")[0] in RESERVED_BRANCHES:
        raise ValidationError({"target_branch": f"Branches below {name.partition('/')[0]}/ are the platform's own."})


def add_project(
    *,
    name: str,
    slug: str,
    source: str,
    target_branch: str = "main",
    checks: Sequence[Check] = (),
    acceptance: Sequence[Check] = (),
    approve_plan: bool = True,
    approve_landing: bool = True,
    four_eyes: bool = False,
    by: User,
) -> Project:
    """Add a project and begin to copy its repository. Raises ValidationError."""
    check_source(source)
    check_branch(target_branch)
    with transaction.atomic(), acting(f"user:{by.pk}"):
        project = Project(
            name=name,
            slug=slug,
            source=source,
            target_branch=target_branch,
            checks=[check.model_dump() for check in checks],
            acceptance=[check.model_dump() for check in acceptance],
            approve_plan=approve_plan,
            approve_landing=approve_landing,
            four_eyes=four_eyes,
            created_by=by,
        )
        project.full_clean()
        project.save()
        hints.fetch(project.pk)
    return project


def change(
    project: Project, *, checks: Sequence[Check], acceptance: Sequence[Check], by: User, **more: str | bool
) -> None:
    """Set a project's checks, and `more`: other fields of it. Copies the repository again if it is another one.

    Whoever began with the former checks keeps them. A check that keeps its name keeps its time limit.
    Raises ValidationError, of which NotNow is one: it is archived.
    """
    _is_open(project)
    given = more | {"checks": _timed(checks, project.checks), "acceptance": _timed(acceptance, project.acceptance)}
    what = sorted(name for name, value in given.items() if getattr(project, name) != value)
    if not what:
        return
    if "source" in what:
        check_source(str(more["source"]))
    if "target_branch" in what:
        check_branch(str(more["target_branch"]))
    with transaction.atomic(), acting(f"user:{by.pk}"):
        Project.objects.filter(pk=project.pk).update(**{name: given[name] for name in what})
        publish(project.topic, "project.changed", what=what)
    if {"source", "target_branch"} & set(what):
        refetch(project, by=by)


def _timed(checks: Sequence[Check], former: Sequence[Mapping[str, object]]) -> list[dict[str, object]]:
    limits = {row["name"]: row["timeout"] for row in former if "timeout" in row}
    known = {name for name in limits} - {check.name for check in checks if "timeout" in check.model_fields_set}
    return [check.model_dump() | ({"timeout": limits[check.name]} if check.name in known else {}) for check in checks]


def set_limits(project: Project, limits: Mapping[str, int], *, by: User) -> None:
    """How long attempts may take and nodes wait, how often they are tried, how large plans may be.

    What runs keeps the limits with which it began. Raises NotNow when the project is archived.
    """
    _is_open(project)
    Project.objects.filter(pk=project.pk).update(**limits)
    logger.info("limits set", project=project.slug, by=str(by.pk), **limits)


def refetch(project: Project, *, by: User) -> bool:
    """Copy the repository again. Returns False when it is being copied already. Raises NotNow when it is archived."""
    _is_open(project)
    if project.state == ProjectState.FETCHING:
        return False
    with transaction.atomic(), acting(f"user:{by.pk}"):
        if moved := move(project, ProjectState.FETCHING, because=f"asked by {by}"):
            hints.fetch(project.pk)
    return moved


def _is_open(project: Project) -> None:
    if project.state == ProjectState.ARCHIVED:
        raise NotNow("The project is archived: restore it first.")


def at_work(project: Project) -> list[Swarm]:
    """Its swarms that have not ended, or whose rollback somebody is asked about."""
    is_asked = Q(approvals__kind="rollback", approvals__state="pending")
    return list(project.swarms.filter(~Q(state__in=SWARM_ENDED) | is_asked).distinct().order_by("pk"))


def archive(project: Project, *, by: User | None, because: str = "") -> None:
    """Put a project away: nothing begins in it any more, and all that happened in it stays.

    `by` is None for the operator. Raises NotNow while swarms of it have not ended, ValidationError for a reason that
    is too long.
    """
    with _mine(project, by) as locked:
        _is_open(locked)
        if live := at_work(locked):
            names = ", ".join(str(swarm) for swarm in live[:5]) + (" and more" if len(live) > 5 else "")
            raise NotNow(f"Not all has ended: {names}. Cancel it, let it end, or decide about its rollback.")
        move(locked, ProjectState.ARCHIVED, because=told("archived", by, because))


def restore(project: Project, *, by: User | None, because: str = "") -> None:
    """Take a project back from the archive; its repository is copied again. Raises NotNow, ValidationError."""
    with _mine(project, by) as locked:
        if locked.state != ProjectState.ARCHIVED:
            raise NotNow(f"The project is {locked.state}, not archived: there is nothing to restore.")
        move(locked, ProjectState.FETCHING, because=told("restored", by, because))
        hints.fetch(locked.pk)


@contextmanager
def _mine(project: Project, by: User | None) -> Iterator[Project]:
    """One transaction with the project locked, in the name of who does it."""
    with transaction.atomic(), acting(f"user:{by.pk}" if by else SYSTEM):
        yield Project.objects.select_for_update(no_key=True).get(pk=project.pk)


def fetch(project_id: UUID) -> None:
    """Copy a project's repository now, and say whether that worked."""
    project = Project.objects.get(pk=project_id)
    to, because, head = ProjectState.READY, "", project.head
    if project.state == ProjectState.FETCHING:
        try:
            head = repos.fetch(project)
            crash_point("project.fetched")
        except GitError as error:
            to, because = ProjectState.FAILED, f"The repository could not be read: {error}"
    # Settled together with the move: somebody who asks again right after it must find nothing due.
    with transaction.atomic():
        locked = Project.objects.select_for_update(no_key=True).get(pk=project_id)
        if locked.state == ProjectState.FETCHING == project.state:
            move(locked, to, because=because, head=head)
        if locked.state != ProjectState.FETCHING:
            turns.settled("fetch", project_id)
