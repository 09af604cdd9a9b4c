"""Breakers that many processes share: against a real server, a Redis that goes away, and two teams."""

import asyncio
import multiprocessing
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Event as Signal
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
import redis
from django.conf import settings
from django.test import Client
from django.utils import timezone

from agents import breakers
from agents.breakers import Breaker, Move, Refusing
from agents.circuit import FEWEST_CALLS, WINS, Lamp, Told
from agents.gates import Word
from agents.pacing import Went
from agents.passage import Refused, passage
from agents.routes import Route
from agents.shared import Shared
from agents.turnstile import Turnstile
from config.services import ensure, stop
from sessions.models import Event
from swarms import dispatch
from tenants import tokens
from tenants.context import in_schema
from tenants.models import Runner, Team, Ticket
from tests.conftest import user_of
from tests.web import until

PROCESSES, CALLERS = 10, 5


class Provider(ThreadingHTTPServer):
    """A provider that is down or well, and counts who comes."""

    daemon_threads = True
    request_queue_size = 256

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answering)
        self.status, self.hold = 503, 0.0
        self.lock = threading.Lock()
        self.forget()

    def forget(self) -> None:
        """Count from here."""
        with self.lock:
            self.calls = self.within = self.most = 0


class Answering(BaseHTTPRequestHandler):
    server: Provider

    def do_GET(self) -> None:
        with self.server.lock:
            self.server.calls += 1
            self.server.within += 1
            self.server.most = max(self.server.most, self.server.within)
        time.sleep(self.server.hold)
        with self.server.lock:
            self.server.within -= 1
        self.send_response(self.server.status)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *args: object) -> None:
        """Keep quiet."""


class Crowd:
    """Processes that call a provider through one breaker, again and again."""

    def __init__(self, name: str, url: str) -> None:
        forking = multiprocessing.get_context("fork")  # Django is loaded already
        self._end = forking.Event()
        self.offered = forking.Value("q", 0)
        self._pipes: list[Connection] = []
        self._processes = []
        for _ in range(PROCESSES):
            mine, theirs = forking.Pipe()
            process = forking.Process(target=calling, args=(name, url, self._end, self.offered, theirs), daemon=True)
            process.start()
            self._pipes.append(mine)
            self._processes.append(process)

    def finish(self) -> list[tuple[str, str]]:
        """Stop all; every move that they made."""
        self._end.set()
        told = [pipe.recv() for pipe in self._pipes if pipe.poll(30)]
        for process in self._processes:
            process.join(20)
        assert len(told) == PROCESSES
        return [move for moves in told for move in moves]


def calling(name: str, url: str, end: Signal, offered: Any, report: Connection) -> None:
    moves: list[tuple[str, str]] = []

    async def tell(move: Move) -> None:
        moves.append((move.before, move.after))

    async def caller(gates: Turnstile, client: httpx.AsyncClient) -> None:
        while not end.is_set():
            with offered.get_lock():
                offered.value += 1
            try:
                async with gates.call(uuid4().hex) as trial:
                    answer = await client.get(url)
                    told = Told.WORKED if answer.status_code == 200 else Told.FAILED
                    trial.answered(Word(Told.WORKED, endpoint=told, endpoint_why="it is down"), Went.NEITHER)
            except Refusing:
                await asyncio.sleep(0.01)

    async def go() -> None:
        # Patient: this machine is slow at times, and a local breaker would try once more.
        shared = Shared(settings.STREAM_URL, patience=20)
        gates = Turnstile(Breaker(f"key:{name}", shared, tell), Breaker(name, shared, tell), shared, patience=20)
        async with httpx.AsyncClient(timeout=60, trust_env=False) as client:
            await asyncio.gather(*(caller(gates, client) for _ in range(CALLERS)))

    asyncio.run(go())
    report.send(moves)


@pytest.fixture
def store() -> Iterator[redis.Redis]:
    client = redis.Redis.from_url(settings.STREAM_URL, decode_responses=True)
    client.flushdb()
    breakers.forget()
    yield client
    client.close()


@contextmanager
def serving(provider: Provider) -> Iterator[str]:
    threading.Thread(target=provider.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{provider.server_address[1]}/"
    finally:
        provider.shutdown()
        provider.server_close()


def test_fifty_callers_in_ten_processes_leave_a_broken_provider_alone_and_try_it_one_at_a_time(
    store: redis.Redis,
) -> None:
    provider, key = Provider(), breakers.key("model:crowd")

    def lamp() -> str:
        return store.hget(key, "lamp") or Lamp.CLOSED

    def try_again() -> None:
        store.hset(key, "until", 1)

    provider_url = f"http://127.0.0.1:{provider.server_address[1]}/"
    crowd = Crowd("model:crowd", provider_url)
    with serving(provider):
        until(lambda: lamp() == Lamp.OPEN)
        until(lambda: provider.within == 0)
        time.sleep(0.5)  # those that were let through before it opened
        provider.forget()
        offered = crowd.offered.value
        until(lambda: crowd.offered.value > offered + 1000)
        left_alone = provider.calls

        provider.hold = 0.3
        first = store.hget(key, "until")
        try_again()
        until(lambda: store.hget(key, "until") not in (first, "1") and provider.within == 0)
        probes = (provider.calls, provider.most)

        provider.status = 200
        provider.forget()
        seen: list[int] = []
        try_again()
        until(lambda: bool(seen.append(provider.calls) or lamp() == Lamp.CLOSED))
        until(lambda: provider.calls > 50)
        moves = crowd.finish()

    assert left_alone == 0
    assert probes == (1, 1)
    assert WINS - 1 <= max(seen) <= WINS + PROCESSES * CALLERS
    # Who hears of a move is told in his own time; one that goes on where the last ended can have one order only.
    assert sorted(moves) == sorted(
        [
            ("closed", "open"),
            ("open", "half_open"),
            ("half_open", "open"),
            ("open", "half_open"),
            ("half_open", "closed"),
        ]
    )


async def failing(gates: Turnstile, times: int) -> int:
    """Calls that fail; how many were let through."""
    went = 0
    for _ in range(times):
        try:
            async with gates.call(uuid4().hex) as trial:
                went += 1
                trial.broke("down", too_much=False)
        except Refusing:
            pass
    return went


def gates_of(name: str, shared: Shared) -> Turnstile:
    return Turnstile(Breaker(f"key:{name}", shared, quiet), Breaker(f"model:{name}", shared, quiet), shared)


async def quiet(move: Move) -> None:
    """Tell nobody."""


def test_while_redis_is_away_each_process_has_its_own_breaker_and_then_a_shared_one_again(tmp_path: Path) -> None:
    found = ensure(tmp_path, only=("valkey",), bound=True)

    async def go() -> None:
        shared = Shared(f"{found['REDIS_URL'].rstrip('/')}/0", patience=5)
        gates = gates_of("away", shared)
        await failing(gates, FEWEST_CALLS - 1)
        await asyncio.to_thread(stop, tmp_path)
        assert await failing(gates, 100) == FEWEST_CALLS
        assert gates.endpoint.look().after == Lamp.OPEN

        again = await asyncio.to_thread(ensure, tmp_path, only=("valkey",), bound=True)
        assert again == found
        async with asyncio.timeout(60):
            # The shared one knows nothing of what happened here, and lets calls through.
            while not await failing(gates, 1):
                await asyncio.sleep(0.1)
        store = redis.Redis.from_url(found["REDIS_URL"])
        assert store.exists(breakers.key("model:away"))

    try:
        asyncio.run(go())
    finally:
        stop(tmp_path)


def test_a_redis_that_hangs_holds_up_one_call_and_not_the_next_hundred() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=200) as deaf:
        deaf.setblocking(False)
        shared = Shared(f"redis://127.0.0.1:{deaf.getsockname()[1]}/0", patience=0.3)
        asyncio.run(failing(gates_of(str(uuid4()), shared), 100))
        connections = 0
        try:
            while True:
                deaf.accept()[0].close()
                connections += 1
        except BlockingIOError:
            pass
    # One call waited, and perhaps one look in the background.
    assert connections in (1, 2)


def answer(status: int, **headers: str) -> httpx.Response:
    return httpx.Response(status, headers={name.replace("_", "-"): text for name, text in headers.items()})


LARGE = Route("https://user:secret@api.example:444/v1", "large")


async def call(team: Team, response: httpx.Response) -> Refused | None:
    """A model call of this team that the provider answers so; the gateway's no, if it says no."""
    try:
        async with passage(team.schema_name, uuid4(), LARGE) as way:
            way.answered(response)
    except Refused as refusal:
        return refusal
    return None


@pytest.fixture
def provided(settings: Any, store: redis.Redis) -> None:
    settings.MODEL_BASE_URL, settings.MODEL_NAME = "https://user:secret@api.example:444/v1", "large"


@pytest.mark.parametrize(
    ("response", "times"),
    [(answer(429, retry_after="30"), 1), (answer(429), FEWEST_CALLS), (answer(401), FEWEST_CALLS)],
    ids=["429 with a date", "429", "401"],
)
def test_one_team_s_bad_key_stops_that_team_alone(
    committed_team: Team, provided: None, response: httpx.Response, times: int
) -> None:
    globex = Team.objects.get(domains__slug="globex")

    async def go() -> tuple[list[Refused | None], Refused | None, Refused | None]:
        before = [await call(committed_team, response) for _ in range(times)]
        after, others = await call(committed_team, answer(200)), await call(globex, answer(200))
        await asyncio.gather(*breakers.announcing())
        return before, after, others

    before, after, others = asyncio.run(go())
    assert before == [None] * times
    assert after is not None
    assert (after.status, after.code, after.asked) == (503, "provider_unavailable", False)
    assert after.retry_after > 5
    assert others is None
    event = Event.objects.get(kind="breaker.moved")
    assert (event.subject, event.payload["after"]) == ("team", "open")
    assert event.payload["name"] == f"key:api.example:444:{committed_team.schema_name}"
    assert f"HTTP {response.status_code}" in event.payload["because"]
    assert event.payload["until"]
    with in_schema(globex.schema_name):
        assert not Event.objects.filter(kind="breaker.moved").exists()
    shut = breakers.closed_until(committed_team.schema_name)
    assert shut is not None
    assert shut.name == event.payload["name"]
    assert breakers.closed_until(globex.schema_name) is None


def test_a_broken_endpoint_stops_all_teams(committed_team: Team, provided: None) -> None:
    globex = Team.objects.get(domains__slug="globex")

    async def go() -> list[Refused | None]:
        for number in range(FEWEST_CALLS):
            await call((committed_team, globex)[number % 2], answer(500))
        refused = [await call(team, answer(200)) for team in (committed_team, globex)]
        await asyncio.gather(*breakers.announcing())
        return refused

    assert [refusal.code for refusal in asyncio.run(go()) if refusal] == ["provider_unavailable"] * 2
    for team in (committed_team, globex):
        shut = breakers.closed_until(team.schema_name)
        assert shut is not None
        assert shut.name == "model:api.example:444/large"
        assert "secret" not in str(shut)


def ticket(kind: str, team: Team) -> Ticket:
    return Ticket.objects.create(team=team, kind=kind, subject=uuid4())


def test_while_a_breaker_is_open_what_needs_the_model_waits_and_what_does_not_goes(
    committed_team: Team, provided: None, client_for: Callable[..., Client]
) -> None:
    globex = Team.objects.get(domains__slug="globex")
    plan, node, checks = (ticket(kind, committed_team) for kind in ("plan", "node", "checks"))
    others = ticket("node", globex)
    Runner.objects.create(
        name="idle",
        token=tokens.issue("runner")[0],
        capacity=4,
        channel="nowhere",
        seen_at=timezone.now(),
        sandbox="none",
        trusted=True,
    )

    async def fall() -> None:
        await call(committed_team, answer(429, retry_after="100"))
        await asyncio.gather(*breakers.announcing())

    asyncio.run(fall())
    dispatch.dispatch()
    for waiting in (plan, node):
        waiting.refresh_from_db()
        assert waiting.parked.startswith("key:api.example:444: ")
        assert committed_team.schema_name not in waiting.parked
        assert timedelta(seconds=80) < waiting.not_before - timezone.now() <= timedelta(seconds=101)
    for went in (checks, others):
        # They had their turn, and there was nothing behind them: that is why they are put off.
        went.refresh_from_db()
        assert went.parked.startswith("broken:")
        assert went.not_before - timezone.now() < timedelta(seconds=31)

    page = client_for(user_of("vera", "acme"), committed_team).get("/agents/").content.decode()
    assert "Left alone" in page
    assert "HTTP 429, and to wait 100 s" in page
    assert "Model large at api.example:444" in page
    assert "secret" not in page


def test_repeats_beyond_the_budget_are_turned_away_and_what_was_turned_away_is_no_repeat(
    committed_team: Team, provided: None
) -> None:
    async def again(execution: Any) -> str:
        try:
            async with passage(committed_team.schema_name, execution, LARGE, repeat=True) as way:
                way.answered(answer(200))
        except Refused as refusal:
            return f"{refusal.status} {refusal.code}"
        return "went"

    async def go() -> list[str]:
        return [await again(uuid4()) for _ in range(20)]

    went = asyncio.run(go())
    assert went[:5] == ["went"] * 5
    assert went[-1] == "429 too_many_calls"
    turned_away = uuid4()

    async def twice() -> list[str]:
        return [await again(turned_away), await again(turned_away)]

    assert asyncio.run(twice()) == ["429 too_many_calls", "went"]
