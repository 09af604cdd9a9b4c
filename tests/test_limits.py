"""Limits: slots fitted to what a provider bears, a budget of retries, and how an answer is judged."""

import asyncio
import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
import redis
from django.conf import settings
from hypothesis import given
from hypothesis import settings as run
from hypothesis import strategies as st

from agents import limits
from agents.breakers import Breaker, Move
from agents.circuit import Told
from agents.limits import Busy
from agents.pacing import (
    FIRST_LIMIT,
    HIGHEST,
    LEASE_MS,
    LOWEST,
    PACE_LUA,
    PURSE_RULES,
    RETRY_COST,
    RETRY_MOST,
    Pace,
    Purse,
    Slots,
    Went,
)
from agents.passage import LONGEST_WAIT, SLOW_SECONDS, asked_to_wait, judged
from agents.shared import Shared
from agents.turnstile import Turnstile

NOW = 1_764_000_000_000
GAPS = st.one_of(st.integers(0, 300), st.integers(0, 30_000), st.just(LEASE_MS))
STEPS = st.tuples(
    st.sampled_from(["take", "take", "take", "renew", "give", "give", "alone"]),
    st.integers(1, 20),
    st.sampled_from([Went.WELL, Went.WELL, Went.OVER, Went.NEITHER]),
    GAPS,
)


@pytest.fixture
def store() -> Iterator[redis.Redis]:
    client = redis.Redis.from_url(settings.STREAM_URL)
    client.flushdb()
    yield client
    client.close()


@pytest.fixture(scope="module")
def kept() -> Iterator[redis.Redis]:
    client = redis.Redis.from_url(settings.STREAM_URL)
    yield client
    client.close()


async def quiet(move: Move) -> None:
    """Tell nobody."""


def turnstile(name: str, shared: Shared, patience: float = 0.3) -> Turnstile:
    return Turnstile(Breaker(f"key:{name}", shared, quiet), Breaker(f"model:{name}", shared, quiet), shared, patience)


@run(max_examples=150)
@given(steps=st.lists(STEPS, min_size=10, max_size=80))
def test_redis_and_the_local_limit_agree(kept: redis.Redis, steps: list[tuple[str, int, Went, int]]) -> None:
    keys, script, local, now = limits.keys("agree")[:2], kept.register_script(PACE_LUA), Pace(), NOW
    kept.delete(*keys)
    for action, number, went, gap in steps:
        now += gap
        call, began = f"call-{number}", now - number * 500
        for single in ["take", "give"] * 20 if action == "alone" else [action]:
            if single == "take":
                mine = local.take(now, call)
            else:
                mine = local.renew(now, call) if single == "renew" else local.give_back(now, call, went, began)
            assert Slots.told(script(keys=keys, args=[single, call, went, began, now])) == mine
            assert LOWEST <= mine.limit <= HIGHEST


@run(max_examples=150)
@given(steps=st.lists(st.tuples(st.booleans(), GAPS), min_size=5, max_size=60))
def test_redis_and_the_local_budget_of_retries_agree(kept: redis.Redis, steps: list[tuple[bool, int]]) -> None:
    purse = f"{PURSE_RULES}return purse(KEYS[1], ARGV[1] == '1', tonumber(ARGV[2])) and 1 or 0"
    script, local, now = kept.register_script(purse), Purse(), NOW
    kept.delete("agree")
    for repeat, gap in steps:
        now += gap
        assert bool(script(keys=["agree"], args=[int(repeat), now])) == local.pay(now, repeat=repeat)


def filled(pace: Pace, now: int) -> list[str]:
    """Take slots until there are none."""
    names: list[str] = []
    while pace.take(now, f"call-{len(names)}").granted:
        names.append(f"call-{len(names)}")
    return names


def test_the_limit_grows_by_one_for_a_window_of_good_calls_and_shrinks_once_for_a_burst_of_refusals() -> None:
    pace, now = Pace(), NOW
    names = filled(pace, now)
    assert len(names) == FIRST_LIMIT // 10
    for number in range(FIRST_LIMIT // 10):
        pace.give_back(now + 10, names[number], Went.WELL, now)
        pace.take(now + 10, f"more-{number}")
    assert pace.limit == FIRST_LIMIT + 10
    began = now + 20
    for number in range(8):
        pace.give_back(now + 100 + number, f"more-{number}", Went.OVER, began)
    assert pace.limit == (FIRST_LIMIT + 10) * 7 // 10
    pace.give_back(now + 300, "more-9", Went.OVER, now + 200)
    assert pace.limit == (FIRST_LIMIT + 10) * 7 // 10 * 7 // 10


def test_a_limit_that_nobody_needs_does_not_grow() -> None:
    pace = Pace()
    for number in range(200):
        pace.take(NOW, f"call-{number}")
        pace.give_back(NOW + 1, f"call-{number}", Went.WELL, NOW)
    assert pace.limit == FIRST_LIMIT


def test_the_limit_never_goes_below_one_nor_above_its_bound() -> None:
    pace = Pace()
    for number in range(100):
        pace.give_back(NOW + number, "call", Went.OVER, NOW + number)
    assert (pace.limit, pace.take(NOW + 200, "call").granted) == (LOWEST, True)
    pace.limit = HIGHEST
    for number in range(1000):
        names = filled(pace, NOW + 200 + number)
        for name in names:
            pace.give_back(NOW + 200 + number, name, Went.WELL, NOW + 200)
    assert pace.limit == HIGHEST


def test_a_crashed_holder_s_slot_is_free_after_its_lease() -> None:
    pace = Pace()
    filled(pace, NOW)
    assert not pace.take(NOW + LEASE_MS - 1, "late").granted
    assert pace.take(NOW + LEASE_MS, "late").granted


def test_repeats_are_a_tenth_of_the_calls() -> None:
    purse, went = Purse(), 0
    calls = 5_000
    for number in range(calls):
        purse.pay(NOW + number, repeat=False)
        went += purse.pay(NOW + number, repeat=True)
    floor = (RETRY_MOST + calls // 6) // RETRY_COST + 1
    assert calls // 10 <= went <= calls // 10 + floor


def test_all_processes_share_the_slots(store: redis.Redis) -> None:
    most = FIRST_LIMIT // 10
    # Two clients, as two processes have them.
    both = [Shared(settings.STREAM_URL, 5), Shared(settings.STREAM_URL, 5)]

    async def hold(shared: Shared, leave: asyncio.Event) -> None:
        async with turnstile("shared", shared).call(os.urandom(8).hex()):
            await leave.wait()

    async def go() -> list[BaseException | None]:
        leave = asyncio.Event()
        tasks = [asyncio.create_task(hold(shared, leave)) for shared in both for _ in range(most)]
        async with asyncio.timeout(60):
            while sum(task.done() for task in tasks) < most:
                await asyncio.sleep(0.05)
        leave.set()
        return await asyncio.gather(*tasks, return_exceptions=True)

    ended = asyncio.run(go())
    assert sum(isinstance(each, Busy) for each in ended) == most
    assert ended.count(None) == most
    assert store.zcard(limits.keys("key:shared")[1]) == 0


def test_a_waiting_call_gets_the_next_free_slot(store: redis.Redis) -> None:
    async def go() -> None:
        shared = Shared(settings.STREAM_URL, 5)
        gates = turnstile("next", shared, patience=10)
        store.hset(limits.keys("key:next")[0], mapping={"limit": LOWEST})
        async with asyncio.timeout(30):
            async with gates.call("first"):
                second = asyncio.create_task(gates.call("second").__aenter__())
                await asyncio.sleep(0.2)
                assert not second.done()
            await second

    asyncio.run(go())


def nothing_listens() -> Shared:
    return Shared("redis://127.0.0.1:1/0")


def test_without_redis_a_process_limits_itself() -> None:
    async def go() -> None:
        shared = nothing_listens()
        gates = turnstile(f"alone-{os.urandom(4).hex()}", shared, patience=0)
        calls = [gates.call(f"call-{number}") for number in range(FIRST_LIMIT // 10)]
        for call in calls:
            await call.__aenter__()
        with pytest.raises(Busy):
            await gates.call("one more").__aenter__()
        await calls[0].__aexit__(None, None, None)
        async with gates.call("one more"):
            pass
        gates = turnstile(f"alone-{os.urandom(4).hex()}", shared)
        for number in range(RETRY_MOST // RETRY_COST // 2):
            async with gates.call(f"again-{number}", repeat=True):
                pass
        with pytest.raises(Busy):
            await gates.call("once too often", repeat=True).__aenter__()
        async with gates.call("a first one"):
            pass

    asyncio.run(go())


@pytest.mark.parametrize(
    ("status", "seconds", "wait", "endpoint", "key", "went"),
    [
        (200, 1, None, Told.WORKED, Told.WORKED, Went.WELL),
        (200, SLOW_SECONDS + 1, None, Told.SLOW, Told.WORKED, Went.NEITHER),
        (400, 1, None, Told.WORKED, Told.WORKED, Went.WELL),
        (401, 1, None, Told.WORKED, Told.FAILED, Went.NEITHER),
        (402, 1, None, Told.WORKED, Told.FAILED, Went.NEITHER),
        (403, 1, None, Told.WORKED, Told.FAILED, Went.NEITHER),
        (429, 1, None, Told.WORKED, Told.FAILED, Went.OVER),
        (429, 1, timedelta(seconds=7), Told.WORKED, Told.COOL, Went.OVER),
        (500, 1, None, Told.FAILED, Told.NOTHING, Went.NEITHER),
        (503, 1, timedelta(seconds=7), Told.FAILED, Told.NOTHING, Went.NEITHER),
        (504, 1, None, Told.FAILED, Told.NOTHING, Went.OVER),
    ],
)
def test_what_is_wrong_with_a_key_is_the_keys_and_what_is_wrong_with_the_endpoint_is_everybodys(
    status: int, seconds: float, wait: timedelta | None, endpoint: Told, key: Told, went: Went
) -> None:
    found = judged(status, seconds, wait)
    assert (found.endpoint, found.key, found.went) == (endpoint, key, went)


AT = datetime(2026, 10, 21, 7, 28, tzinfo=UTC)


@pytest.mark.parametrize(
    ("header", "wait"),
    [
        (None, None),
        ("", None),
        ("soon", None),
        ("7", timedelta(seconds=7)),
        ("1.5", timedelta(seconds=1.5)),
        ("-3", timedelta()),
        ("nan", None),
        ("inf", LONGEST_WAIT),
        ("-inf", timedelta()),
        ("1e9", LONGEST_WAIT),
        ("Wed, 21 Oct 2026 07:28:20 GMT", timedelta(seconds=20)),
        ("Wed, 21 Oct 2020 07:28:00 GMT", timedelta()),
    ],
)
def test_a_provider_may_say_when_to_come_again(header: str | None, wait: timedelta | None) -> None:
    assert asked_to_wait(header, AT) == wait
