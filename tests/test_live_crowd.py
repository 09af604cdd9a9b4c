"""Five hundred clients at once: gone without a word they are forgotten, at the end of a process all come back."""

import asyncio
import random
import re
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
import redis
from django.conf import settings
from django.db import connection

from sessions.events import publish_all
from sessions.relay import relay_once
from sessions.topics import stream_key
from tenants import tokens
from tenants.context import current_schema, in_schema
from tenants.models import Team
from tests.web import Web, free_port, serve, until

CLIENTS = 500
DONE = {"by": "policy", "what": "start", "why": "nothing is in its way"}


@pytest.fixture(autouse=True)
def no_stream_before(committed_team: Team) -> None:
    with redis.Redis.from_url(settings.STREAM_URL) as client:
        client.delete(stream_key(committed_team.schema_name))


@pytest.fixture
def token(committed_team: Team) -> str:
    return tokens.issue("api", team=committed_team)[1]


@pytest.fixture
def web(committed_team: Team, tmp_path: Path) -> Iterator[Web]:
    with serve("config.asgi:application", tmp_path) as running:
        yield running


def happen(count: int) -> None:
    publish_all("team", [("decision.made", DONE)] * count)
    while relay_once():
        pass


def metric(web: Web, name: str) -> float:
    with urlopen(f"http://127.0.0.1:{web.port}/metrics", timeout=30) as answer:
        found = re.search(rf"^{name} (\S+)$", answer.read().decode(), re.MULTILINE)
    assert found is not None, name
    return float(found[1])


class Client:
    """A reader that comes back by itself, as pages do."""

    def __init__(self, port: int, token: str) -> None:
        self.port, self.token = port, token
        self.heard: list[int] = []
        self.last = 0
        self.connections = 0
        self.pause = 0.0
        self.writer: asyncio.StreamWriter | None = None

    async def stay(self) -> None:
        """Listen for ever, from the last position on."""
        while True:
            with suppress(OSError):
                await self._listen()
            # What the last process said, or a moment while the next one starts.
            await asyncio.sleep(self.pause or random.uniform(0.1, 0.5))

    async def _listen(self) -> None:
        reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port)
        request = f"GET /t/acme/events?topic=team&after={self.last} HTTP/1.1\r\nHost: x\r\n"
        self.writer.write(f"{request}Authorization: Bearer {self.token}\r\n\r\n".encode())
        try:
            self.pause = 0.0
            while line := await reader.readline():
                if line.startswith(b"HTTP/1.1 200"):
                    self.connections += 1
                elif line.startswith(b"id: "):
                    self.last = int(line[4:])
                elif line.startswith(b"data: ") and (found := re.search(rb'"position":(\d+)', line)):
                    self.heard.append(int(found[1]))
                elif line.startswith(b"retry: "):
                    self.pause = int(line[7:]) / 1000
        finally:
            self.writer.transport.abort()


def in_use() -> int:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
            " AND backend_type = 'client backend' AND pid <> pg_backend_pid() AND state <> 'idle'"
        )
        return int(cursor.fetchone()[0])


async def in_thread(verb: Callable[[], Any]) -> Any:
    """Do it in another thread, for the team of this one."""
    schema = current_schema()

    def run() -> Any:
        try:
            with in_schema(schema):
                return verb()
        finally:
            connection.close()

    return await asyncio.to_thread(run)


async def soon(holds: Callable[[], Any], seconds: float = 60) -> None:
    async with asyncio.timeout(seconds):
        while not await in_thread(holds):
            await asyncio.sleep(0.05)


@pytest.mark.timeout(300)
def test_who_goes_without_a_word_is_forgotten_and_nobody_holds_the_database(web: Web, token: str) -> None:
    async def crowd() -> None:
        clients = [Client(web.port, token) for _ in range(CLIENTS)]
        tasks = []
        for start in range(0, CLIENTS, 50):
            tasks += [asyncio.create_task(client.stay()) for client in clients[start : start + 50]]
            await soon(lambda start=start: all(client.connections for client in clients[: start + 50]))
        await soon(lambda: metric(web, "waggle_streams_open") == CLIENTS)
        await soon(lambda: in_use() == 0)
        await in_thread(partial(happen, 3))
        await soon(lambda: all(client.heard == [1, 2, 3] for client in clients))
        for task in tasks:
            task.cancel()
        began = time.monotonic()
        await asyncio.gather(*tasks, return_exceptions=True)
        await soon(lambda: metric(web, "waggle_streams_open") == 0)
        print(f"\nforgotten after {time.monotonic() - began:.2f} s")

    asyncio.run(crowd())


@pytest.mark.timeout(300)
def test_at_the_end_of_a_process_all_come_to_the_next_one_and_miss_nothing(
    committed_team: Team, token: str, tmp_path: Path
) -> None:
    port = free_port()

    async def crowd() -> None:
        clients = [Client(port, token) for _ in range(CLIENTS)]
        with serve("config.asgi:application", tmp_path, port) as first:
            tasks = [asyncio.create_task(client.stay()) for client in clients]
            await soon(lambda: metric(first, "waggle_streams_open") == CLIENTS, 120)
            await in_thread(partial(happen, 2))
            await soon(lambda: all(client.heard == [1, 2] for client in clients))
            began = time.monotonic()
            code = await asyncio.to_thread(first.end)
            print(f"\nended after {time.monotonic() - began:.2f} s with {code}")
            assert "Traceback" not in first.log.read_text()
        assert len({client.pause for client in clients}) > CLIENTS / 4  # not all at once
        await in_thread(partial(happen, 2))
        began = time.monotonic()
        with serve("config.asgi:application", tmp_path, port) as second:
            await soon(lambda: metric(second, "waggle_streams_open") == CLIENTS, 120)
            await in_thread(partial(happen, 1))
            await soon(lambda: all(len(client.heard) >= 5 for client in clients))
            print(f"all are back after {time.monotonic() - began:.2f} s")
            assert [client for client in clients if client.heard != [1, 2, 3, 4, 5]] == []
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    asyncio.run(crowd())
    until(lambda: in_use() == 0)
