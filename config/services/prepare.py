"""Makes a database ready for the platform: reachable, migrated, with a token for the local runner."""

import hashlib
import signal
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

import psycopg
import redis
from django.core.exceptions import ImproperlyConfigured

from config.env import PROJECT_ROOT
from config.services.launch import StartFailed, death_signal
from config.services.layout import (
    DATABASE_EXAMPLE,
    REDIS_EXAMPLE,
    Layout,
    external_database,
    read_json,
    write_json,
)
from config.services.programs import Site, control, manage

DEMO_TEAM = ("Acme", "acme", "owner@acme.example")
"""Name, address and owner of the team that a fresh embedded database begins with."""

Say = Callable[[str], None]


def check_reachable(site: Site) -> None:
    """Raises ImproperlyConfigured, naming DATABASE_URL or REDIS_URL, when the server gives no answer."""
    try:
        psycopg.connect(site.database_url, connect_timeout=5).close()
    except psycopg.Error as error:
        raise ImproperlyConfigured(
            f"DATABASE_URL: no answer from Postgres at {_place(site.database_url)} ({str(error).strip()}). "
            f"Start it, correct the address (for example DATABASE_URL={DATABASE_EXAMPLE}), "
            "or unset DATABASE_URL to use the embedded Postgres."
        ) from error
    try:
        with redis.Redis.from_url(site.redis_url, socket_timeout=5) as client:
            client.ping()
    except (redis.RedisError, ValueError) as error:
        raise ImproperlyConfigured(
            f"REDIS_URL: no answer from Redis at {_place(site.redis_url)} ({error}). "
            f"Start it, correct the address (for example REDIS_URL={REDIS_EXAMPLE}), "
            "or unset REDIS_URL to use the embedded Valkey."
        ) from error


def prepare(layout: Layout, site: Site, environ: Mapping[str, str], say: Say) -> None:
    """Migrate when there is something to migrate; once per database, issue the local runner's token.

    A fresh embedded database also gets the demo team, so that there is something to sign in to.
    Raises StartFailed when a command fails or the database was made with other migrations.
    """
    identity, made = _identity(site)
    known = read_json(layout.prepared)
    if not made or known.get("database") != identity:
        known = {}
    current = migration_hashes(PROJECT_ROOT)
    step = compare(known.get("migrations", {}), current)
    if step == "other":
        raise StartFailed(_other_migrations(layout, known["migrations"], current))
    wanted = []
    if step == "migrate":
        say("applying migrations")
        wanted += ["--migrate"]
    if not known or not site.token_file.exists():
        wanted += ["--runner-token", str(site.token_file)]
    if not known and not external_database():
        say(f"making the team {DEMO_TEAM[1]}")
        wanted += ["--team", *DEMO_TEAM]
    if wanted:
        django("prepare", *wanted, environment=control(site, environ))
    if step == "migrate":
        write_json(layout.prepared, {"database": identity, "migrations": current})


def migration_hashes(project: Path) -> dict[str, str]:
    """SHA-256 of every migration file of our apps, by its path in the project."""
    files = sorted(project.glob("*/migrations/[0-9]*.py"))
    return {str(file.relative_to(project)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def compare(made_with: Mapping[str, str], current: Mapping[str, str]) -> Literal["same", "migrate", "other"]:
    """What to do with a database made with some migrations, when the project holds these."""
    if any(current.get(name) != digest for name, digest in made_with.items()):
        return "other"
    return "same" if made_with and len(made_with) == len(current) else "migrate"


def django(*arguments: str, environment: Mapping[str, str]) -> str:
    """Run a management command and return what it printed. Raises StartFailed with what it complained of."""
    done = subprocess.run(
        manage(*arguments),
        env=dict(environment),
        cwd=PROJECT_ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=death_signal(signal.SIGTERM),
    )
    if done.returncode:
        said = "\n".join((done.stderr or done.stdout).strip().splitlines()[-15:])
        raise StartFailed(f"manage.py {' '.join(arguments)} failed:\n{said}")
    return done.stdout


def _identity(site: Site) -> tuple[str, bool]:
    """A word for this very database, and whether it holds our tables already."""
    with psycopg.connect(site.database_url) as connection:
        row = connection.execute(
            "SELECT oid::text, to_regclass('public.django_migrations') IS NOT NULL "
            "FROM pg_database WHERE datname = current_database()"
        ).fetchone()
    assert row is not None
    # The embedded one may get another port, and is still the same.
    place = _place(site.database_url) if external_database() else "embedded"
    return f"{place}:{row[0]}", bool(row[1])


def _place(url: str) -> str:
    """Host, port and name of an address, without user and password."""
    parts = urlsplit(url)
    return f"{parts.hostname}:{parts.port}{parts.path}" if parts.port else f"{parts.hostname}{parts.path}"


def _other_migrations(layout: Layout, made_with: Mapping[str, str], current: Mapping[str, str]) -> str:
    changed = [name for name, digest in made_with.items() if current.get(name) != digest]
    names = ", ".join(changed[:3]) + (" and others" if len(changed) > 3 else "")
    if external_database():
        remedy = "Empty the database that DATABASE_URL names, or use another one."
    else:
        remedy = f"`make reset` deletes {layout.root} with all its teams and projects; then start again."
    return f"This database was made with other migrations ({names} changed since). {remedy}"
