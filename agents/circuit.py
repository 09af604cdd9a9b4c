"""When a dependency is left alone and when it is tried again: the rules of a breaker. Pure.

The same rules stand here twice: as `Circuit`, which one process uses while Redis is away, and in Lua, which all
processes share in Redis. A test runs both on the same random histories and compares. All times are milliseconds.
"""

from dataclasses import dataclass, field
from enum import StrEnum

SLOTS, SLOT_MS = 10, 3_000
FEWEST_CALLS = 10
FIRST_MS, LONGEST_MS = 10_000, 300_000
PROBE_MS = 65_000
"""So long nobody else may try; then whoever had the probe is taken for dead."""
WINS = 3
ASK_AGAIN_MS = 1_000
"""How long those wait who come while a probe is under way."""
KEPT_MS = 3_600_000


class Lamp(StrEnum):
    """The state of a breaker."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class Told(StrEnum):
    """How a call ended, as its breaker counts it."""

    WORKED = "worked"
    SLOW = "slow"
    FAILED = "failed"
    COOL = "cool"  # the dependency said when to come again
    NOTHING = "nothing"  # it says nothing about the dependency


class Verdict(StrEnum):
    """Whether a call may go."""

    GO = "go"
    PROBE = "probe"
    NO = "no"


@dataclass(frozen=True)
class Seen:
    """A breaker after it was asked, told or looked at."""

    verdict: Verdict
    before: Lamp
    after: Lamp
    since: int
    until: int
    """When it may be tried again; 0 while closed."""
    now: int
    wait: int
    """So long a call that may not go should wait."""
    why: str

    @property
    def moved(self) -> bool:
        return self.before != self.after


@dataclass
class Circuit:
    """One breaker in this process's memory."""

    lamp: Lamp = Lamp.CLOSED
    since: int = 0
    until: int = 0
    times: int = 0
    """How often it opened in a row."""
    wins: int = 0
    probe: str = ""
    probe_until: int = 0
    cooling: bool = False
    """Open because it was told to wait: it closes by itself."""
    why: str = ""
    window: dict[int, tuple[int, int, int, int]] = field(default_factory=dict)
    """Slot of the ring → (number, calls, failures, slow ones)."""

    def look(self, now: int) -> Seen:
        """As it is."""
        return self._seen(now, self.lamp, Verdict.NO if self._wait(now) else Verdict.GO)

    def admit(self, now: int, call: str) -> Seen:
        """May this call go? At half-open one goes at a time, as the probe."""
        before = self.lamp
        if self.lamp == Lamp.OPEN and now >= self.until:
            self._half_open(now)
        if self.lamp == Lamp.CLOSED:
            return self._seen(now, before, Verdict.GO)
        if self._wait(now):
            return self._seen(now, before, Verdict.NO)
        self.probe, self.probe_until = call, now + PROBE_MS
        return self._seen(now, before, Verdict.PROBE)

    def record(self, now: int, call: str, told: Told, why: str = "", jitter: int = 1000, hold: int = 0) -> Seen:
        """A call ended. `jitter` is in thousandths; `hold` is how long to cool down."""
        before = self.lamp
        if told == Told.COOL:
            self._cool(now, hold, why)
        elif self.lamp == Lamp.CLOSED and told != Told.NOTHING:
            if self._count(now, told):
                self._open(now, jitter, why)
        elif self.lamp == Lamp.HALF_OPEN and call == self.probe:
            self._judge(now, told, why, jitter)
        return self._seen(now, before, Verdict.GO)

    def _half_open(self, now: int) -> None:
        if self.cooling:
            self._close(now)
        else:
            self.lamp, self.since, self.wins, self.probe = Lamp.HALF_OPEN, now, 0, ""

    def _judge(self, now: int, told: Told, why: str, jitter: int) -> None:
        self.probe = ""
        if told in (Told.FAILED, Told.SLOW):
            self._open(now, jitter, why)
        elif told == Told.WORKED:
            self.wins += 1
            if self.wins >= WINS:
                self._close(now)

    def _count(self, now: int, told: Told) -> bool:
        """Note a call; whether that was one too many."""
        number = now // SLOT_MS
        had, calls, failed, slow = self.window.get(number % SLOTS, (number, 0, 0, 0))
        if had != number:
            calls = failed = slow = 0
        self.window[number % SLOTS] = (number, calls + 1, failed + (told == Told.FAILED), slow + (told == Told.SLOW))
        fresh = [slot[1:] for slot in self.window.values() if slot[0] > number - SLOTS]
        calls, failed, slow = (sum(each) for each in zip(*fresh, strict=True))
        return calls >= FEWEST_CALLS and (failed * 2 >= calls or slow * 10 >= calls * 8)

    def _open(self, now: int, jitter: int, why: str) -> None:
        pause = min(LONGEST_MS, FIRST_MS * 2 ** min(self.times, 10) * jitter // 1000)
        self.lamp, self.since, self.until, self.why = Lamp.OPEN, now, now + pause, why
        self.times, self.cooling, self.probe = self.times + 1, False, ""

    def _cool(self, now: int, hold: int, why: str) -> None:
        until = now + min(hold, LONGEST_MS)
        if self.lamp == Lamp.OPEN:
            self.until = max(self.until, until)
            return
        # What was on trial stays so: a request to wait is no proof that it works.
        self.cooling = self.lamp == Lamp.CLOSED
        self.lamp, self.since, self.until, self.why, self.probe = Lamp.OPEN, now, until, why, ""

    def _close(self, now: int) -> None:
        self.lamp, self.since, self.until, self.times, self.why = Lamp.CLOSED, now, 0, 0, ""
        self.cooling = False
        self.window.clear()

    def _wait(self, now: int) -> int:
        if self.lamp == Lamp.OPEN:
            return max(self.until - now, 0)
        if self.lamp == Lamp.HALF_OPEN and self.probe:
            return min(max(self.probe_until - now, 0), ASK_AGAIN_MS)
        return 0

    def _seen(self, now: int, before: Lamp, verdict: Verdict) -> Seen:
        return Seen(verdict, before, self.lamp, self.since, self.until, now, self._wait(now), self.why)


CLOCK = """
local function clock(now)
  now = tonumber(now)
  if now > 0 then return now end
  local t = redis.call('TIME')
  return t[1] * 1000 + math.floor(t[2] / 1000)
end
"""
"""The time of whoever asks, or (0) Redis's own."""

# One hash per breaker.
RULES = f"""
local function breaker(key, action, call, told, why, jitter, hold, now)
  local SLOTS, SLOT_MS, FEWEST, FIRST, LONGEST = {SLOTS}, {SLOT_MS}, {FEWEST_CALLS}, {FIRST_MS}, {LONGEST_MS}
  local PROBE_MS, WINS, AGAIN, KEPT = {PROBE_MS}, {WINS}, {ASK_AGAIN_MS}, {KEPT_MS}
  local h, flat = {{}}, redis.call('HGETALL', key)
  for i = 1, #flat, 2 do h[flat[i]] = flat[i + 1] end
  local lamp, probe, reason = h.lamp or 'closed', h.probe or '', h.why or ''
  local since, untl, times = tonumber(h.since or 0), tonumber(h['until'] or 0), tonumber(h.times or 0)
  local wins, probe_until, cooling = tonumber(h.wins or 0), tonumber(h.probe_until or 0), h.cooling == '1'
  local before, verdict, changed, wipe = lamp, 'go', false, false

  local function wait()
    if lamp == 'open' then return math.max(untl - now, 0) end
    if lamp == 'half_open' and probe ~= '' then return math.min(math.max(probe_until - now, 0), AGAIN) end
    return 0
  end
  local function open()
    local pause = math.min(LONGEST, math.floor(FIRST * 2 ^ math.min(times, 10) * jitter / 1000))
    lamp, since, untl, reason, times, cooling, probe = 'open', now, now + pause, why, times + 1, false, ''
  end
  local function close()
    lamp, since, untl, times, reason, cooling, wipe = 'closed', now, 0, 0, '', false, true
  end
  local function too_many()
    local number = math.floor(now / SLOT_MS)
    local calls, failed, slow = 0, 0, 0
    for i = 0, SLOTS - 1 do
      local n, c, f, s = string.match(h['w' .. i] or '', '(%d+) (%d+) (%d+) (%d+)')
      n, c, f, s = tonumber(n or -SLOTS), tonumber(c or 0), tonumber(f or 0), tonumber(s or 0)
      if i == number % SLOTS then
        if n ~= number then c, f, s = 0, 0, 0 end
        n, c = number, c + 1
        if told == 'failed' then f = f + 1 end
        if told == 'slow' then s = s + 1 end
        redis.call('HSET', key, 'w' .. i, string.format('%d %d %d %d', n, c, f, s))
      end
      if n > number - SLOTS then calls, failed, slow = calls + c, failed + f, slow + s end
    end
    redis.call('PEXPIRE', key, KEPT)
    return calls >= FEWEST and (failed * 2 >= calls or slow * 10 >= calls * 8)
  end

  if action == 'look' then
    if wait() > 0 then verdict = 'no' end
  elseif action == 'admit' then
    if lamp == 'open' and now >= untl then
      changed = true
      if cooling then close() else lamp, since, wins, probe = 'half_open', now, 0, '' end
    end
    if lamp ~= 'closed' then
      if wait() > 0 then verdict = 'no' else
        verdict, probe, probe_until, changed = 'probe', call, now + PROBE_MS, true
      end
    end
  elseif told == 'cool' then
    local later = now + math.min(hold, LONGEST)
    changed = true
    if lamp == 'open' then untl = math.max(untl, later) else
      cooling = lamp == 'closed'
      lamp, since, untl, reason, probe = 'open', now, later, why, ''
    end
  elseif lamp == 'closed' then
    if told ~= 'nothing' and too_many() then open() changed = true end
  elseif lamp == 'half_open' and call == probe then
    probe, changed = '', true
    if told == 'failed' or told == 'slow' then open()
    elseif told == 'worked' then
      wins = wins + 1
      if wins >= WINS then close() end
    end
  end
  if changed then
    if wipe then redis.call('DEL', key) end
    redis.call('HSET', key, 'lamp', lamp, 'since', since, 'until', untl, 'times', times, 'wins', wins, 'probe', probe,
      'probe_until', probe_until, 'cooling', cooling and '1' or '0', 'why', reason)
    redis.call('PEXPIRE', key, KEPT)
  end
  return {{verdict, before, lamp, since, untl, now, wait(), reason}}
end
"""

# One breaker alone. ARGV: action, call, told, why, jitter, hold, now.
LUA = f"""{CLOCK}{RULES}
return breaker(KEYS[1], ARGV[1], ARGV[2], ARGV[3], ARGV[4], tonumber(ARGV[5]), tonumber(ARGV[6]), clock(ARGV[7]))
"""


def seen(answer: list[bytes | int]) -> Seen:
    """What LUA returned."""
    verdict, before, after, since, until, now, wait, why = answer
    return Seen(
        Verdict(_text(verdict)),
        Lamp(_text(before)),
        Lamp(_text(after)),
        int(since),
        int(until),
        int(now),
        int(wait),
        _text(why),
    )


def _text(raw: bytes | int) -> str:
    return raw.decode() if isinstance(raw, bytes) else str(raw)
