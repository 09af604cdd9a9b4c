"""Connections from the pool live: also right after the database has shut them."""

from typing import Any

import psycopg
import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db import connection

from tenants.database.base import FRESH_SECONDS, DatabaseWrapper, QuickCheck


@pytest.fixture
def other(db: None) -> Any:
    with psycopg.connect(**connection.get_connection_params() | {"cursor_factory": psycopg.Cursor}) as found:
        yield found


class Asked:
    """Asks the database, and counts that."""

    def __init__(self) -> None:
        self.times = 0

    def __call__(self, found: Any) -> None:
        self.times += 1
        found.execute("SELECT 1")


def test_a_connection_is_not_asked_again_within_a_second_unless_its_end_is_gone(other: Any) -> None:
    asked = Asked()
    check = QuickCheck(asked)
    for _ in range(5):
        check(other)
    assert asked.times == 1
    other.execute("SELECT pg_sleep(%s)", [FRESH_SECONDS])
    check(other)
    assert asked.times == 2
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(%s, 5000)", [other.info.backend_pid])
    with pytest.raises(psycopg.OperationalError):
        check(other)
    assert asked.times == 3


def test_where_no_database_runs_the_remedy_is_said() -> None:
    nowhere = DatabaseWrapper({**connection.settings_dict, "NAME": ""})
    with pytest.raises(ImproperlyConfigured, match=r"services start.*DATABASE_URL"):
        nowhere.get_connection_params()
