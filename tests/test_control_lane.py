"""Who serves the control lane: by whatever comes first, beside others, and without rest while something waits."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from uuid import UUID

import dramatiq
import pytest
from django.db import connection, transaction
from django.utils import timezone

from agents.contracts import PlanNode, PlanProposal
from swarms import actors, control, orphans, sweep
from swarms.models import Attempt, Node, Swarm
from tenants.context import in_schema
from tenants.models import Team, Ticket
from tests.milestones import adopted, proposed

pytestmark = pytest.mark.usefixtures("broker")


def chain(nodes: int) -> PlanProposal:
    keys = [f"n{number}" for number in range(nodes)]
    return PlanProposal(
        summary="s",
        nodes=tuple(
            PlanNode(key=key, title=key, kind="noop", depends_on=tuple(keys[place - 1 : place]))
            for place, key in enumerate(keys)
        ),
    )


def wide(nodes: int) -> PlanProposal:
    keys = [f"n{number}" for number in range(nodes)]
    return PlanProposal(summary="s", nodes=tuple(PlanNode(key=key, title=key, kind="noop") for key in keys))


def is_done(swarm: Swarm) -> bool:
    return set(Node.objects.filter(swarm=swarm).values_list("state", flat=True)) == {"succeeded"}


def serve(schema: str) -> int:
    """In a thread of its own."""
    try:
        with in_schema(schema):
            return control.serve()
    finally:
        connection.close()


def test_a_sweep_goes_through_nodes_and_tickets_a_slice_at_a_time(team: Team, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(3):
        adopted(wide(3))
    Ticket.objects.all().delete()
    monkeypatch.setattr(orphans, "SLICE", 2)
    broom = sweep.Sweep()
    assert [broom.look(team.pk).get("ready node without a ticket", 0) for _ in range(6)] == [2, 2, 2, 2, 1, 0]
    assert set(Ticket.objects.values_list("subject", flat=True)) == set(Node.objects.values_list("pk", flat=True))
    Ticket.objects.all().delete()
    for number in range(5):
        Ticket.objects.create(team=team, kind="node", subject=UUID(int=number + 1), lane="control")
    broom = sweep.Sweep()
    found = [broom.look(team.pk).get("ticket of a node that is not ready", 0) for _ in range(4)]
    assert found == [2, 2, 1, 0]


def test_what_a_decision_made_ready_is_served_with_it(team: Team) -> None:
    swarm = proposed(chain(3))
    actors.advance(str(swarm.pk))
    assert is_done(swarm)


def test_who_looks_whose_turn_it_is_does_not_put_anybody_off(committed_team: Team) -> None:
    """Looking locks a ticket for a moment: who serves the swarm meanwhile waits for it, and does not pass it over."""
    swarm = adopted(chain(3))
    with ThreadPoolExecutor(1) as pool:
        with transaction.atomic():
            assert len(Ticket.objects.select_for_update().filter(swarm=swarm.pk)) == 1
            serving = pool.submit(lambda: _claim(committed_team.schema_name, swarm))
            time.sleep(0.3)
            assert not serving.done()
        assert serving.result() == 1


def _claim(schema: str, swarm: Swarm) -> int:
    try:
        with in_schema(schema), connection.cursor() as cursor:
            return len(control.step(cursor, swarm.pk, [], claim=1).claimed)
    finally:
        connection.close()


def test_those_who_serve_at_once_leave_nothing_for_later(committed_team: Team) -> None:
    for _ in range(10):
        swarms = [adopted(chain(4)) for _ in range(3)]
        start = threading.Barrier(4)

        def together(start: threading.Barrier = start) -> int:
            start.wait()
            return serve(committed_team.schema_name)

        with ThreadPoolExecutor(4) as pool:
            counts = [one.result() for one in [pool.submit(together) for _ in range(4)]]
        assert sum(counts) == 12, counts
        assert all(is_done(swarm) for swarm in swarms)
        dramatiq.get_broker().flush_all()


def test_what_a_dead_worker_claimed_is_all_given_out_again_however_busy_its_swarm_is(committed_team: Team) -> None:
    """Whoever gets the first of it holds the swarm again and again: nothing waits for a later look because of that."""
    nodes = 60
    swarm = adopted(
        PlanProposal(summary="s", nodes=tuple(PlanNode(key=f"n{n}", title="m", kind="noop") for n in range(nodes)))
    )
    with connection.cursor() as cursor:
        assert len(control.step(cursor, swarm.pk, [], claim=nodes).claimed) == nodes
    Attempt.objects.update(lease_until=timezone.now() - timedelta(seconds=1))
    busy, over = threading.Event(), threading.Event()

    def works() -> None:
        try:
            with in_schema(committed_team.schema_name):
                while not over.is_set():
                    with transaction.atomic():
                        Swarm.objects.select_for_update(no_key=True).get(pk=swarm.pk)
                        busy.set()
                        time.sleep(0.3)
        finally:
            connection.close()

    with ThreadPoolExecutor(1) as pool:
        working = pool.submit(works)
        assert busy.wait(10)
        sweep.lose_silent(swarm.pk)
        over.set()
        working.result()
    assert list(Attempt.objects.values_list("state", flat=True)) == ["lost"] * nodes
    assert Ticket.objects.filter(swarm=swarm.pk, lane="control").count() == nodes
