"""Heartbeats, clocks and reports that meet: threads on committed rows."""

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from channels.testing import WebsocketCommunicator
from django.db import connection, transaction
from django.utils import timezone

from agents import budgets, executions, runners, timeouts
from agents.consumers import RunnerConsumer
from agents.contracts import Assignment, FailureOutcome, FailureReason
from agents.contracts.link import PROTOCOL, TAKEN, Beat, Heartbeat, Hello, Order, Verdicts
from agents.models import Execution
from swarms import goals, operations
from swarms.budgets import set_limit
from swarms.models import Attempt, Node, Project, Swarm
from swarms.sweep import Sweep
from tenants import tokens
from tenants.context import current_schema, in_schema
from tenants.models import Runner, Team, Ticket
from tests.invariants import violations
from tests.money_stage import spend
from tests.test_timeouts import Holding, age, source_project

PATIENCE = 20


@pytest.fixture
def hands(committed_team: Team, settings: Any, tmp_path: Path, broker: object) -> Iterator[Holding]:
    source_project(settings, tmp_path)
    yield Holding(committed_team)
    assert violations(current_schema()) == []


@pytest.fixture
def swarm(hands: Holding) -> Swarm:
    Project.objects.update(max_attempts=50)
    made = goals.state_goal(Project.objects.get(), "Write the file", by=hands.by)
    hands.run(made)
    assert len(hands.held) == 1
    return made


def elsewhere(schema: str, verb: Callable[[], Any]) -> Any:
    """Run in this thread's own connection."""
    try:
        with in_schema(schema):
            return verb()
    finally:
        connection.close()


def test_a_heartbeat_neither_waits_for_a_report_that_comes_in_nor_calls_it_stale(swarm: Swarm, hands: Holding) -> None:
    held, schema = hands.held[0], current_schema()
    said = [Beat(execution=held.execution, fence=held.fence, progress=4)]
    with ThreadPoolExecutor(1) as pool, transaction.atomic():
        Execution.objects.select_for_update().get(pk=held.execution)
        orders = pool.submit(elsewhere, schema, lambda: runners.beats(hands.runner.pk, said)).result(PATIENCE)
        assert orders == {held.execution: Order(verdict="continue")}
        assert Execution.objects.get(pk=held.execution).progress == 0
    assert runners.beats(hands.runner.pk, said) == {held.execution: Order(verdict="continue")}
    assert Execution.objects.get(pk=held.execution).progress == 4


def report(held: Assignment) -> bool:
    """The agent gave up."""
    failed = FailureOutcome(reason=FailureReason.AGENT_ERROR, message="gave up")
    return executions.settle(held.execution, held.fence, failed) == []


def test_of_a_stall_and_a_report_at_the_same_moment_one_counts(swarm: Swarm, hands: Holding) -> None:
    schema, seen = current_schema(), set()
    for number in range(1, 9):
        held = hands.held[-1]
        age(held, progress_at=timedelta(hours=1), deadline_at=timedelta(hours=1))
        barrier = threading.Barrier(4)

        def at_once(verb: Callable[[], Any], barrier: threading.Barrier = barrier) -> Any:
            barrier.wait(PATIENCE)
            try:
                return bool(elsewhere(schema, verb))
            except executions.Stale:
                return False

        verbs = [partial(verb, held.execution) for verb in (timeouts.stall, timeouts.close, executions.reap)]
        with ThreadPoolExecutor(4) as pool:
            told = pool.submit(at_once, partial(report, held))
            won = [one.result(PATIENCE) for one in [told, *(pool.submit(at_once, verb) for verb in verbs)]]
        assert sum(won) == 1, won
        seen.add(Execution.objects.get(pk=held.execution).state)
        attempts = Attempt.objects.filter(node__swarm=swarm)
        assert attempts.filter(ended_at=None).count() == 0
        assert Node.objects.get().failures == number
        assert Ticket.objects.filter(kind="node").count() == 1
        hands.again(swarm)
    assert seen <= {"failed", "stalled", "timed_out"}


def test_the_answer_says_what_may_still_be_spent_on_the_tightest_budget(swarm: Swarm, hands: Holding) -> None:
    held = hands.held[0]
    said = [Beat(execution=held.execution, fence=held.fence)]

    def left() -> int | None:
        return runners.beats(hands.runner.pk, said)[held.execution].budget_left

    assert left() is None
    set_limit("team", 5_000_000)
    set_limit("project:00000000-0000-7000-8000-000000000000", 1)  # of others
    assert left() == 5_000_000
    set_limit(swarm.topic, 2_000_000)
    assert left() == 2_000_000
    assert budgets.hold(held.execution, 700_000) is None
    assert left() == 1_300_000
    with transaction.atomic():
        spend(held.execution, 100_000, held=700_000)
    assert left() == 1_900_000


def test_the_answer_says_that_the_swarm_is_paused(swarm: Swarm, hands: Holding) -> None:
    held = hands.held[0]
    said = [Beat(execution=held.execution, fence=held.fence)]
    paused = []
    for verb in (operations.pause, operations.resume):
        verb(swarm, by=hands.by)
        paused.append(runners.beats(hands.runner.pk, said)[held.execution].pause)
    assert paused == [True, False]


def test_many_heartbeats_and_cancellations_at_once_never_wait_in_a_circle(swarm: Swarm, hands: Holding) -> None:
    schema = current_schema()
    crew = [
        Runner.objects.create(name=f"r{n}", token=tokens.issue("runner")[0], capacity=50, seen_at=timezone.now())
        for n in range(4)
    ]
    made: dict[UUID, list[Execution]] = {}
    for runner in crew:
        made[runner.pk] = [
            executions.open_execution(
                kind="check",
                subject=f"checks:{uuid4()}",
                swarm=uuid4(),  # of nobody: they vanish at the end, of which no event tells
                runner=runner,
                agent="x",
                title="x",
                assignment={},
            )
            for _ in range(12)
        ]

    def beat(runner: UUID) -> set[str]:
        said = [Beat(execution=one.pk, fence=one.fence, progress=n) for n, one in enumerate(made[runner])]
        return {order.verdict for _ in range(10) for order in runners.beats(runner, reversed(said)).values()}

    def cancel() -> None:
        for some in made.values():
            with transaction.atomic():
                Execution.objects.filter(pk__in=[one.pk for one in some]).update(cancel_at=timezone.now())

    with ThreadPoolExecutor(5) as pool:
        beats = [pool.submit(elsewhere, schema, partial(beat, runner.pk)) for runner in crew]
        pool.submit(elsewhere, schema, cancel).result(PATIENCE)
        said = set().union(*(each.result(PATIENCE) for each in beats))
    assert said <= {"continue", "cancel"}
    for some in made.values():
        for one in some:
            Execution.objects.filter(pk=one.pk).delete()
    assert Sweep().look(hands.team.pk)["placement without a live execution"] == 48


def test_a_runner_whose_execution_stalls_is_told_to_stop_before_its_next_heartbeat(
    swarm: Swarm, hands: Holding
) -> None:
    held, schema = hands.held[0], current_schema()
    token, secret = tokens.issue("runner")
    Runner.objects.filter(pk=hands.runner.pk).update(token=token)
    age(held, progress_at=timedelta(hours=1))
    with ThreadPoolExecutor(1) as pool:
        # A thread of its own stands for the web process: its scope is public.
        told = pool.submit(asyncio.run, _talk(schema, secret, held)).result(4 * PATIENCE)
    assert told == [{held.execution: "continue"}, {held.execution: "stale"}, {held.execution: "stale"}]


async def _is_refused(secret: str, hello: Hello) -> None:
    """Another process comes with the token of one that is there; what it sends has a field that nobody knows, too."""
    other = WebsocketCommunicator(
        RunnerConsumer.as_asgi(), "/runner/", headers=[(b"authorization", f"Bearer {secret}".encode())]
    )
    assert (await other.connect())[0]
    said = json.loads(hello.model_copy(update={"boot": uuid4()}).model_dump_json()) | {"newer": 1}
    await other.send_to(text_data=json.dumps(said))
    closed = await other.receive_output(PATIENCE)
    assert (closed["type"], closed["code"]) == ("websocket.close", TAKEN)
    assert "Another process works with this runner's token" in closed["reason"]
    await other.wait()


async def _talk(schema: str, secret: str, held: Assignment) -> list[dict[UUID, str]]:
    """A runner that says hello, beats, is interrupted by the clock, and beats again: what it is told each time."""
    link = WebsocketCommunicator(
        RunnerConsumer.as_asgi(), "/runner/", headers=[(b"authorization", f"Bearer {secret}".encode())]
    )
    assert (await link.connect())[0]
    hello = Hello(
        name="hands",
        boot=uuid4(),
        version="1",
        protocol=PROTOCOL,
        capacity=4,
        sandbox="none",
        holding=(held.execution,),
    )
    beat = Heartbeat(executions=(Beat(execution=held.execution, fence=held.fence, progress=0),))
    told = []
    try:
        await link.send_to(text_data=hello.model_dump_json())
        assert "welcome" in await link.receive_from(PATIENCE)
        await link.send_to(text_data=beat.model_dump_json())
        told.append(await link.receive_from(PATIENCE))
        await _is_refused(secret, hello)
        await asyncio.to_thread(elsewhere, schema, partial(timeouts.stall, held.execution))
        told.append(await link.receive_from(PATIENCE))
        await link.send_to(text_data=beat.model_dump_json())
        told.append(await link.receive_from(PATIENCE))
    finally:
        await link.disconnect()
    said = [Verdicts.model_validate_json(text).executions for text in told]
    return [{execution: order.verdict for execution, order in orders.items()} for orders in said]
