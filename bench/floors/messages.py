"""What the workers of raw Dramatiq load: a message for each node, and a counter for what it still waits for.

As users of Dramatiq would write it: the standard broker with its standard middleware and settings.
"""

import json
import os
import time
from functools import cache
from typing import Any

import dramatiq
import redis
from dramatiq.brokers.redis import RedisBroker

DATABASE = 3
"""Of Redis, beside the platform's own."""
URL = f"{os.environ['REDIS_URL'].rstrip('/')}/{DATABASE}"
broker = RedisBroker(url=URL)
client: Any = redis.Redis.from_url(URL)


@cache
def children(run: str) -> dict[str, list[int]]:
    """The DAG of a run: each worker reads it once."""
    found: dict[str, list[int]] = json.loads(client.get(f"{run}:children"))
    return found


@dramatiq.actor(broker=broker, queue_name="counters")
def node(run: str, number: int) -> None:
    """Does nothing; counts down what waits for it, and sends what waits no longer."""
    began = time.time()
    waiting = children(run).get(str(number), [])
    ended = time.time()
    with client.pipeline(transaction=False) as pipeline:
        pipeline.hset(f"{run}:times", str(number), f"{began} {ended}")
        for child in waiting:
            pipeline.hincrby(f"{run}:left", str(child), -1)
        left = pipeline.execute()[1:]
    for child, count in zip(waiting, left, strict=True):
        if count == 0:
            node.send(run, child)
