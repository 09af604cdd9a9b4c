"""Probes: alive without asking anybody, ready only with database, Redis and migrations, and plain words otherwise."""

import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from django.conf import settings
from django.db import connection
from django.db.migrations.recorder import MigrationRecorder
from django.test import Client
from pytest_django import DjangoAssertNumQueries, Settings

from config import health
from tenants.context import PUBLIC, in_schema
from tests.test_discovery import environment

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(autouse=True)
def _forget(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "_migrated", False)


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A port on which nobody listens, kept from others meanwhile."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


def test_all_is_there(db: None, client_for: Callable[..., Client]) -> None:
    answer = client_for().get("/readyz")
    assert (answer.status_code, answer.json()) == (200, {"ready": True, "missing": {}})
    assert "no-store" in answer["Cache-Control"]


def test_alive_asks_nobody(
    db: None, client_for: Callable[..., Client], django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    with django_assert_num_queries(0):
        answer = client_for().get("/livez")
    assert (answer.status_code, answer.content) == (200, b"ok\n")


def test_a_probe_changes_nothing(db: None, client_for: Callable[..., Client]) -> None:
    assert client_for().post("/readyz").status_code == 405


def test_a_probe_of_a_pod_by_its_service_name_or_the_public_host_is_answered(
    db: None, client_for: Callable[..., Client]
) -> None:
    for host in (settings.WAGGLE_HOST, "127.0.0.1"):
        assert client_for(host=host).get("/livez").status_code == 200


def test_redis_away_is_named_with_its_remedy(
    db: None, client_for: Callable[..., Client], settings: Settings, closed_port: int
) -> None:
    settings.BROKER_URL = f"redis://:geheim@127.0.0.1:{closed_port}/1"
    answer = client_for().get("/readyz")
    assert answer.status_code == 503
    assert list(answer.json()["missing"]) == ["redis"]
    assert "REDIS_URL" in answer.json()["missing"]["redis"]
    assert b"geheim" not in answer.content


def test_a_missing_migration_is_named(db: None, client_for: Callable[..., Client]) -> None:
    with in_schema(PUBLIC):
        last = MigrationRecorder(connection).migration_qs.filter(app="sessions").latest("name")
        last.delete()
    missing = client_for().get("/readyz").json()["missing"]
    assert list(missing) == ["migrations"]
    assert f"sessions.{last.name}" in missing["migrations"]


def ready(**changed: str) -> subprocess.CompletedProcess[str]:
    """`manage.py ready` in a process of its own."""
    return subprocess.run(
        [sys.executable, "manage.py", "ready"],
        cwd=ROOT,
        env=environment() | changed,
        capture_output=True,
        text=True,
        timeout=100,
    )


def test_the_command_says_that_all_is_there(db: None) -> None:
    assert ready().stdout == "ready\n"


def test_the_command_names_a_database_that_does_not_answer_and_no_password(db: None, closed_port: int) -> None:
    done = ready(DATABASE_URL=f"postgresql://waggle:geheim@127.0.0.1:{closed_port}/waggle")
    assert done.returncode == 1
    assert "DATABASE_URL" in done.stderr
    assert "geheim" not in done.stdout + done.stderr
