"""Teams for measuring: one that is provisioned, and any number with the same tables."""

import os
import subprocess
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import psycopg

from bench import swarm
from config.services.postgres import program
from tenants.context import PUBLIC, in_schema
from tenants.hosts import domain_for
from tenants.ids import uuid7
from tenants.members import add_member
from tenants.models import Domain, Team, TeamShare, User
from tenants.models.people import schema_for
from tenants.roles import Role

AT_ONCE = 2
"""Schemas that are made at the same time."""


def many(count: int) -> list[Team]:
    """So many ready teams; the first is provisioned, the others are copies, which takes a tenth of the time."""
    first = swarm.team("team0")
    return [first, *copies(first, count - 1)]


def copies(of: Team, count: int) -> list[Team]:
    """Teams with the tables, indexes, triggers, functions and rows of another one."""
    with in_schema(PUBLIC):
        owner = User.objects.get(memberships__team=of)
        made = [_team(number, owner) for number in range(1, count + 1)]
    dump = _dump(of.schema_name)
    parts = [made[start::AT_ONCE] for start in range(AT_ONCE)]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(partial(_copy, dump, of.schema_name), parts))
    return made


def _team(number: int, owner: User) -> Team:
    key = uuid7()
    made = Team.objects.create(id=key, schema_name=schema_for(key), name=f"team {number}", state="ready")
    Domain.objects.create(tenant=made, slug=f"team{number}", domain=domain_for(f"team{number}"), is_primary=True)
    TeamShare.objects.create(team=made)
    add_member(made, owner, Role.OWNER)
    return made


def _dump(schema: str) -> str:
    """The statements that make a schema with its rows."""
    options = ("--no-owner", "--no-privileges", "--rows-per-insert=500", "--schema", schema)
    done = subprocess.run(
        [program("pg_dump"), os.environ["DATABASE_URL"], *options], capture_output=True, text=True, check=True
    )
    return "\n".join(line for line in done.stdout.splitlines() if not line.startswith(("\\", "--")))


def _copy(dump: str, schema: str, teams: Sequence[Team]) -> None:
    # Only made here, not measured: it need not be on the disk at once.
    with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True, options="-c synchronous_commit=off") as link:
        for team in teams:
            link.execute(dump.replace(schema, team.schema_name).encode())
