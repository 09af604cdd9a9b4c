"""The least that serves the same events: a Starlette application that reads a team's Redis Stream and passes it on.

No sign-in, no replay, no limits, no gaps filled: what any stream of events over HTTP costs at least in Python. It sends
the same bytes of an event as the platform does.
"""

import asyncio
import os
from collections import defaultdict
from collections.abc import AsyncIterator
from typing import Any

from redis.asyncio import Redis
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

Queue = asyncio.Queue[bytes]
_queues: defaultdict[str, set[Queue]] = defaultdict(set)
_tasks: list[asyncio.Task[None]] = []


async def _tail() -> None:
    client = Redis.from_url(os.environ["FLOOR_REDIS"], socket_timeout=None, protocol=2)
    cursors = dict.fromkeys(os.environ["FLOOR_STREAMS"].split(), "$")
    while True:
        # redis-py types answers for every protocol at once; with RESP2 it is a list of pairs.
        answer: Any = await client.xread(cursors, block=1000, count=500)  # type: ignore[arg-type]
        for key, entries in answer or []:
            for position, entry in entries:
                cursors[key.decode()] = position.decode()
                _hand_out(position, entry)


def _hand_out(position: bytes, entry: dict[bytes, bytes]) -> None:
    topic = entry[b"subject"].decode()
    data = b"event: change\nid: %s\ndata: %s\n\n" % (position, entry[b"event"])
    for queue in _queues[topic]:
        queue.put_nowait(data)


async def _chunks(topic: str) -> AsyncIterator[bytes]:
    queue: Queue = Queue()
    _queues[topic].add(queue)
    try:
        yield b": hello\n\n"
        while True:
            yield await queue.get()
    finally:
        _queues[topic].discard(queue)


async def events(request: Request) -> Response:
    """A stream."""
    if not _tasks:
        _tasks.append(asyncio.create_task(_tail()))
    return StreamingResponse(_chunks(request.query_params["topic"]), media_type="text/event-stream")


async def livez(request: Request) -> Response:
    """It is up."""
    return PlainTextResponse("ok")


application = Starlette(routes=[Route("/events", events), Route("/livez", livez)])
