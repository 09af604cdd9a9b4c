"""What a model call must pass, asked as one and told as one: the breaker of its key, a slot, the budget of repeats, the
breaker of the endpoint. Pure.

Their rules are those of `agents.circuit` and `agents.pacing`. Nobody comes between: a call gets all four or keeps none.
As there, the same stands here twice: as `Here`, for one process alone, and in Lua. A test compares both with one
another, and with the single rules one after the other.
"""

from dataclasses import dataclass
from typing import Any, Literal

from agents.circuit import CLOCK, RULES, Circuit, Seen, Told, Verdict, seen
from agents.pacing import PACE_RULES, PURSE_RULES, Pace, Purse, Slots, Went

No = Literal["", "key", "slot", "repeats", "endpoint"]
"""Which gate is shut."""

# KEYS: the key's breaker, limit, slots, purse, the endpoint's breaker. ARGV: call, 1 for a repeat, now.
ASK_LUA = f"""{CLOCK}{RULES}{PACE_RULES}{PURSE_RULES}
local call, now = ARGV[1], clock(ARGV[3])
local key = breaker(KEYS[1], 'admit', call, '', '', 0, 0, now)
if key[1] == 'no' then return {{'key', key, {{}}, {{}}}} end
local slot = pace(KEYS[2], KEYS[3], 'take', call, '', 0, now)
local no, endpoint = '', {{}}
if slot[1] == 0 then no = 'slot'
elseif not purse(KEYS[4], ARGV[2] == '1', now) then no = 'repeats'
else
  -- The last gate, because at half-open whoever passes it is the only one.
  endpoint = breaker(KEYS[5], 'admit', call, '', '', 0, 0, now)
  if endpoint[1] == 'no' then no = 'endpoint' end
end
if no ~= '' then
  if no ~= 'slot' then pace(KEYS[2], KEYS[3], 'give', call, 'neither', 0, now) end
  if key[1] == 'probe' then breaker(KEYS[1], 'record', call, 'nothing', '', 0, 0, now) end
end
return {{no, key, slot, endpoint}}
"""

# KEYS: as above, without the purse. ARGV: call, now; of the key told, why, jitter, hold; of the endpoint told, why,
# jitter; of the slot went, began. Where nothing is told nothing is done.
TELL_LUA = f"""{CLOCK}{RULES}{PACE_RULES}
local call, now = ARGV[1], clock(ARGV[2])
local key, endpoint, slot = {{}}, {{}}, {{}}
if ARGV[7] ~= '' then endpoint = breaker(KEYS[4], 'record', call, ARGV[7], ARGV[8], tonumber(ARGV[9]), 0, now) end
if ARGV[3] ~= '' then
  key = breaker(KEYS[1], 'record', call, ARGV[3], ARGV[4], tonumber(ARGV[5]), tonumber(ARGV[6]), now)
end
if ARGV[10] ~= '' then slot = pace(KEYS[2], KEYS[3], 'give', call, ARGV[10], tonumber(ARGV[11]), now) end
return {{'', key, slot, endpoint}}
"""


@dataclass(frozen=True)
class Word:
    """How a call goes, for its gates; where nothing is said nothing is done."""

    key: Told | None = None
    key_why: str = ""
    hold: int = 0
    """Milliseconds that the key shall be left alone."""
    endpoint: Told | None = None
    endpoint_why: str = ""
    went: Went | None = None
    """The call is over, and its slot is free."""
    began: int = 0
    key_jitter: int = 1000
    endpoint_jitter: int = 1000

    @property
    def arguments(self) -> list[str | int]:
        """For TELL_LUA, after call and now."""
        key = [self.key or "", self.key_why, self.key_jitter, self.hold]
        return [*key, self.endpoint or "", self.endpoint_why, self.endpoint_jitter, self.went or "", self.began]


@dataclass(frozen=True)
class Found:
    """The gates after they were asked or told; what was not reached or not told is None."""

    no: No
    key: Seen | None
    slot: Slots | None
    endpoint: Seen | None

    @property
    def probes(self) -> Word:
        """What is to be said of a call that was let through and never heard of again: its probes are over."""
        return Word(
            key=Told.NOTHING if self.key and self.key.verdict == Verdict.PROBE else None,
            endpoint=Told.NOTHING if self.endpoint and self.endpoint.verdict == Verdict.PROBE else None,
        )


def found(answer: list[Any]) -> Found:
    """What ASK_LUA or TELL_LUA returned."""
    no, key, slot, endpoint = answer
    return Found(
        no.decode(),
        seen(key) if key else None,
        Slots.told(slot) if slot else None,
        seen(endpoint) if endpoint else None,
    )


@dataclass(frozen=True)
class Here:
    """The gates in the memory of one process."""

    key: Circuit
    pace: Pace
    purse: Purse
    endpoint: Circuit

    def ask(self, now: int, call: str, *, repeat: bool) -> Found:
        """What ASK_LUA does."""
        key = self.key.admit(now, call)
        if key.verdict == Verdict.NO:
            return Found("key", key, None, None)
        slot, endpoint = self.pace.take(now, call), None
        no: No = ""
        if not slot.granted:
            no = "slot"
        elif not self.purse.pay(now, repeat=repeat):
            no = "repeats"
        else:
            endpoint = self.endpoint.admit(now, call)
            no = "endpoint" if endpoint.verdict == Verdict.NO else ""
        if no in ("repeats", "endpoint"):
            self.pace.give_back(now, call, Went.NEITHER, 0)
        if no and key.verdict == Verdict.PROBE:
            self.key.record(now, call, Told.NOTHING)
        return Found(no, key, slot, endpoint)

    def tell(self, now: int, call: str, word: Word) -> Found:
        """What TELL_LUA does."""
        key: Seen | None = None
        slot: Slots | None = None
        endpoint: Seen | None = None
        if word.endpoint:
            endpoint = self.endpoint.record(now, call, word.endpoint, word.endpoint_why, word.endpoint_jitter)
        if word.key:
            key = self.key.record(now, call, word.key, word.key_why, word.key_jitter, word.hold)
        if word.went:
            slot = self.pace.give_back(now, call, word.went, word.began)
        return Found("", key, slot, endpoint)
