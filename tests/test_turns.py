"""Who goes next: inside a team by priority, critical path and age; by an index, however many wait."""

import statistics
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from uuid import UUID, uuid4

import pytest
from django.core.management import CommandError, call_command
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from swarms import progress
from tenants import procedures, turns
from tenants.context import PUBLIC, current_schema, in_schema
from tenants.models import Due, Placement, Runner, Team, TeamShare, Ticket
from tests.turn_stage import age, backlog, make_runner, make_team, place, queue, take


@pytest.fixture
def runner(db: None) -> Runner:
    return make_runner()


@pytest.fixture
def lone(db: None) -> Team:
    return make_team("Lone")


def order(runner: Runner) -> list[UUID]:
    """Subjects in the order in which they are called up."""
    found = []
    while ticket := turns.next_ticket(runner):
        found.append(ticket.subject)
        ticket.delete()
    return found


def test_priority_goes_before_the_critical_path_and_that_before_who_came_first(lone: Team, runner: Runner) -> None:
    first = queue(lone, path=1)
    long = queue(lone, path=9)
    urgent = queue(lone, priority=1, path=1)
    second = queue(lone, path=1)
    assert order(runner) == [urgent, long, first, second]


def test_a_ticket_that_waits_gains_priority(lone: Team, runner: Runner) -> None:
    old, urgent, newer = queue(lone), queue(lone, priority=2), queue(lone)
    step = timedelta(seconds=procedures.AGE_SECONDS)
    age(newer, step)
    age(old, 3 * step)
    assert order(runner) == [old, urgent, newer]


def test_what_is_due_of_a_subject_ends_in_one_statement(team: Team) -> None:
    mine, other = uuid4(), uuid4()
    for kind in ("order", "swarm_deadline", "step"):
        turns.due(kind, mine, after=timedelta(hours=1))
    turns.due("order", other, after=timedelta(hours=1))
    with CaptureQueriesContext(connection) as made:
        progress.over(mine)
    assert sum("DELETE" in query["sql"] for query in made) == 1
    assert set(Due.objects.values_list("kind", "subject")) == {("step", mine), ("order", other)}


def test_a_ticket_is_not_called_before_its_time(lone: Team, runner: Runner) -> None:
    queue(lone, priority=9, delay=timedelta(hours=1))
    now = queue(lone)
    assert order(runner) == [now]


def test_an_untrusted_runner_gets_no_checks_and_a_teams_runner_only_its_own(lone: Team, runner: Runner) -> None:
    queue(lone, kind="checks", priority=500)
    work = queue(lone)
    other = queue(make_team("Other"))
    assert turns.next_ticket(make_runner("own", team=lone, trusted=False)).subject == work  # type: ignore[union-attr]
    assert order(make_runner("own trusted", team=lone)) != [other]
    assert order(runner) == [other]


def test_a_turn_on_a_teams_own_runner_costs_it_nothing(lone: Team, runner: Runner) -> None:
    backlog(lone, 2)
    take(make_runner("own", team=lone))
    assert TeamShare.objects.get(team=lone).virtual_time == 0
    take(runner)
    assert TeamShare.objects.get(team=lone).virtual_time == 1


def test_a_team_at_its_cap_stands_in_nobodys_way(lone: Team, runner: Runner) -> None:
    full = make_team("Full", cap=2)
    TeamShare.objects.filter(team=lone).update(virtual_time=1000)
    backlog(full, 50)
    backlog(lone, 1)
    for _ in range(2):
        place(full, runner)
    assert take(runner) == lone.pk
    assert take(runner) is None
    Placement.objects.filter(team=full).first().delete()  # type: ignore[union-attr]
    assert take(runner) == full.pk


def test_control_plane_work_goes_to_the_team_with_the_lowest_virtual_time(lone: Team) -> None:
    ahead, swarm = make_team("Ahead"), uuid4()
    TeamShare.objects.filter(team=ahead).update(virtual_time=5)
    backlog(ahead, 3, lane="control")
    queue(lone, lane="control", swarm=uuid4(), delay=timedelta(hours=1))
    assert turns.next_control().schema == ahead.schema_name  # type: ignore[union-attr]
    queue(lone, lane="control", swarm=swarm)
    assert turns.next_control() == turns.ControlTurn(lone.schema_name, swarm)
    with in_schema(lone.schema_name):
        turns.charge_team(6)
    assert turns.next_control().schema == ahead.schema_name  # type: ignore[union-attr]


def _ms(call: Callable[[], object], times: int = 15) -> str:
    took = []
    for _ in range(times):
        began = time.perf_counter()
        call()
        took.append((time.perf_counter() - began) * 1000)
    return f"{statistics.median(took):.2f} ms (max {max(took):.2f})"


def _nothing() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")


def test_however_many_wait_the_next_one_is_found_by_an_index(runner: Runner) -> None:
    teams = [make_team(f"T{n}") for n in range(300)]
    for team in teams[:20]:
        backlog(team, 5_000)
        backlog(team, 500, lane="control")
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE public.tenants_ticket")
        cursor.execute("ANALYZE public.tenants_teamshare")
        cursor.execute(
            "EXPLAIN SELECT id FROM public.tenants_ticket WHERE lane = 'agent' AND team_id = %s"
            f" AND not_before <= now() ORDER BY {procedures.ORDER} LIMIT 1 FOR UPDATE SKIP LOCKED",
            [teams[7].pk],
        )
        plan = "\n".join(row[0] for row in cursor.fetchall())
    assert "tenants_ticket_turn" in plan
    assert "Sort" not in plan
    print(f"\na query that does nothing: {_ms(_nothing)}")
    print(f"next ticket of 100,000: {_ms(lambda: turns.next_ticket(runner))}")
    print(f"next control of 10,000: {_ms(turns.next_control)}")
    print(f"one turn: {_ms(lambda: take(runner))}")
    for team in teams[20:]:
        backlog(team, 1)
    print(f"next ticket when all 300 teams have some: {_ms(lambda: turns.next_ticket(runner))}")


def test_a_share_is_shown_and_changed_by_a_command_that_names_what_is_wrong(
    acme: Team, capsys: pytest.CaptureFixture[str]
) -> None:
    call_command("share", "acme", weight=2.5, max_swarms=7)
    assert "weight: 2.5\ncap: 16\n" in capsys.readouterr().out
    share = TeamShare.objects.get(team=acme)
    assert (share.weight, share.cap, share.max_swarms) == (2.5, 16, 7)
    for name, value in (("weight", 0.0), ("weight", float("nan")), ("cap", -1)):
        with pytest.raises(CommandError, match=f"^--{name}: "):
            call_command("share", "acme", **{name: value})
    with pytest.raises(CommandError, match="no team with the address nowhere"):
        call_command("share", "nowhere")


def _thread(work: Callable[[], None]) -> threading.Thread:
    schema = current_schema()

    def body() -> None:
        try:
            with in_schema(schema):
                work()
        finally:
            connection.close()

    thread = threading.Thread(target=body)
    thread.start()
    return thread


def test_who_takes_back_a_ticket_does_not_wait_for_who_calls_it_up(committed_team: Team) -> None:
    runner, subjects = make_runner(), [uuid4() for _ in range(2)]
    for subject in subjects:
        turns.queue("node", subject)
    with transaction.atomic():
        called = turns.next_ticket(runner)
        assert called is not None
        thread = _thread(lambda: turns.unqueue("node", *subjects))
        thread.join(20)
        assert not thread.is_alive()
        # The one that is called up stays: who called it finds out that it is not wanted.
        assert list(Ticket.objects.values_list("subject", flat=True)) == [called.subject]
        called.delete()
    assert not Ticket.objects.exists()


def test_a_subject_that_many_queue_has_one_ticket_and_one_who_calls_it(committed_team: Team) -> None:
    runner, subject, called = make_runner(), uuid4(), []

    def both() -> None:
        for _ in range(20):
            turns.queue("node", subject)
            with transaction.atomic():
                if ticket := turns.next_ticket(runner):
                    called.append(ticket.subject)
                    assert Ticket.objects.filter(subject=subject).count() == 1
                    ticket.delete()

    threads = [_thread(both) for _ in range(4)]
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    assert Ticket.objects.count() <= 1
    assert called


def test_who_queues_does_not_wait_for_who_gives_out_turns(committed_team: Team) -> None:
    with in_schema(PUBLIC):
        TeamShare.objects.exclude(team=committed_team).update(last_start=50)
    with transaction.atomic():
        TeamShare.objects.select_for_update(no_key=True).get(team=committed_team)
        thread = _thread(lambda: turns.queue("node", uuid4()))
        thread.join(20)
        assert not thread.is_alive()
    assert Ticket.objects.count() == 1
    TeamShare.objects.update(virtual_time=0, last_start=0)
