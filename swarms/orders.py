"""What every order of a member, or of the operator, has in common: in whose name, and why."""

from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

from django.core.exceptions import ValidationError
from django.db import transaction

from sessions.events import SYSTEM, acting, publish
from swarms.models import Project, Swarm
from swarms.refusals import NotNow
from swarms.states import ProjectState
from tenants.models import User
from tenants.trace import begin_trace

LONGEST_REASON = 500
"""Characters of a reason that somebody gives with an order."""


@contextmanager
def doing(swarm: Swarm, by: User | None) -> Iterator[Swarm]:
    """One transaction with the swarm locked, in the name of who does it."""
    with transaction.atomic(), acting(f"user:{by.pk}" if by else SYSTEM):
        found = Swarm.objects.select_for_update(no_key=True, of=("self",)).select_related("project")
        locked = found.get(pk=swarm.pk)
        begin_trace(locked.trace)
        yield locked


def not_archived(project_id: UUID) -> None:
    """Raises NotNow for work of a project that is archived; until this transaction ends, nobody archives it."""
    state = Project.objects.select_for_update(no_key=True).values_list("state", flat=True).get(pk=project_id)
    if state == ProjectState.ARCHIVED:
        raise NotNow("The project is archived: restore it first.")


def name_of(by: User | None) -> str:
    """Who did it, for people."""
    return str(by) if by else "the operator"


def told(verb: str, by: User | None, because: str) -> str:
    """Who did what, and the reason that was given, for people. Raises ValidationError when that is too long."""
    reason = because.strip()
    if len(reason) > LONGEST_REASON:
        raise ValidationError(
            {"because": f"A reason has at most {LONGEST_REASON} characters, and this one {len(reason)}: shorten it."}
        )
    return f"{verb} by {name_of(by)}" + (f": {reason}" if reason else "")


def decided(swarm: Swarm, by: User | None, what: str, why: str = "", node: str = "") -> None:
    """Tell what was decided, by whom and why."""
    publish(swarm.topic, "decision.made", by=f"user:{by.pk}" if by else "operator", what=what, why=why, node=node)
