"""A process looks once before work comes: it changes nothing, and needs nothing."""

from typing import NoReturn

import pytest
from django.db import OperationalError, connection
from django.test.utils import CaptureQueriesContext

from swarms import warming
from tenants.models import Team

READS = ("SELECT", "SET search_path", "SAVEPOINT", "RELEASE SAVEPOINT", "ROLLBACK TO SAVEPOINT")


def test_the_first_look_reads_what_decisions_read_and_writes_nothing(team: Team) -> None:
    with CaptureQueriesContext(
        connection,
    ) as asked:
        warming.warm()
    statements = [query["sql"] for query in asked.captured_queries]
    assert all(sql.startswith(READS) for sql in statements), statements
    for table in ("swarms_swarm", "swarms_plan", "swarms_node", "swarms_approval"):
        assert any(f'FROM "{table}"' in sql for sql in statements), table


def test_without_a_database_work_is_waited_for_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    def away() -> NoReturn:
        raise OperationalError("the database is away")

    monkeypatch.setattr(warming, "each_team", away)
    warming.warm()
