"""The gates of a model call asked as one: what the single rules do one after the other, here and in Redis."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
import redis
from django.conf import settings
from hypothesis import given
from hypothesis import settings as run
from hypothesis import strategies as st

from agents import breakers, limits
from agents.breakers import Breaker, Move
from agents.circuit import FIRST_MS, LUA, PROBE_MS, Circuit, Lamp, Seen, Told, Verdict, seen
from agents.gates import ASK_LUA, TELL_LUA, Found, Here, No, Word, found
from agents.pacing import LEASE_MS, LOWEST, PACE_LUA, PURSE_RULES, RETRY_COST, Pace, Purse, Slots, Went
from agents.shared import Script, Shared
from agents.turnstile import HEAD_SECONDS, Turnstile

NOW = 1_764_000_000_000
PURSE_LUA = f"{PURSE_RULES}return purse(KEYS[1], ARGV[1] == '1', tonumber(ARGV[2])) and 1 or 0"
TOLD = st.sampled_from([None, *Told, Told.FAILED, Told.FAILED, Told.WORKED])
WORDS = st.builds(
    Word,
    key=TOLD,
    key_why=st.just("its key"),
    hold=st.just(7_000),
    endpoint=TOLD,
    endpoint_why=st.just("it is down"),
    went=st.sampled_from([None, *Went]),
    began=st.just(NOW),
    key_jitter=st.integers(800, 1200),
    endpoint_jitter=st.integers(800, 1200),
)
GAPS = st.one_of(st.integers(0, 400), st.sampled_from([FIRST_MS, PROBE_MS, LEASE_MS]))
STEPS = st.tuples(
    st.sampled_from(["ask", "ask", "tell", "burst", "crowd"]), st.integers(1, 6), st.booleans(), WORDS, GAPS
)


@pytest.fixture(scope="module")
def store() -> Iterator[redis.Redis]:
    client = redis.Redis.from_url(settings.STREAM_URL)
    yield client
    client.close()


class Gates:
    """One set of gates in Redis, and all that Redis keeps of it."""

    def __init__(self, store: redis.Redis, name: str) -> None:
        self.store = store
        self.key, self.endpoint = breakers.key(f"key:{name}"), breakers.key(f"model:{name}")
        self.limit, self.slots, self.purse = limits.keys(f"key:{name}")
        store.delete(self.key, self.endpoint, self.limit, self.slots, self.purse)

    def state(self) -> list[Any]:
        hashes = [self.store.hgetall(key) for key in (self.key, self.limit, self.purse, self.endpoint)]
        return [*hashes, self.store.zrange(self.slots, 0, -1, withscores=True)]


class AsOne(Gates):
    """As the gateway asks and tells them."""

    def ask(self, now: int, call: str, repeat: bool) -> Found:
        keys = [self.key, self.limit, self.slots, self.purse, self.endpoint]
        return found(self.store.register_script(ASK_LUA)(keys=keys, args=[call, int(repeat), now]))

    def tell(self, now: int, call: str, word: Word) -> Found:
        keys = [self.key, self.limit, self.slots, self.endpoint]
        return found(self.store.register_script(TELL_LUA)(keys=keys, args=[call, now, *word.arguments]))


class OneByOne(Gates):
    """Each alone: key, slot, repeats, endpoint; what a call had is given back where the next one is shut."""

    def _breaker(self, key: str, *args: Any) -> Seen:
        return seen(self.store.register_script(LUA)(keys=[key], args=list(args)))

    def _pace(self, *args: Any) -> Slots:
        return Slots.told(self.store.register_script(PACE_LUA)(keys=[self.limit, self.slots], args=list(args)))

    def ask(self, now: int, call: str, repeat: bool) -> tuple[No, Seen | None]:
        key = self._breaker(self.key, "admit", call, "", "", 0, 0, now)
        if key.verdict == Verdict.NO:
            return "key", None
        no: No = ""
        endpoint = None
        if not self._pace("take", call, "", 0, now).granted:
            no = "slot"
        else:
            if not self.store.register_script(PURSE_LUA)(keys=[self.purse], args=[int(repeat), now]):
                no = "repeats"
            else:
                endpoint = self._breaker(self.endpoint, "admit", call, "", "", 0, 0, now)
                no = "endpoint" if endpoint.verdict == Verdict.NO else ""
            if no:
                self._pace("give", call, "neither", 0, now)
        if no and key.verdict == Verdict.PROBE:
            self._breaker(self.key, "record", call, "nothing", "", 0, 0, now)
        return no, endpoint

    def tell(self, now: int, call: str, word: Word) -> None:
        if word.endpoint:
            args = (call, word.endpoint, word.endpoint_why, word.endpoint_jitter, 0, now)
            self._breaker(self.endpoint, "record", *args)
        if word.key:
            self._breaker(self.key, "record", call, word.key, word.key_why, word.key_jitter, word.hold, now)
        if word.went:
            self._pace("give", call, word.went, word.began, now)


@run(max_examples=40)
@given(steps=st.lists(STEPS, min_size=5, max_size=20))
def test_asked_as_one_they_do_what_they_do_one_by_one_here_and_in_redis(
    store: redis.Redis, steps: list[tuple[str, int, bool, Word, int]]
) -> None:
    one, single, here, now = (
        AsOne(store, "one"),
        OneByOne(store, "single"),
        Here(Circuit(), Pace(), Purse(), Circuit()),
        NOW,
    )
    for action, number, repeat, word, gap in steps:
        now += gap
        call = f"call-{number}"
        if action in ("ask", "crowd"):
            for name in [call] if action == "ask" else [f"{call}-{n}" for n in range(17)]:
                asked = one.ask(now, name, repeat)
                assert asked == here.ask(now, name, repeat=repeat)
                assert (asked.no, asked.endpoint) == single.ask(now, name, repeat)
        else:
            for _ in range(12 if action == "burst" else 1):
                assert one.tell(now, call, word) == here.tell(now, call, word)
                single.tell(now, call, word)
        assert one.state() == single.state()


def shut(gates: Gates, gate: No) -> None:
    """Shut this one. The key's breaker lets one probe through, the endpoint's, where it is open, none."""
    gates.store.hset(gates.key, mapping={"lamp": Lamp.HALF_OPEN, "since": NOW, "until": NOW, "times": 1, "wins": 0})
    if gate == "slot":
        gates.store.hset(gates.limit, mapping={"limit": LOWEST})
        gates.store.zadd(gates.slots, {"another": NOW + LEASE_MS})
    elif gate == "repeats":
        gates.store.hset(gates.purse, mapping={"tokens": RETRY_COST - 1, "at": NOW})
    elif gate == "endpoint":
        gates.store.hset(gates.endpoint, mapping={"lamp": Lamp.OPEN, "since": NOW, "until": NOW + 1})


@pytest.mark.parametrize("gate", ["slot", "repeats", "endpoint"])
def test_a_call_that_one_gate_turns_away_keeps_nothing_of_the_others(store: redis.Redis, gate: No) -> None:
    gates = AsOne(store, "shut")
    shut(gates, gate)
    slots = store.zrange(gates.slots, 0, -1)
    refused = gates.ask(NOW, "refused", repeat=True)
    assert (refused.no, refused.key and refused.key.verdict) == (gate, Verdict.PROBE)
    assert store.zrange(gates.slots, 0, -1) == slots
    assert store.hget(gates.key, "probe") == b""


class Holding(Shared):
    """It is asked so often at once; the next time its answer, or the question, waits."""

    def __init__(self, at_once: int) -> None:
        super().__init__(settings.STREAM_URL, 5)
        self.at_once = at_once
        self.held, self.go = asyncio.Event(), asyncio.Event()

    async def run(self, script: Script, keys: Any, args: Any) -> list[Any] | None:
        is_held, self.at_once = self.at_once == 0, self.at_once - 1
        if not is_held:
            return await super().run(script, keys, args)
        answer = await super().run(script, keys, args) if script.text == ASK_LUA else None
        self.held.set()
        await self.go.wait()
        return answer or await super().run(script, keys, args)


async def quiet(move: Move) -> None:
    """Tell nobody."""


@pytest.mark.parametrize("at_once", [0, 1], ids=["asked", "told"])
def test_who_leaves_while_the_gates_are_asked_or_told_keeps_no_slot(store: redis.Redis, at_once: int) -> None:
    slots = limits.keys("key:left")[1]
    store.delete(slots)

    async def call(shared: Shared) -> None:
        gates = Turnstile(Breaker("key:left", shared, quiet), Breaker("model:left", shared, quiet), shared)
        async with gates.call("one"):
            pass

    async def go() -> None:
        shared = Holding(at_once)
        task = asyncio.create_task(call(shared))
        await shared.held.wait()
        assert store.zcard(slots) == 1
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        shared.go.set()
        async with asyncio.timeout(10):
            while store.zcard(slots):
                await asyncio.sleep(0.01)

    asyncio.run(go())


class Counting(Shared):
    """Remembers what its gates were told."""

    def __init__(self) -> None:
        super().__init__(settings.STREAM_URL, 5)
        self.told: list[tuple[Any, ...]] = []

    async def run(self, script: Script, keys: Any, args: Any) -> list[Any] | None:
        if script.text == TELL_LUA:
            self.told.append((args[2], args[6], args[9]))  # of the key, of the endpoint, of the slot
        return await super().run(script, keys, args)


@pytest.mark.parametrize(
    ("seconds", "breaks", "told"),
    [
        (0, False, [("worked", "worked", "well")]),
        (2 * HEAD_SECONDS, False, [("worked", "worked", ""), ("", "", "well")]),
        (0, True, [("worked", "worked", ""), ("", "failed", "well")]),
    ],
    ids=["short", "long", "broken"],
)
def test_the_gates_hear_of_a_short_call_once(
    store: redis.Redis, seconds: float, breaks: bool, told: list[tuple[str, ...]]
) -> None:
    slots = limits.keys("key:short")[1]
    store.delete(slots)

    async def go() -> None:
        shared = Counting()
        gates = Turnstile(Breaker("key:short", shared, quiet), Breaker("model:short", shared, quiet), shared)
        async with gates.call("one") as trial:
            trial.answered(Word(key=Told.WORKED, endpoint=Told.WORKED), Went.WELL)
            await asyncio.sleep(seconds)
            if breaks:
                trial.broke("it broke off", too_much=False)
        assert shared.told == told
        assert store.zcard(slots) == 0

    asyncio.run(go())
