"""Dramatiq messages keep their team and trace."""

from collections.abc import Callable, Iterator
from typing import Any

import dramatiq
import pytest
from django.db import transaction
from dramatiq import Message, MessageProxy
from dramatiq.brokers.stub import StubBroker
from dramatiq.middleware import MiddlewareError, SkipMessage

from tenants.context import PUBLIC, connection, current_schema, in_schema
from tenants.messages import TeamContext, send_on_commit
from tenants.models import Team
from tenants.trace import begin_trace, current_trace


@pytest.fixture
def seen() -> list[tuple[str, str, str]]:
    return []


@pytest.fixture
def note(broker: StubBroker, seen: list[tuple[str, str, str]]) -> Iterator[dramatiq.Actor[..., Any]]:
    """An actor that notes the schema, scope and trace in which it runs."""

    def note() -> None:
        seen.append((connection.schema_name, current_schema(), current_trace()))

    yield dramatiq.actor(broker=broker, actor_name="note")(note)
    del broker.actors["note"]


def middleware(broker: StubBroker) -> TeamContext:
    return next(each for each in broker.middleware if isinstance(each, TeamContext))


def test_an_actor_runs_for_the_team_and_trace_that_sent_it(
    acme: Team, note: dramatiq.Actor[..., Any], seen: list[tuple[str, str, str]], drain: Callable[[], int]
) -> None:
    trace = begin_trace()
    with in_schema(acme.schema_name):
        note.send()
    begin_trace()
    assert drain() == 1
    assert seen == [(acme.schema_name, acme.schema_name, trace)]
    assert current_schema() == connection.schema_name == PUBLIC


def test_a_message_that_is_enqueued_again_by_a_worker_keeps_its_team(
    acme: Team, broker: StubBroker, note: dramatiq.Actor[..., Any]
) -> None:
    with in_schema(acme.schema_name):
        message = note.send()
    # Delayed and retried messages are enqueued by a thread that sits on public.
    middleware(broker).before_enqueue(broker, message, None)
    assert message.options["schema"] == acme.schema_name


def test_what_is_sent_on_commit_belongs_to_the_team_of_the_line_and_not_of_the_commit(
    acme: Team,
    globex: Team,
    note: dramatiq.Actor[..., Any],
    seen: list[tuple[str, str, str]],
    drain: Callable[[], int],
    django_capture_on_commit_callbacks: Callable[..., Any],
) -> None:
    with django_capture_on_commit_callbacks(execute=True), in_schema(globex.schema_name), transaction.atomic():
        with in_schema(acme.schema_name):
            send_on_commit(note.actor_name)
        assert drain() == 0
    drain()
    assert [schema for schema, _, _ in seen] == [acme.schema_name]


def test_a_transaction_that_is_rolled_back_sends_nothing(
    committed_team: Team, note: dramatiq.Actor[..., Any], drain: Callable[[], int]
) -> None:
    with transaction.atomic():
        send_on_commit(note.actor_name)
        transaction.set_rollback(True)
    assert drain() == 0
    send_on_commit(note.actor_name)
    assert drain() == 1


def test_a_message_without_a_team_runs_nothing(
    broker: StubBroker, note: dramatiq.Actor[..., Any], seen: list[tuple[str, str, str]], drain: Callable[[], int]
) -> None:
    """Dramatiq logs any other error of a middleware and runs the actor all the same."""
    note.send()
    queue = broker.queues["default"]
    message = Message.decode(queue.get())
    queue.task_done()
    options = {name: value for name, value in message.options.items() if name != "schema"}
    queue.put(message.copy(options={}).__class__(**{**message.asdict(), "options": options}).encode())
    with pytest.raises(MiddlewareError, match="names no team"):
        drain()
    assert seen == []


def test_the_worker_itself_does_not_run_a_message_without_a_team(
    broker: StubBroker,
    note: dramatiq.Actor[..., Any],
    seen: list[tuple[str, str, str]],
    caplog: pytest.LogCaptureFixture,
) -> None:
    message = note.message()
    worker = dramatiq.Worker(broker, worker_timeout=50, worker_threads=1)
    worker.start()
    try:
        # Past `enqueue`, which would stamp it.
        broker.queues["default"].put(message.encode())
        broker.queues["default"].join()
    finally:
        worker.stop()
    assert seen == []
    assert f"{message.message_id} names no team" in caplog.text


@pytest.mark.parametrize("end", ["process", "skip", "fail"])
def test_the_thread_is_back_on_public_however_a_message_ends(
    acme: Team, broker: StubBroker, note: dramatiq.Actor[..., Any], end: str
) -> None:
    with in_schema(acme.schema_name):
        message = MessageProxy(note.send())
    keeper = middleware(broker)
    keeper.before_process_message(broker, message)
    assert current_schema() == acme.schema_name
    if end == "skip":
        keeper.after_skip_message(broker, message)
    else:
        keeper.after_process_message(broker, message, exception=SkipMessage() if end == "fail" else None)
    assert current_schema() == connection.schema_name == PUBLIC


def test_hints_are_never_retried_and_end_soon(broker: StubBroker) -> None:
    assert "provision" in broker.actors
    names = {type(each).__name__ for each in broker.middleware}
    assert not names & {"Retries", "Results", "AdminMiddleware", "AsyncIO"}
    for name, actor in broker.actors.items():
        assert actor.options.get("time_limit"), name
