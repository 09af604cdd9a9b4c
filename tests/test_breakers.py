"""Breakers: the rules, their twin in Redis, and what many processes do together when a provider is down."""

from collections.abc import Iterator

import pytest
import redis
from django.conf import settings
from hypothesis import given
from hypothesis import settings as run
from hypothesis import strategies as st
from pydantic_ai.exceptions import ModelHTTPError

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
from agents.contracts import FailureReason
from agents.runtimes.builtin import reason_of

NOW = 1_764_000_000_000
CALLS = st.sampled_from(["a", "b", "c"])
GAPS = st.one_of(st.integers(0, 400), st.integers(0, 20_000), st.sampled_from([FIRST_MS, PROBE_MS, SLOT_MS * SLOTS]))
STEPS = st.one_of(
    st.tuples(st.just("look"), CALLS, st.none(), GAPS),
    st.tuples(st.just("admit"), CALLS, st.none(), GAPS),
    # Failures and successes come in runs, or nothing would ever open or close.
    st.tuples(st.just("record"), CALLS, st.sampled_from([*Told, Told.FAILED, Told.FAILED, Told.WORKED]), GAPS),
    st.tuples(st.just("burst"), CALLS, st.sampled_from([Told.FAILED, Told.SLOW, Told.WORKED]), GAPS),
    # Past its pause, tried, and judged up to three times.
    st.tuples(st.just("probe"), CALLS, st.sampled_from([*Told, Told.WORKED, Told.WORKED]), st.just(0)),
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
        now = max(now, local.until) if action == "probe" else now + gap
        for single in {"burst": ["record"] * 12, "probe": ["admit", "record"] * 3}.get(action, [action]):
            if single == "look":
                mine = local.look(now)
            elif single == "admit":
                mine = local.admit(now, call)
            else:
                mine = local.record(now, call, told, "why", jitter, 7_000)
            theirs = seen(script(keys=[key], args=[single, call, told or "", "why", jitter, 7_000, now]))
            assert theirs == mine


def fail(circuit: Circuit, now: int, times: int = FEWEST_CALLS) -> None:
    for _ in range(times):
        circuit.record(now, "call", Told.FAILED, "the provider answered HTTP 500")


def test_it_opens_when_half_of_at_least_ten_calls_in_half_a_minute_failed() -> None:
    circuit = Circuit()
    for told in [Told.WORKED, Told.FAILED] * 4 + [Told.WORKED]:
        assert circuit.record(NOW, "call", told).after == Lamp.CLOSED
    assert circuit.record(NOW, "call", Told.FAILED, "down").moved
    found = circuit.admit(NOW + 1, "call")
    assert (found.verdict, found.wait, found.why) == (Verdict.NO, FIRST_MS - 1, "down")


def test_what_is_older_than_the_window_does_not_count() -> None:
    circuit = Circuit()
    fail(circuit, NOW, FEWEST_CALLS - 1)
    fail(circuit, NOW + SLOT_MS * SLOTS, 1)
    assert circuit.lamp == Lamp.CLOSED
    fail(circuit, NOW + SLOT_MS * SLOTS + 1, FEWEST_CALLS - 1)
    assert circuit.lamp == Lamp.OPEN


def test_slow_answers_open_it_too() -> None:
    circuit = Circuit()
    for told in [Told.WORKED] * 2 + [Told.SLOW] * 7:
        circuit.record(NOW, "call", told)
    assert circuit.lamp == Lamp.CLOSED
    assert circuit.record(NOW, "call", Told.SLOW).after == Lamp.OPEN


def test_each_failed_probe_doubles_the_pause_up_to_five_minutes() -> None:
    circuit, now, pauses = Circuit(), NOW, []
    fail(circuit, now)
    for _ in range(8):
        pauses.append(circuit.until - now)
        now = circuit.until
        assert circuit.admit(now, "probe").verdict == Verdict.PROBE
        circuit.record(now, "probe", Told.FAILED)
    assert pauses == [10_000, 20_000, 40_000, 80_000, 160_000, 300_000, 300_000, 300_000]
    assert LONGEST_MS == 300_000


def test_three_probes_that_work_one_after_the_other_close_it() -> None:
    circuit = Circuit()
    fail(circuit, NOW)
    now = circuit.until
    for number in range(WINS):
        assert circuit.lamp != Lamp.CLOSED
        assert circuit.admit(now, f"probe-{number}").verdict == Verdict.PROBE
        assert circuit.admit(now, "other").verdict == Verdict.NO
        circuit.record(now, "late", Told.WORKED)
        circuit.record(now, f"probe-{number}", Told.WORKED)
    assert circuit.lamp == Lamp.CLOSED
    fail(circuit, now, FEWEST_CALLS - 1)
    assert circuit.lamp == Lamp.CLOSED, "what was before it closed does not count"


def test_a_probe_that_died_is_replaced_and_one_that_says_nothing_gives_its_place_back() -> None:
    circuit = Circuit()
    fail(circuit, NOW)
    now = circuit.until
    circuit.admit(now, "dies")
    assert circuit.admit(now + PROBE_MS - 1, "other").verdict == Verdict.NO
    assert circuit.admit(now + PROBE_MS, "other").verdict == Verdict.PROBE
    circuit.record(now + PROBE_MS, "dies", Told.WORKED)
    assert circuit.wins == 0
    circuit.record(now + PROBE_MS, "other", Told.NOTHING)
    assert circuit.admit(now + PROBE_MS, "third").verdict == Verdict.PROBE


def test_who_is_asked_to_wait_waits_so_long_and_goes_on_without_a_probe() -> None:
    circuit = Circuit()
    circuit.record(NOW, "call", Told.COOL, "slow down", hold=7_000)
    assert circuit.admit(NOW + 6_999, "call").verdict == Verdict.NO
    found = circuit.admit(NOW + 7_000, "call")
    assert (found.verdict, found.after) == (Verdict.GO, Lamp.CLOSED)


@pytest.mark.parametrize(
    ("status", "body", "reason"),
    [
        (503, {"code": "provider_unavailable"}, FailureReason.PROVIDER_UNAVAILABLE),
        (429, {"code": "too_many_calls"}, FailureReason.PROVIDER_UNAVAILABLE),
        (502, {"code": "model_unreachable"}, FailureReason.PROVIDER_UNAVAILABLE),
        (500, None, FailureReason.MODEL_ERROR),
        (404, None, FailureReason.MODEL_ERROR),
        (402, {"code": "budget_exhausted"}, FailureReason.BUDGET_EXCEEDED),
    ],
)
def test_a_provider_that_is_away_is_no_fault_of_the_work(status: int, body: object, reason: FailureReason) -> None:
    assert reason_of(ModelHTTPError(status, "large", body)) == reason
