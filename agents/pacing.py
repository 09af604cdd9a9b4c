"""How many calls a dependency gets at once, and how many of them may be repeats. Pure.

The limit grows by one for each window of good calls and shrinks to 0.7 when the dependency asks for less (AIMD).
Repeats live off first calls: ten of those pay for one. Here for one process alone; the Lua is the same, shared in
Redis. A test compares them. Times are milliseconds; the limit is kept in tenths.
"""

from dataclasses import dataclass, field
from enum import StrEnum

from agents.circuit import CLOCK

FIRST_LIMIT, LOWEST, HIGHEST = 160, 10, 640
KEEP_PERCENT = 70
LEASE_MS = 60_000
"""A slot whose holder died is free after this; the living renew it."""
RETRY_COST, RETRY_SHARE, RETRY_MOST = 1_000, 100, 10_000
RETRY_FLOOR_MS = 6
"""So many milliseconds earn one thousandth of a retry: 5 in 30 s, however few calls there are."""
KEPT_MS = 3_600_000


class Went(StrEnum):
    """How a call went, as its limit counts it."""

    WELL = "well"  # and in time
    OVER = "over"  # too many: 429, or no answer in time
    NEITHER = "neither"


@dataclass(frozen=True)
class Slots:
    """A limit after it was asked or told."""

    granted: bool
    taken: int
    limit: int
    """In tenths."""
    now: int

    @classmethod
    def told(cls, answer: list[int]) -> "Slots":
        """What the Lua returned."""
        granted, taken, limit, now = answer
        return cls(bool(granted), taken, limit, now)


@dataclass
class Pace:
    """One limit in this process's memory."""

    limit: int = FIRST_LIMIT
    good: int = 0
    cut_at: int = 0
    held: dict[str, int] = field(default_factory=dict)
    """Call → when its lease ends."""

    def take(self, now: int, call: str) -> Slots:
        """A slot, when one is free."""
        self.held = {name: until for name, until in self.held.items() if until > now}
        granted = len(self.held) < self.limit // 10
        if granted:
            self.held[call] = now + LEASE_MS
        return Slots(granted, len(self.held), self.limit, now)

    def renew(self, now: int, call: str) -> Slots:
        """Its holder lives: also after a pause in which the slot was lost."""
        self.held[call] = now + LEASE_MS
        return Slots(True, len(self.held), self.limit, now)

    def give_back(self, now: int, call: str, went: Went, began: int) -> Slots:
        """The call that began then is over."""
        busy = len(self.held)
        self.held.pop(call, None)
        if went == Went.WELL and busy * 2 >= self.limit // 10:
            # Only a limit that is used proves that more would go.
            self.good += 1
            if self.good >= self.limit // 10:
                self.limit, self.good = min(HIGHEST, self.limit + 10), 0
        elif went == Went.OVER and began >= self.cut_at:
            # Calls that were under way at the last cut are part of the same burst.
            self.limit, self.good, self.cut_at = max(LOWEST, self.limit * KEEP_PERCENT // 100), 0, now
        return Slots(True, len(self.held), self.limit, now)


@dataclass
class Purse:
    """What repeats may cost, in this process's memory."""

    tokens: int = RETRY_MOST // 2
    at: int = 0

    def pay(self, now: int, *, repeat: bool) -> bool:
        """A first call earns, a repeat pays. Whether it may go."""
        earned = (now - self.at) // RETRY_FLOOR_MS if self.at else 0
        self.at = max(now, self.at)
        self.tokens = min(RETRY_MOST, self.tokens + max(earned, 0) + (0 if repeat else RETRY_SHARE))
        if repeat and self.tokens < RETRY_COST:
            return False
        self.tokens -= RETRY_COST if repeat else 0
        return True


# A limit (hash) and its slots (sorted set: call → end of its lease).
PACE_RULES = f"""
local function pace(key, slots, action, call, went, began, now)
  local FIRST, LOWEST, HIGHEST, KEEP = {FIRST_LIMIT}, {LOWEST}, {HIGHEST}, {KEEP_PERCENT}
  local LEASE, KEPT = {LEASE_MS}, {KEPT_MS}
  local h = redis.call('HMGET', key, 'limit', 'good', 'cut_at')
  local limit, good, cut_at = tonumber(h[1] or FIRST), tonumber(h[2] or 0), tonumber(h[3] or 0)
  local granted, changed = 1, false
  if action == 'take' then
    redis.call('ZREMRANGEBYSCORE', slots, '-inf', now)
    granted = redis.call('ZCARD', slots) < math.floor(limit / 10) and 1 or 0
    if granted == 1 then redis.call('ZADD', slots, now + LEASE, call) end
  elseif action == 'renew' then
    redis.call('ZADD', slots, now + LEASE, call)
  else
    local busy = redis.call('ZCARD', slots)
    redis.call('ZREM', slots, call)
    if went == 'well' and busy * 2 >= math.floor(limit / 10) then
      changed, good = true, good + 1
      if good >= math.floor(limit / 10) then limit, good = math.min(HIGHEST, limit + 10), 0 end
    elseif went == 'over' and began >= cut_at then
      changed, limit, good, cut_at = true, math.max(LOWEST, math.floor(limit * KEEP / 100)), 0, now
    end
  end
  if changed then
    redis.call('HSET', key, 'limit', limit, 'good', good, 'cut_at', cut_at)
    redis.call('PEXPIRE', key, KEPT)
  end
  redis.call('PEXPIRE', slots, KEPT)
  return {{granted, redis.call('ZCARD', slots), limit, now}}
end
"""

# The purse of repeats (hash).
PURSE_RULES = f"""
local function purse(key, again, now)
  local COST, SHARE, MOST, FLOOR = {RETRY_COST}, {RETRY_SHARE}, {RETRY_MOST}, {RETRY_FLOOR_MS}
  local h = redis.call('HMGET', key, 'tokens', 'at')
  local tokens, at = tonumber(h[1] or MOST / 2), tonumber(h[2] or 0)
  local earned = at > 0 and math.max(math.floor((now - at) / FLOOR), 0) or 0
  tokens = math.min(MOST, tokens + earned + (again and 0 or SHARE))
  local ok = true
  if again then
    if tokens < COST then ok = false else tokens = tokens - COST end
  end
  redis.call('HSET', key, 'tokens', tokens, 'at', math.max(now, at))
  redis.call('PEXPIRE', key, {KEPT_MS})
  return ok
end
"""

# A limit alone. ARGV: action, call, went, began, now.
PACE_LUA = f"""{CLOCK}{PACE_RULES}
return pace(KEYS[1], KEYS[2], ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4]), clock(ARGV[5]))
"""
