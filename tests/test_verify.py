"""`manage.py verify`: each invariant is seen to be violated, alone, when somebody's hand breaks it in the database."""

import json
import threading
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from django.core.management import CommandError, call_command
from django.db import connection, transaction
from django.test import Client

from agents.models import Execution
from sessions.events import publish
from sessions.models import Event
from swarms import goals
from swarms.models import Approval, Attempt, CheckRun, Goal, Merge, Node, Plan, Project, Swarm
from swarms.verify import fold, hourly, metrics, telling
from swarms.verify.registry import ALL
from swarms.verify.run import Report, Scope, verify
from tenants import turns
from tenants.context import in_schema
from tenants.models import Team, Ticket
from tests.broken import BREAKS, PLAN, TABLES, Halting, Scene, retell, sql, worker
from tests.conftest import user_of
from tests.test_races import project_of


@pytest.fixture
def scene(team: Team, settings: Any, tmp_path: Path, broker: object) -> Scene:
    settings.DATA_DIR, settings.LOCAL_SOURCES = tmp_path / "data", True
    project, by = project_of("acme", tmp_path / "source"), user_of("alice", "acme")
    hands = Halting(team, PLAN, worker, by=by)
    done = goals.state_goal(project, "Done", by=by)
    hands.run(done)
    assert done.state == "succeeded", done.because
    hands.runner.capacity, hands.halts = 1, True
    hands.runner.save()
    live = goals.state_goal(project, "Live", by=by)
    hands.run(live, approve=False)
    hands.approve_all()
    hands.run(live, approve=False)
    states = dict(Node.objects.filter(swarm=live).values_list("key", "state"))
    assert states == {"a": "succeeded", "b": "running", "c": "ready", "d": "blocked", "h": "awaiting_approval"}
    return Scene(team, done, live)


def test_every_invariant_is_seen_to_be_violated_when_it_is_broken_and_no_other(
    scene: Scene, subtests: pytest.Subtests
) -> None:
    assert look(scene.team, replay=True, git=True) == set()
    sql("SET CONSTRAINTS ALL IMMEDIATE")
    for table in TABLES:
        sql(f"ALTER TABLE {table} DISABLE TRIGGER USER")
    assert BREAKS.keys() == {invariant.name for invariant in ALL}
    for name, (hand, wrong) in BREAKS.items():
        with subtests.test(name), transaction.atomic():
            hand(scene)
            sql("SET CONSTRAINTS ALL IMMEDIATE")
            assert look(scene.team) == wrong
            transaction.set_rollback(True)
    with subtests.test("replay"), transaction.atomic():
        retell(scene, "succeeded", before="verifying")
        assert look(scene.team, replay=True) == {"moves_join", "replay"}
        assert look(scene.team, replay=True, swarm=scene.live.pk) == set()
        transaction.set_rollback(True)
    for statement in (
        "UPDATE swarms_plan SET document = jsonb_set(document, '{acceptance}', '[]') || '{\"summary\": \"\"}'",
        "UPDATE swarms_approval SET subject = '{}' WHERE state = 'pending'",
    ):
        with subtests.test(statement), transaction.atomic():
            sql(statement)
            assert look(scene.team) == {"hash_says_so"}
            transaction.set_rollback(True)
    for statement in (
        "UPDATE public.tenants_ticket SET not_before = now() + interval '2 days'",
        "UPDATE agents_execution SET lease_until = now() + interval '2 hours' WHERE ended_at IS NULL",
    ):
        with subtests.test(statement), transaction.atomic():
            sql(statement)
            assert look(scene.team) == {"looked_at_in_time"}
            transaction.set_rollback(True)
    for statement, names in (
        ("UPDATE swarms_node SET commit = '1' WHERE state = 'running'", {"says_when_done"}),
        ("UPDATE agents_execution SET spent_microusd = 9 WHERE ended_at IS NOT NULL", {"calls_are_booked"}),
        ("UPDATE agents_execution SET held_microusd = 9 WHERE ended_at IS NULL", {"calls_are_booked"}),
    ):
        with subtests.test(statement), transaction.atomic():
            sql(statement)
            assert look(scene.team) == names
            transaction.set_rollback(True)
    with subtests.test("nothing that is wrong hides the rest"), transaction.atomic():
        sql("""UPDATE agents_execution SET budgets = '{"a": 1}'""")
        sql("UPDATE swarms_node SET failures = 9 WHERE id = %s", scene.node("d").pk)
        assert look(scene.team) == {"attempts_bounded"}
        transaction.set_rollback(True)
    with subtests.test("git"), transaction.atomic():
        sql("UPDATE swarms_swarm SET integration_commit = %s WHERE id = %s", "0" * 40, scene.live.pk)
        assert look(scene.team, git=True) == {"git_head", "branch_is_merges"}
        transaction.set_rollback(True)
    assert look(scene.team) == set()


@pytest.fixture
def two(team: Team) -> tuple[Swarm, Swarm]:
    """Two swarms with a node each, of which the second counts parents that it does not have."""
    by = user_of("alice", "acme")
    project = Project.objects.create(slug="p", name="P", source="/nowhere", created_by=by)
    made = []
    for number in (1, 2):
        goal = Goal.objects.create(project=project, number=number, text="x", created_by=by)
        swarm = Swarm.objects.create(project=project, goal=goal, number=number, base_commit="")
        plan = Plan.objects.create(swarm=swarm, version=1, source="yaml")
        turns.queue("plan", plan.pk)
        Node.objects.create(swarm=swarm, plan=plan, key="d", parents=2 * (number - 1), failures=0)
        made.append(swarm)
    return made[0], made[1]


def look(team: Team, **scope: Any) -> set[str]:
    """Names of the invariants that do not hold."""
    report = verify([("acme", team.schema_name)], Scope(**scope))
    assert {each.invariant for each in report.violations} == {name for name, n in report.counts.items() if n}
    return {name for name, count in report.counts.items() if count}


def test_one_swarm_can_be_looked_at_alone(team: Team, two: tuple[Swarm, Swarm]) -> None:
    right, wrong = two
    assert look(team) == {"edge_counts"}
    assert look(team, swarm=wrong.pk, replay=True) == {"edge_counts"}
    assert look(team, swarm=right.pk, replay=True) == set()


def test_the_command_ends_with_0_1_or_2_and_tells_people_and_programs(team: Team, two: tuple[Swarm, Swarm]) -> None:
    right, wrong = two
    out = StringIO()
    call_command("verify", swarm=right.pk, stdout=out)
    assert out.getvalue().startswith("Every invariant holds: ")
    out = StringIO()
    with pytest.raises(SystemExit, match="1"):
        call_command("verify", team="acme", stdout=out)
    assert "d counts 2 parents, 0 open, 0 satisfied; its edges are 0, 0, 0" in out.getvalue()
    assert str(wrong.nodes.get().pk) in out.getvalue()
    out = StringIO()
    with pytest.raises(SystemExit, match="1"):
        call_command("verify", "--json", stdout=out)
    found = json.loads(out.getvalue())
    assert {name: count for name, count in found["counts"].items() if count} == {"edge_counts": 1}
    (violation,) = found["violations"]
    assert (violation["team"], violation["swarm"]) == ("acme", str(wrong.pk))
    for words in ({"team": "nobody"}, {"swarm": UUID(int=0)}, {"swarm": ""}):
        with pytest.raises(CommandError) as refused:
            call_command("verify", **words)
        assert refused.value.returncode == 2


def test_all_are_counted_though_few_are_told(team: Team, two: tuple[Swarm, Swarm]) -> None:
    Node.objects.update(failures=9)
    report = verify([("acme", team.schema_name)], Scope(most=1))
    assert report.counts["attempts_bounded"] == 2
    assert [each.invariant for each in report.violations].count("attempts_bounded") == 1


def test_the_last_look_of_the_clock_is_in_the_metrics(
    team: Team, two: tuple[Swarm, Swarm], client_for: Callable[..., Client]
) -> None:
    report = hourly.look()
    assert report is not None
    assert not report.is_clean
    shown = client_for().get("/metrics").content.decode()
    assert 'waggle_violations{invariant="edge_counts"} 1.0' in shown
    assert 'waggle_violations{invariant="one_success"} 0.0' in shown
    assert "waggle_verify_seconds " in shown
    with metrics._client() as client:
        client.delete(metrics.KEY)
    assert "waggle_violations" not in client_for().get("/metrics").content.decode()


@pytest.fixture
def counting(committed_team: Team) -> Callable[[], None]:
    """Writes an event, with its number, in a transaction of its own, in the thread that calls it."""

    def write() -> None:
        with in_schema(committed_team.schema_name), transaction.atomic():
            publish("team", "decision.made", by="engine", what="x", why="y")

    return write


def test_a_team_that_is_busy_shows_no_false_violation(committed_team: Team, counting: Callable[[], None]) -> None:
    over = threading.Event()

    def work() -> None:
        while not over.is_set():
            counting()
        connection.close()

    busy = threading.Thread(target=work)
    busy.start()
    try:
        reports: list[Report] = []
        while len(reports) < 5 or Event.objects.count() <= 5:
            reports.append(verify([("acme", committed_team.schema_name)], Scope(replay=True)))
    finally:
        over.set()
        busy.join()
    assert {report.violations for report in reports} == {()}


def test_what_may_lag_is_looked_at_again_before_it_counts(committed_team: Team) -> None:
    def ticket(number: int) -> None:
        turns.queue("node", UUID(int=number))

    def late() -> None:
        Ticket.objects.filter(subject=UUID(int=1)).delete()
        connection.close()

    ticket(1)
    mended = threading.Timer(1, late)
    mended.start()
    assert verify([("acme", committed_team.schema_name)], Scope(settle=4)).counts["ticket_is_wanted"] == 0
    mended.join()
    ticket(2)
    assert verify([("acme", committed_team.schema_name)], Scope(settle=0.2)).counts["ticket_is_wanted"] == 1


def test_rows_are_made_in_the_state_in_which_their_story_begins() -> None:
    for model in (Swarm, Plan, Node, Attempt, CheckRun, Merge, Approval, Execution):
        assert telling.START[model.NOUN] == model._meta.get_field("state").default
        assert telling.TABLES[model.NOUN][0] == model._meta.db_table


def test_the_fold_follows_moves_in_order_and_names_what_does_not_join() -> None:
    told = [
        *fold.moves("node.moved", {"id": "1", "before": "blocked", "after": "ready"}),
        *fold.moves("nodes.moved", {"moves": [{"noun": "node", "id": "1", "before": "ready", "after": "running"}]}),
        *fold.moves("decision.made", {"by": "engine"}),
        *fold.moves("node.moved", {"id": "2", "before": "ready", "after": "failed"}),
    ]
    states, faults = fold.fold(told, {"node": "blocked"})
    assert states == {("node", "1"): "running", ("node", "2"): "failed"}
    assert faults == ["node 2: an event moves it from ready, but it was blocked"]
    rows = {("node", "1"): "running", ("node", "2"): "ready", ("node", "3"): "blocked"}
    assert [row for row, _ in fold.differences(states, rows, {"node": "blocked"})] == [("node", "2")]
