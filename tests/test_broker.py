"""Workers are woken by messages: against the real Redis."""

import threading
import time
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
from django.conf import settings
from dramatiq.errors import ConnectionClosed
from dramatiq.message import Message

from tenants.broker import RINGS, BellBroker
from tests.web import free_port, until

pytestmark = pytest.mark.timeout(60)
LONG = 600_000
"""Milliseconds that nobody waits for here: who is not woken fails by the time limit of the test."""


@pytest.fixture
def bells() -> Iterator[BellBroker]:
    made = BellBroker(url=settings.BROKER_URL, namespace=f"test-{uuid4()}")
    made.declare_queue("default")
    yield made
    made.client.delete(*made.client.keys(f"{made.namespace}*"))
    made.client.close()


def message(queue: str = "default") -> Message[Any]:
    return Message(queue_name=queue, actor_name="note", args=(), kwargs={}, options={})


def taken(consumer: Any) -> Any:
    """The next message, however long it takes."""
    while (found := next(consumer)) is None:
        pass
    return found


def test_who_is_idle_is_woken_by_a_message(bells: BellBroker) -> None:
    consumer = bells.consume("default", timeout=LONG)
    sent: list[Message[Any]] = []

    def send() -> None:
        time.sleep(0.5)
        sent.append(bells.enqueue(message()))

    sender = threading.Thread(target=send)
    sender.start()
    found = taken(consumer)
    sender.join()
    assert found.message_id == sent[0].message_id
    consumer.ack(found)


def test_each_message_wakes_one_more_worker(bells: BellBroker) -> None:
    found: list[Any] = []
    idle = [
        threading.Thread(target=lambda: found.append(taken(bells.consume("default", timeout=LONG)))) for _ in range(3)
    ]
    for thread in idle:
        thread.start()
    until(lambda: bells.client.info("clients")["blocked_clients"] >= 3)
    for _ in idle:
        bells.enqueue(message())
    for thread in idle:
        thread.join()
    assert len({one.message_id for one in found}) == 3


def test_who_may_take_no_more_leaves_the_bell_to_others(bells: BellBroker) -> None:
    full, other = bells.consume("default", prefetch=1, timeout=LONG), bells.consume("default", timeout=LONG)
    bells.enqueue(message())
    taken(full)
    bells.client.delete(f"{bells.namespace}:default.bell")
    bells.enqueue(message())
    assert [next(full) for _ in range(20)] == [None] * 20
    assert taken(other)


def test_a_delayed_message_wakes_those_who_wait_for_its_time(bells: BellBroker) -> None:
    bells.enqueue(message(), delay=1)
    assert taken(bells.consume("default.DQ", timeout=LONG))


def test_rings_that_nobody_hears_do_not_pile_up(bells: BellBroker) -> None:
    for _ in range(RINGS + 10):
        bells.ring("default")
    assert bells.client.llen(f"{bells.namespace}:default.bell") == RINGS


def test_without_redis_a_worker_is_told_that_its_connection_is_closed() -> None:
    away = BellBroker(url=f"redis://127.0.0.1:{free_port()}/1")
    with pytest.raises(ConnectionClosed):
        next(away.consume("default", timeout=LONG))
