"""Projects: add, and copy their repository."""

from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit
from uuid import UUID

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import transaction

from agents.contracts import Check
from sessions.events import acting
from sessions.transitions import move
from swarms import hints
from swarms.models import Project
from swarms.states import ProjectState
from swarms.workspace import repos
from swarms.workspace.git import GitError
from tenants import turns
from tenants.models import User

SCHEMES = ("https", "http", "ssh", "git")


def check_source(source: str) -> None:
    """Refuse what is no address of a git repository, or lies where this server keeps its own.

    Raises ValidationError with the remedy.
    """
    if source.startswith("-"):
        raise ValidationError("A repository's address does not begin with '-'.")
    if "://" in source:
        if urlsplit(source).scheme not in SCHEMES:
            raise ValidationError(f"Use an address that begins with {', '.join(s + '://' for s in SCHEMES)}.")
        return
    if not settings.LOCAL_SOURCES:
        raise ValidationError(
            "This server takes no folders of its own as repositories (WAGGLE_LOCAL_SOURCES is off). Use a URL, for"
            " example https://git.example/team/project.git."
        )
    path = Path(source).expanduser()
    if not path.is_absolute():
        raise ValidationError("Give the whole path of the folder, for example /home/ana/project.")
    if Path(settings.DATA_DIR).resolve() / "repos" in [path.resolve(), *path.resolve().parents]:
        raise ValidationError("That folder belongs to this server.")
    if not path.exists():
        raise ValidationError(f"There is no folder {path} on this server.")


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
    by: User,
) -> Project:
    """Add a project and begin to copy its repository. Raises ValidationError."""
    check_source(source)
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
            created_by=by,
        )
        project.full_clean()
        project.save()
        hints.fetch(project.pk)
    return project


def refetch(project: Project, *, by: User) -> bool:
    """Copy the repository again."""
    with transaction.atomic(), acting(f"user:{by.pk}"):
        if moved := move(project, ProjectState.FETCHING, because=f"asked by {by}"):
            hints.fetch(project.pk)
    return moved


def fetch(project_id: UUID) -> None:
    """Copy a project's repository now, and say whether that worked."""
    project = Project.objects.get(pk=project_id)
    if project.state == ProjectState.FETCHING:
        try:
            check_source(project.source)
            head = repos.fetch(project)
        except (GitError, ValidationError) as error:
            words = "; ".join(error.messages) if isinstance(error, ValidationError) else str(error)
            move(project, ProjectState.FAILED, because=f"The repository could not be read: {words}")
        else:
            move(project, ProjectState.READY, because="", head=head)
    turns.settled("fetch", project_id)
