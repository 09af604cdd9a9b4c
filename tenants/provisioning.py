"""Making and removing the schema of a team. Every step may be repeated."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import structlog
from django.db import transaction
from django.db.migrations.executor import MigrationExecutor
from django.db.migrations.recorder import MigrationRecorder

from tenants.context import PUBLIC, connection, in_schema
from tenants.faults import crash_point
from tenants.models import Domain, Invitation, Placement, Runner, Team, TeamShare, Token
from tenants.states import TeamState

logger = structlog.get_logger(__name__)


def build(team: Team, *, wait: bool = False) -> bool:
    """Make the team's schema and open its doors.

    Goes on where an earlier try stopped. Returns False when the team needs no building or somebody else is at it;
    with `wait`, lets them finish first.
    Raises what went wrong, after the team's state says so too.
    """
    with in_schema(PUBLIC), alone(team.pk, wait=wait) as is_alone:
        team.refresh_from_db()
        if not is_alone or team.state != TeamState.PROVISIONING:
            return False
        try:
            _say(team, "Making room in the database")
            with connection.cursor() as cursor:
                cursor.execute(f"CREATE SCHEMA IF NOT EXISTS {connection.ops.quote_name(team.schema_name)}")
            crash_point("team.schema_made")
            migrate(team.schema_name, lambda step: _say(team, step))
            crash_point("team.migrated")
            TeamShare.objects.get_or_create(team=team)
        except Exception as error:
            logger.exception("provisioning failed", team=team.schema_name)
            move(team, TeamState.FAILED, because=f"{type(error).__name__}: {error}")
            raise
        return move(team, TeamState.READY)


def retry(team: Team) -> bool:
    """Let a team whose provisioning failed be built again. Returns False when it is in another state."""
    return move(team, TeamState.PROVISIONING)


def migrate(schema: str, say: Callable[[str], None]) -> None:
    """Bring a team's schema up to the newest migrations, telling each step."""
    with in_schema(schema, alone=True):
        # With public in sight, Django would take public's record of migrations for the team's.
        MigrationRecorder(connection).ensure_schema()
    with in_schema(schema):
        executor = MigrationExecutor(connection)
        plan = executor.migration_plan(executor.loader.graph.leaf_nodes())
        done = 0

        def progress(action: str, migration: Any = None, fake: bool | None = False) -> None:
            nonlocal done
            if action == "apply_success":
                done += 1
                say(f"Making tables: {done} of {len(plan)}")

        executor.progress_callback = progress
        executor.migrate(executor.loader.graph.leaf_nodes(), plan)


def drop(team: Team, confirm_name: str) -> None:
    """Remove a team with everything in it, for ever. Raises ValueError unless `confirm_name` is its address."""
    if confirm_name != team.slug:
        raise ValueError(f"To remove the team {team.name}, confirm with its address: {team.slug}")
    with in_schema(PUBLIC), transaction.atomic():
        with connection.cursor() as cursor:
            # First: rows in it point at runners.
            cursor.execute(f"DROP SCHEMA IF EXISTS {connection.ops.quote_name(team.schema_name)} CASCADE")
        for model in (Placement, Runner, Token, Invitation):
            # Not by delete(): it would look in public for rows of teams that point here.
            model._default_manager.filter(team=team)._raw_delete("default")
        Domain.objects.filter(tenant=team).delete()
        team.delete()
    logger.warning("team removed", team=team.schema_name)


def _say(team: Team, step: str) -> None:
    Team.objects.filter(pk=team.pk, state=TeamState.PROVISIONING).update(step=step)


def move(team: Team, to: TeamState, because: str = "") -> bool:
    """Move a team, if its table of moves has a way from where it is. Teams live in public and have no events."""
    comes_from = [state for state, targets in Team.MOVES.items() if to in targets]
    moved = Team.objects.filter(pk=team.pk, state__in=comes_from).update(state=to, because=because, step="")
    team.refresh_from_db()
    return bool(moved)


@contextmanager
def alone(team: UUID, *, wait: bool = False) -> Iterator[bool]:
    """Whether nobody else makes or removes this team's schema; nobody will before the block ends."""
    # The lock has a connection of its own: migrations commit, and may close, the usual one.
    link = connection.copy()
    link.set_schema_to_public()
    name = [f"provision:{team}"]
    try:
        with link.cursor() as cursor:
            if wait:
                cursor.execute("SELECT pg_advisory_lock(hashtextextended(%s, 0))", name)
                got = True
            else:
                cursor.execute("SELECT pg_try_advisory_lock(hashtextextended(%s, 0))", name)
                got = bool(cursor.fetchone()[0])
        try:
            yield got
        finally:
            if got:
                with link.cursor() as cursor:
                    cursor.execute("SELECT pg_advisory_unlock(hashtextextended(%s, 0))", name)
    finally:
        link.close()
