"""The clock's look at leases: those that heartbeats kept follow together, over all teams."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from uuid import uuid4

import pytest
from django.db import connection
from django.db.models import F
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from agents.contracts import PlanNode, PlanProposal
from agents.models import Execution
from swarms import dispatch, reconcile
from tenants import signup
from tenants.context import PUBLIC, in_schema
from tenants.models import Domain, Due, Membership, Team, TeamShare, Ticket
from tests.conftest import user_of
from tests.milestones import adopted
from tests.turn_stage import make_runner

pytestmark = pytest.mark.usefixtures("broker")
WORK = PlanProposal(
    summary="work", nodes=(PlanNode(key="a", title="a", role="developer", instructions="Do.", writes=("a/**",)),)
)


@pytest.fixture
def begun(acme: Team, globex: Team) -> dict[str, Execution]:
    """An execution of each team, whose lease heartbeats keep and whose due time has come."""
    make_runner()
    found = {}
    for team in (acme, globex):
        with in_schema(team.schema_name):
            adopted(WORK, team=team.slug)
    with in_schema(PUBLIC):
        Ticket.objects.filter(kind="checks").delete()
    assert dispatch.dispatch() == 2
    for team in (acme, globex):
        with in_schema(team.schema_name):
            Execution.objects.update(lease_until=timezone.now() + timedelta(seconds=20))
            found[team.slug] = Execution.objects.get()
    ring()
    return found


def ring() -> None:
    """All leases are due to be looked at."""
    with in_schema(PUBLIC):
        Due.objects.filter(kind="lease").update(due_at=timezone.now())
        Due.objects.exclude(kind="lease").update(due_at=timezone.now() + timedelta(hours=1))


def due_at(execution: Execution) -> datetime:
    with in_schema(PUBLIC):
        return Due.objects.get(kind="lease", subject=execution.pk).due_at


def test_leases_that_are_kept_follow_in_one_statement(begun: dict[str, Execution]) -> None:
    with CaptureQueriesContext(connection) as queries:
        assert reconcile.tick() == 2
    assert [due_at(one) for one in begun.values()] == [one.lease_until for one in begun.values()]
    assert len([query for query in queries if "UPDATE public.tenants_due" in query["sql"]]) == 1
    assert not [query for query in queries if query["sql"].startswith('SET search_path = "t_')]


def test_of_one_team_a_lease_ran_out_while_that_of_another_is_kept(begun: dict[str, Execution], globex: Team) -> None:
    with in_schema(globex.schema_name):
        Execution.objects.update(lease_until=F("lease_until") - timedelta(minutes=1))
    reconcile.tick()
    assert due_at(begun["acme"]) == begun["acme"].lease_until
    with in_schema(globex.schema_name):
        assert Execution.objects.get(pk=begun["globex"].pk).state == "lost"


@pytest.fixture
def schemaless(committed_team: Team) -> Iterator[Team]:
    """A team whose schema is not there."""
    with in_schema(PUBLIC):
        made = signup.new_team(name="Gone", slug="gone", owner=user_of("alice", "acme"))
    yield made
    with in_schema(PUBLIC):
        for rows in (Due, Membership, TeamShare, Domain):
            rows.objects.filter(**{"tenant" if rows is Domain else "team": made})._raw_delete("default")
        Team.objects.filter(pk=made.pk)._raw_delete("default")


def test_a_team_whose_schema_cannot_be_read_stops_no_other(committed_team: Team, schemaless: Team) -> None:
    make_runner()
    adopted(WORK)
    Ticket.objects.filter(kind="checks").delete()
    assert dispatch.dispatch() == 1
    begun = Execution.objects.get()
    Execution.objects.update(lease_until=begun.lease_until + timedelta(seconds=5))
    Due.objects.create(team=schemaless, kind="lease", subject=uuid4(), due_at=timezone.now())
    ring()
    assert reconcile.tick() == 2
    assert due_at(begun) == begun.lease_until + timedelta(seconds=5)
    assert Due.objects.get(team=schemaless).due_at > timezone.now() + timedelta(seconds=20)
