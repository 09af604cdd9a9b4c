"""Dramatiq's Redis broker with a bell: an idle worker is woken by a message, where Dramatiq's own asks again and again.

Dramatiq looks for messages in steps of up to a second, so a hint waits half of one; looking more often costs each idle
worker its share of a processor. Here who sends a message rings, and who is idle waits for the bell in Redis.
"""

import time
from typing import Any

import redis
from dramatiq.brokers.redis import RedisBroker, _RedisConsumer
from dramatiq.common import dq_name
from dramatiq.errors import ConnectionClosed
from dramatiq.message import Message

RINGS = 64
"""Rings that are kept when nobody is idle; each of them costs somebody one look that finds nothing."""
FULL_SECONDS = 0.01
"""How long a worker that may take no more messages rests until it looks whether one is done."""


class BellBroker(RedisBroker):
    """The broker of settings. Its options are those of Dramatiq's."""

    @property
    def consumer_class(self) -> "type[BellConsumer]":
        """See Dramatiq."""
        return BellConsumer

    def enqueue(self, message: Message[Any], *, delay: int | None = None) -> Message[Any]:
        """See Dramatiq. Raises redis.RedisError."""
        sent: Message[Any] = super().enqueue(message, delay=delay)
        self.ring(dq_name(message.queue_name) if delay is not None else message.queue_name)
        return sent

    def ring(self, queue: str) -> None:
        """Wake one who waits for messages of a queue."""
        bell = self._bell(queue)
        with self.client.pipeline(transaction=False) as pipeline:
            pipeline.lpush(bell, "")
            pipeline.ltrim(bell, 0, RINGS - 1)
            pipeline.execute()

    def listen(self, queue: str, seconds: float) -> None:
        """Wait for the bell of a queue, at most so long."""
        self.client.blpop([self._bell(queue)], timeout=seconds)

    def _bell(self, queue: str) -> str:
        return f"{self.namespace}:{queue}.bell"


class BellConsumer(_RedisConsumer):
    """Waits for the bell where Dramatiq's consumer sleeps."""

    def __init__(self, broker: BellBroker, queue_name: str, prefetch: int, timeout: int) -> None:
        super().__init__(broker, queue_name, prefetch, 0)  # it sleeps 0 ms
        self.seconds = timeout / 1000

    def __next__(self) -> Any:
        """A message, or None when there was none in time: then the worker attends to what else there is."""
        if (message := super().__next__()) is not None:
            return message
        if self.outstanding_message_count >= self.prefetch:
            time.sleep(FULL_SECONDS)  # the bell is for others
            return None
        try:
            self.broker.listen(self.queue_name, self.seconds)
        except redis.ConnectionError as error:
            raise ConnectionClosed(error) from None
        return None
