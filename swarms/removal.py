"""Deleting a team with all that it has: rows, repositories, artifacts, streams. Every step may be repeated."""

import shutil
from typing import Any
from uuid import UUID

import redis
import structlog
from django.conf import settings

from agents.models import Agent, Provider
from sessions.artifacts import contents
from sessions.models import Session
from swarms.models import Project, Swarm
from swarms.refusals import NotNow
from swarms.states import SWARM_ENDED
from swarms.workspace import repos
from tenants import provisioning, removal
from tenants.context import PUBLIC, in_schema
from tenants.models import Membership, Removal, Team
from tenants.states import TeamState

logger = structlog.get_logger(__name__)

HELD: dict[str, Any] = {
    "projects": Project,
    "swarms": Swarm,
    "sessions": Session,
    "agents": Agent,
    "providers' keys": Provider,
}
BATCH = 500


def held(team: Team) -> dict[str, int]:
    """How much there is of what."""
    found = {"members": Membership.objects.filter(team=team).count()}
    if team.state == TeamState.FAILED:
        return found  # its tables may never have been made
    with in_schema(team.schema_name):
        return found | {noun: model._default_manager.count() for noun, model in HELD.items()}


def at_work(team: Team) -> list[Swarm]:
    """Its swarms that have not ended."""
    if team.state == TeamState.FAILED:
        return []
    with in_schema(team.schema_name):
        return list(Swarm.objects.exclude(state__in=SWARM_ENDED).select_related("project").order_by("pk"))


def ask(team: Team, *, by: str) -> Removal:
    """Close the team's doors at once, and let a worker delete all of it. Raises NotNow."""
    if live := at_work(team):
        names = ", ".join(str(swarm) for swarm in live[:5]) + (" and more" if len(live) > 5 else "")
        raise NotNow(f"Swarms have not ended: {names}. Cancel them first, or let them end.")
    found = removal.begin(team, by=by, held=held(team))
    if found is None:
        raise NotNow(f"The team is {team.state}: it cannot be deleted now.")
    logger.warning("a team is deleted", team=team.schema_name, slug=found.slug, by=by)
    return found


def carry_out(pk: UUID) -> bool:
    """Delete what is still there. Whether it was this call that finished it.

    Raises what went wrong, after the record says so too; then somebody tries again.
    """
    with in_schema(PUBLIC):
        found = Removal.objects.get(pk=pk)
        with provisioning.alone(found.team) as is_alone:
            if not is_alone or found.done_at is not None:
                return False
            try:
                if (folder := repos.folder_of(found.schema_name)).exists():
                    shutil.rmtree(folder)
                contents.remove_all(found.schema_name)
                removal.drop(found)
                # Last: while there were rows, what they announced could still come.
                _forget(found.schema_name)
            except Exception as error:
                Removal.objects.filter(pk=pk).update(fault=f"{type(error).__name__}: {error}")
                raise
            removal.finish(found)
    return True


def _forget(schema: str) -> None:
    """Its stream, who is present, and what processes share about it: each key has the schema's name in it."""
    with redis.Redis.from_url(settings.STREAM_URL) as client:
        keys = list(client.scan_iter(match=f"*{schema}*", count=1000))
        for start in range(0, len(keys), BATCH):
            client.unlink(*keys[start : start + BATCH])
