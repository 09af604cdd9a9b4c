"""A process tries itself before work comes: nothing of that stays, and it needs nothing."""

from typing import NoReturn

import pytest
from django.db import OperationalError, connection
from django.test.utils import CaptureQueriesContext

from sessions.models import Event
from swarms import warming
from swarms.models import Plan, Project
from tenants.models import Due, Outbox, Team, TeamShare, Ticket
from tests.conftest import user_of


def test_the_first_work_is_that_of_a_swarm_and_nothing_of_it_stays(team: Team) -> None:
    user_of("alice", "acme")
    share = TeamShare.objects.values().get(team=team)
    with CaptureQueriesContext(connection) as asked:
        warming.warm()
    statements = " ".join(query["sql"] for query in asked.captured_queries)
    for read in ("swarms_swarm", "swarms_plan", "swarms_node", "swarms_approval"):
        assert f'FROM "{read}"' in statements, read
    for work in ('INTO "swarms_node"', "swarms_release(", "swarms_step(", "agent_sessions_publish("):
        assert work in statements, work
    assert [model.objects.count() for model in (Project, Plan, Event, Ticket, Outbox, Due)] == [0] * 6
    assert TeamShare.objects.values().get(team=team) == share


def test_without_a_database_work_is_waited_for_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    def away() -> NoReturn:
        raise OperationalError("the database is away")

    monkeypatch.setattr(warming, "each_team", away)
    warming.warm()
