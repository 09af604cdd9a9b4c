"""Following Redis Streams by one connection: what is added comes at once and in order, and no task is woken for it."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from uuid import uuid4

import pytest
from django.conf import settings
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError

from sessions.tail import Entries, Tail, tail

Heard = list[tuple[bytes, int]]


class Follower:
    """Keeps what it is handed until there is as much as it wants; then it leaves the rest to whoever waits."""

    def __init__(self, *keys: bytes, enough: int) -> None:
        self.cursors = dict.fromkeys(keys, 0)
        self.heard: Heard = []
        self.tasks: set[object] = set()
        self._enough = enough

    def ask(self) -> dict[bytes, int]:
        """What it has heard so far."""
        return self.cursors

    def take(self, entries: Entries) -> bool:
        """All of it, in order."""
        self.tasks.add(asyncio.current_task())
        for key, found in entries:
            for entry in found:
                self.cursors[key] = int(entry[0].partition(b"-")[0])
                self.heard.append((key, self.cursors[key]))
        return len(self.heard) < self._enough


@pytest.fixture
def keys() -> tuple[bytes, bytes]:
    """Of two streams that do not exist yet."""
    return f"test:{uuid4()}".encode(), f"test:{uuid4()}".encode()


def run(watch: Callable[[Redis, Tail], Awaitable[None]]) -> None:
    """With a client to add by, and a connection that follows."""

    async def connected() -> None:
        async with (
            asyncio.timeout(20),
            Redis.from_url(settings.STREAM_URL, protocol=2) as client,
            tail(client, wait=0.2, patience=5) as following,
        ):
            await watch(client, following)

    asyncio.run(connected())


async def add(client: Redis, key: bytes, positions: Sequence[int]) -> None:
    for position in positions:
        await client.xadd(key, {"subject": "team", "event": position}, id=f"{position}-0")


def test_what_is_added_comes_in_order_and_wakes_no_task_until_some_is_left(keys: tuple[bytes, bytes]) -> None:
    one, other = keys

    async def watch(client: Redis, following: Tail) -> None:
        follower = Follower(one, other, enough=700)
        waiting = asyncio.create_task(following.follow(follower.ask, follower.take))
        await add(client, one, range(1, 600))
        await add(client, other, range(1, 102))
        left = await waiting
        key, found = left[-1]
        assert key == other
        assert [(name, words) for name, words in found] == [(b"101-0", [b"subject", b"team", b"event", b"101"])]
        assert [position for key, position in follower.heard if key == one] == list(range(1, 600))
        assert [position for key, position in follower.heard if key == other] == list(range(1, 102))
        assert follower.tasks == {None}
        await client.delete(one, other)

    run(watch)


def test_when_nothing_is_added_the_answer_is_empty(keys: tuple[bytes, bytes]) -> None:
    async def watch(client: Redis, following: Tail) -> None:
        assert await following.follow(lambda: dict.fromkeys(keys, 7), lambda entries: bool(entries)) == []

    run(watch)


def test_what_goes_wrong_is_raised_where_somebody_waits(keys: tuple[bytes, bytes]) -> None:
    def fail(entries: Entries) -> bool:
        raise ZeroDivisionError

    async def watch(client: Redis, following: Tail) -> None:
        await client.set(keys[0], "no stream", ex=60)
        with pytest.raises(ResponseError, match="WRONGTYPE"):
            await following.follow(lambda: {keys[0]: 0}, bool)
        with pytest.raises(ZeroDivisionError):
            await following.follow(lambda: {keys[1]: 0}, fail)

    run(watch)


def test_a_connection_that_is_cut_is_told_and_asks_no_more(keys: tuple[bytes, bytes]) -> None:
    async def watch(client: Redis, following: Tail) -> None:
        waiting = asyncio.create_task(following.follow(lambda: {keys[0]: 0}, lambda entries: True))
        await asyncio.sleep(0.05)
        host, port = following._transport.get_extra_info("sockname")
        await client.client_kill_filter(addr=f"{host}:{port}")
        with pytest.raises(RedisConnectionError):
            await waiting
        with pytest.raises(RedisConnectionError):
            await following.follow(lambda: {keys[0]: 0}, lambda entries: True)

    run(watch)
