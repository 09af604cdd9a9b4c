"""Fair shares over teams: start-time fair queueing, on real Postgres."""

import threading
from collections import Counter
from uuid import uuid4

import pytest
from django.db import connection, transaction

from tenants import turns
from tenants.context import PUBLIC, in_schema
from tenants.models import Placement, Runner, Team, TeamShare, Ticket
from tests.turn_stage import backlog, make_runner, make_team, place, queue, take, turns_until


@pytest.fixture
def runner(db: None) -> Runner:
    return make_runner()


def served(runner: Runner, count: int) -> Counter[object]:
    return Counter(take(runner) for _ in range(count))


@pytest.mark.parametrize("heavy_teams", [1, 5])
def test_a_team_with_one_ticket_waits_one_round_however_much_others_have(runner: Runner, heavy_teams: int) -> None:
    heavy = [make_team(f"H{n}") for n in range(heavy_teams)]
    for team in heavy:
        backlog(team, 10_000)
    light = make_team("Light")
    for turns_before in (0, 37, 100):
        served(runner, turns_before)
        assert turns_until(light, runner) <= heavy_teams + 1 + 1  # active teams (the light one too) + 1


def test_turns_are_shared_as_the_weights_say(runner: Runner) -> None:
    weights = {make_team(f"W{weight}", weight=weight).pk: weight for weight in (1, 2, 3, 4)}
    for pk in weights:
        backlog(Team.objects.get(pk=pk), 1_000)
    got = served(runner, 1_000)
    for pk, weight in weights.items():
        assert abs(got[pk] - 1_000 * weight / 10) <= 50, got


def test_cost_counts_not_the_number_of_turns(runner: Runner) -> None:
    dear, cheap = make_team("Dear"), make_team("Cheap")
    backlog(dear, 1_000)
    backlog(cheap, 1_000)
    Ticket.objects.filter(team=dear).update(cost=3)
    got = served(runner, 800)
    assert abs(got[cheap.pk] - 600) <= 30, got


def test_a_team_that_was_idle_has_earned_no_credit(runner: Runner) -> None:
    busy, idle = make_team("Busy"), make_team("Idle")
    backlog(busy, 500)
    served(runner, 400)
    backlog(idle, 500)
    got = served(runner, 100)
    assert abs(got[idle.pk] - 50) <= 1, got


def test_a_pause_of_everybody_earns_nobody_credit(runner: Runner) -> None:
    busy, other = make_team("Busy"), make_team("Other")
    backlog(busy, 100)
    assert served(runner, 101)[None] == 1
    backlog(other, 100)
    backlog(busy, 100)
    got = served(runner, 100)
    assert abs(got[other.pk] - 50) <= 2, got


def run_one(runner: Runner, seconds: dict[object, float]) -> object:
    """One turn and its end, after as many seconds on the runner as this team's work takes."""
    ticket = turns.next_ticket(runner)
    assert ticket is not None
    execution = place(ticket.team, runner)
    turns.charge(ticket, runner, execution)
    ticket.delete()
    turns.leave(execution, seconds=seconds[ticket.team_id])
    return ticket.team_id


def test_in_the_end_the_time_on_runners_is_shared_whatever_was_estimated(
    runner: Runner, django_capture_on_commit_callbacks: object
) -> None:
    long, short = make_team("Long"), make_team("Short")
    backlog(long, 1_000)
    backlog(short, 1_000)
    seconds: dict[object, float] = {long.pk: 120, short.pk: 30}
    got: Counter[object] = Counter()
    for _ in range(300):
        with django_capture_on_commit_callbacks(execute=True):  # type: ignore[operator]
            got[run_one(runner, seconds)] += 1
    time = {pk: got[pk] * seconds[pk] for pk in (long.pk, short.pk)}
    assert abs(time[long.pk] - time[short.pk]) <= 0.05 * sum(time.values()), time


def test_what_others_are_owed_does_not_make_a_new_team_wait(
    runner: Runner, django_capture_on_commit_callbacks: object
) -> None:
    busy, light = make_team("Busy"), make_team("Light")
    backlog(busy, 200)
    held = []
    for _ in range(16):
        ticket = turns.next_ticket(runner)
        assert ticket is not None
        held.append(place(busy, runner))
        turns.charge(ticket, runner, held[-1])
        ticket.delete()
    queue(light)
    with django_capture_on_commit_callbacks(execute=True):  # type: ignore[operator]
        for execution in held:
            turns.leave(execution, seconds=1)
    assert TeamShare.objects.get(team=busy).credit > 5
    assert light.pk in (take(runner), take(runner))


def test_several_who_give_out_turns_at_once_never_exceed_a_cap(committed_team: Team) -> None:
    with in_schema(PUBLIC):
        other = Team.objects.get(domains__slug="globex")
        caps = {committed_team.pk: 5, other.pk: 3}
        for team in (committed_team, other):
            TeamShare.objects.filter(team=team).update(cap=caps[team.pk])
            backlog(team, 150)
        runner = make_runner()
    seen: list[tuple[object, int]] = []
    faults: list[BaseException] = []

    def give() -> None:
        try:
            for _ in range(60):
                with transaction.atomic():
                    ticket = turns.next_ticket(runner)
                    if ticket is not None:
                        Placement.objects.create(execution=uuid4(), team=ticket.team, runner=runner, kind="work")
                        seen.append((ticket.team_id, Placement.objects.filter(team=ticket.team).count()))
                        ticket.delete()
                if ticket is None:
                    with transaction.atomic():
                        over = Placement.objects.select_for_update(skip_locked=True).first()
                        if over is not None:
                            over.delete()
        except BaseException as error:
            faults.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=give) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(100)
    TeamShare.objects.update(cap=16)
    assert not faults, faults
    most = {pk: max(count for team, count in seen if team == pk) for pk in caps}
    assert all(most[pk] <= cap for pk, cap in caps.items()), "more at once than a team may have"
    for pk, cap in caps.items():
        assert Placement.objects.filter(team=pk).count() <= cap
