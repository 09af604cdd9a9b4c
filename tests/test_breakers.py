"""Breakers: the rules, their twin in Redis, and what many processes do together when a provider is down."""

from collections.abc import Iterator

import pytest
import redis
from django.conf import settings
from hypothesis import given
from hypothesis import settings as run
from hypothesis import strategies as st

from agents import breakers
from agents.circuit import (
    FEWEST_CALLS,
    FIRST_MS,
    LONGEST_MS,
    LUA,
    PROBE_MS,
    SLOT_MS,
    SLOTS,
    WINS,
    Circuit,
    Lamp,
    Told,
    Verdict,
    seen,
)
from agents.shared import Script, Shared

NOW = 1_764_000_000_000
CALLS = st.sampled_from(["a", "b", "c"])
GAPS = st.one_of(st.integers(0, 400), st.integers(0, 20_000), st.sampled_from([FIRST_MS, PROBE_MS, SLOT_MS * SLOTS]))
STEPS = st.one_of(
    st.tuples(st.just("look"), CALLS, st.none(), GAPS),
    st.tuples(st.just("admit"), CALLS, st.none(), GAPS),
    # Failures and successes come in runs, or nothing would ever open or close.
    st.tuples(st.just("record"), CALLS, st.sampled_from([*Told, Told.FAILED, Told.FAILED, Told.WORKED]), GAPS),
    st.tuples(st.just("burst"), CALLS, st.sampled_from([Told.FAILED, Told.SLOW, Told.WORKED]), GAPS),
)


@pytest.fixture(scope="module")
def store() -> Iterator[redis.Redis]:
    client = redis.Redis.from_url(settings.STREAM_URL)
    yield client
    client.close()


@run(max_examples=300)
@given(steps=st.lists(STEPS, min_size=5, max_size=40), jitter=st.integers(800, 1200))
def test_redis_and_the_local_twin_agree_on_every_history(
    store: redis.Redis, steps: list[tuple[str, str, Told | None, int]], jitter: int
) -> None:
    key, script, local, now = breakers.key("agree"), store.register_script(LUA), Circuit(), NOW
    store.delete(key)
    for action, call, told, gap in steps:
        now += gap
        for _ in range(12 if action == "burst" else 1):
            if action == "look":
                mine = local.look(now)
            elif action == "admit":
                mine = local.admit(now, call)
            else:
                mine = local.record(now, call, told, "why", jitter, 7_000)
            asked = "record" if action == "burst" else action
            theirs = seen(script(keys=[key], args=[asked, call, told or "", "why", jitter, 7_000, now]))
            assert theirs == mine
