"""Who falls silent with a row locked holds up nobody else's work, and does not keep the lock."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

import psycopg
import pytest
from django.db import connection, transaction
from django.db.backends.utils import CursorWrapper
from django.db.models import F
from django.utils import timezone

from agents.contracts import PlanNode, PlanProposal
from swarms import dispatch, reconcile
from swarms.models import Node, Swarm
from tenants.context import PUBLIC, in_schema
from tenants.models import Due, Runner, Team, Ticket
from tenants.patience import unless_busy, wait_briefly
from tests.milestones import adopted, proposed
from tests.turn_stage import make_runner

PLAN = PlanProposal(summary="one", nodes=(PlanNode(key="a", title="a", kind="noop"),))
WORK = PlanProposal(
    summary="work",
    nodes=(PlanNode(key="a", title="a", role="developer", instructions="Do.", writes=("a/**",)),),
)


@contextmanager
def held(rows: type[Swarm] | type[Runner], pk: UUID, schema: str) -> Iterator[None]:
    """Somebody who has this row locked, and is silent."""
    locked, over = threading.Event(), threading.Event()

    def hold() -> None:
        try:
            with in_schema(schema), transaction.atomic():
                rows.objects.select_for_update(no_key=True).get(pk=pk)
                locked.set()
                over.wait(60)
        finally:
            connection.close()

    thread = threading.Thread(target=hold)
    thread.start()
    try:
        assert locked.wait(10)
        yield
    finally:
        over.set()
        thread.join(10)


@pytest.fixture
def impatient(committed_team: Team) -> Iterator[Team]:
    """As the clock is."""
    wait_briefly()
    yield committed_team
    with connection.cursor() as cursor:
        cursor.execute("RESET lock_timeout")


def working() -> Swarm:
    """A swarm of which one node waits for a runner."""
    swarm = adopted(WORK)
    Ticket.objects.filter(kind="checks").delete()
    return swarm


def state(swarm: Swarm) -> str:
    return Swarm.objects.values_list("state", flat=True).get(pk=swarm.pk)


def test_the_clock_passes_over_what_somebody_holds_and_comes_back_to_it(impatient: Team, broker: object) -> None:
    first, second = proposed(PLAN), proposed(PLAN)
    Due.objects.update(due_at=timezone.now())
    with held(Swarm, first.pk, impatient.schema_name):
        reconcile.tick()
        assert (state(first), state(second)) == ("proposed", "running")
        assert Due.objects.filter(kind="advance", subject=first.pk, due_at__lte=timezone.now()).exists()
    reconcile.tick()
    assert state(first) == "running"


def test_of_leases_that_are_over_those_that_can_be_reaped_are(impatient: Team, broker: object) -> None:
    make_runner()
    swarms = [working() for _ in range(12)]
    assert dispatch.dispatch() == 12
    with connection.cursor() as cursor:
        cursor.execute("UPDATE agents_execution SET lease_until = now() - interval '1 second'")
    Due.objects.filter(kind="lease").update(due_at=timezone.now())
    Runner.objects.update(channel="")
    silent = (swarms[0], swarms[6])
    with held(Swarm, silent[0].pk, impatient.schema_name), held(Swarm, silent[1].pk, impatient.schema_name):
        reconcile.tick()
        states = dict(Node.objects.values_list("swarm", "state"))
    assert [swarm for swarm in swarms if states[swarm.pk] == "running"] == list(silent)


def test_a_ticket_whose_swarm_is_held_lets_those_behind_it_go_first(committed_team: Team, broker: object) -> None:
    make_runner()
    first, second = working(), working()
    with held(Swarm, first.pk, committed_team.schema_name):
        assert dispatch.dispatch() == 1
        states = dict(Node.objects.values_list("swarm", "state"))
        assert (states[first.pk], states[second.pk]) == ("ready", "running")
    assert Ticket.objects.get(swarm=first.pk).not_before <= timezone.now() + dispatch.SOON
    Ticket.objects.update(not_before=F("created_at"))
    assert dispatch.dispatch() == 1


def test_a_runner_that_somebody_holds_does_not_keep_work_from_others(committed_team: Team, broker: object) -> None:
    runners = [make_runner("one"), make_runner("two")]
    working()
    for runner in runners:
        with in_schema(PUBLIC):
            Ticket.objects.update(not_before=F("created_at"))
        with held(Runner, runner.pk, PUBLIC):
            given = dispatch.dispatch()
        assert given == (1 if runner == runners[0] else 0)


def test_a_lock_is_waited_for_briefly_in_one_transaction_only(committed_team: Team, broker: object) -> None:
    swarm = proposed(PLAN)

    def lock() -> None:
        Swarm.objects.select_for_update(no_key=True).get(pk=swarm.pk)

    locked = []
    with held(Swarm, swarm.pk, committed_team.schema_name), unless_busy(), transaction.atomic():
        wait_briefly(in_transaction=True)
        lock()
        locked.append(swarm.pk)
    assert not locked
    with connection.cursor() as cursor:
        cursor.execute("SHOW lock_timeout")
        assert cursor.fetchone()[0] == "0"


def test_who_is_silent_amid_a_transaction_loses_it_after_a_lease(db: None, settings: object) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SHOW idle_in_transaction_session_timeout")
        assert cursor.fetchone()[0] == f"{settings.LEASE_SECONDS:.0f}s"


def test_who_is_gone_while_a_statement_of_his_runs_keeps_no_locks(db: None) -> None:
    """As a worker that is killed: without a look at its connection, the database goes on to the statement's end."""
    words = {name: value for name, value in connection.get_connection_params().items() if name not in _OURS}
    gone = psycopg.connect(**words)
    pid = gone.info.backend_pid
    gone.pgconn.send_query(b"SELECT pg_sleep(600)")
    gone.pgconn.flush()
    with connection.cursor() as cursor:
        assert _runs(cursor, pid)
        gone.close()
        for _ in range(300):
            if not _runs(cursor, pid):
                return
            time.sleep(0.1)
    raise AssertionError("its statement still runs")


_OURS = ("pool", "cursor_factory", "context", "prepare_threshold")
"""Of this library, and not for a plain connection."""


def _runs(cursor: CursorWrapper, pid: int) -> bool:
    cursor.execute("SELECT pg_stat_clear_snapshot(); SELECT count(*) FROM pg_stat_activity WHERE pid = %s", [pid])
    while cursor.nextset():
        continue
    return bool(cursor.fetchone()[0])


def test_the_connection_that_came_back_last_goes_out_first(db: None) -> None:
    """Its backend is warm; and whatever psycopg_pool makes of its own list some day, this must hold."""
    pool = connection.pool
    with pool.connection() as one, pool.connection() as two:
        first, second = one.info.backend_pid, two.info.backend_pid
    # `two` came back first, `one` last.
    for _ in range(3):
        with pool.connection() as again:
            assert again.info.backend_pid == first != second


def test_who_comes_after_the_database_was_away_gets_a_connection_that_lives(db: None) -> None:
    pool = connection.pool
    with pool.connection() as one, pool.connection() as two:
        idle = [one.info.backend_pid, two.info.backend_pid]
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(pg_terminate_backend(pid, 5000)) FROM unnest(%s::int[]) AS pid", [idle])
        assert cursor.fetchone()[0] == 2
    with pool.connection() as one, pool.connection() as two:
        assert not {one.info.backend_pid, two.info.backend_pid} & set(idle)
        assert one.execute("SELECT 1").fetchone() == two.execute("SELECT 1").fetchone() == (1,)
