"""What a call of the model passes on its way to the provider: two breakers, a slot, the budget of retries."""

import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from math import ceil
from uuid import UUID, uuid4

import httpx

from agents import breakers
from agents.breakers import Refusing
from agents.circuit import Told
from agents.gates import Word
from agents.limits import Busy
from agents.pacing import Went
from agents.routes import Route
from agents.turnstile import Trial, Turnstile

SLOW_SECONDS = 60.0
"""Until the head of the answer; a breaker counts more as slow."""
TARGET_SECONDS = 30.0
"""A provider that begins to answer within this may get more calls at once."""
LONGEST_WAIT = timedelta(minutes=5)
_KEY = frozenset({401, 402, 403})
_TOO_MANY = 429
_TOO_LATE = frozenset({408, 504})
_turned_away: set[UUID] = set()
"""Executions whose last call did not get as far as the provider: their next is no repeat."""
_MOST_TURNED_AWAY = 10_000


class Refused(Exception):
    """The gateway itself answers: HTTP status, OpenAI's `code`, what to do, and seconds until another try."""

    def __init__(
        self, status: int, code: str, message: str, *, why: str = "", retry_after: float = 0, asked: bool = True
    ) -> None:
        super().__init__(message)
        self.why = why or message
        """In short."""
        self.status = status
        self.code = code
        self.retry_after = ceil(retry_after)
        self.asked = asked
        """Whether the provider may have seen the call."""


def unauthorized() -> Refused:
    """The answer to whoever has no live attempt token, any more."""
    return Refused(401, "invalid_api_key", "Send the live attempt token of a running execution of this team.")


@dataclass(frozen=True)
class Judgement:
    """What an answer says about the endpoint, about the key and about how many calls there may be."""

    endpoint: Told = Told.NOTHING
    key: Told = Told.NOTHING
    went: Went = Went.NEITHER
    wait: timedelta = timedelta()
    """So long it asks to be left alone, whatever it answered."""

    @property
    def hold(self) -> timedelta:
        """So long its key is left alone."""
        return self.wait if self.key == Told.COOL else timedelta()

    @property
    def is_failure(self) -> bool:
        """Endpoint or key do not give what was asked for: somebody else might."""
        return self.endpoint == Told.FAILED or self.key in (Told.FAILED, Told.COOL)


def judged(status: int, seconds: float, retry_after: timedelta | None = None) -> Judgement:
    """Judge an answer by its status and how long its head took. Pure."""
    wait = retry_after or timedelta()
    if status == _TOO_MANY:
        told = Told.FAILED if retry_after is None else Told.COOL
        return Judgement(Told.WORKED, told, Went.OVER, wait)
    if status in _KEY:
        return Judgement(Told.WORKED, Told.FAILED, wait=wait)
    if status >= 500 or status in _TOO_LATE:
        return Judgement(Told.FAILED, went=Went.OVER if status in _TOO_LATE else Went.NEITHER, wait=wait)
    endpoint = Told.SLOW if seconds > SLOW_SECONDS else Told.WORKED
    return Judgement(endpoint, Told.WORKED, Went.WELL if seconds <= TARGET_SECONDS else Went.NEITHER)


def asked_to_wait(header: str | None, now: datetime) -> timedelta | None:
    """A Retry-After, in seconds or as a date; None when there is none that can be read. Pure."""
    if not header:
        return None
    try:
        wait = timedelta(seconds=min(max(float(header), 0), LONGEST_WAIT.total_seconds()))
    except ValueError:
        try:
            date = parsedate_to_datetime(header)
        except ValueError:
            return None
        wait = (date if date.tzinfo else date.replace(tzinfo=UTC)) - now
    return min(max(wait, timedelta()), LONGEST_WAIT)


class Passage:
    """A call on its way: whoever makes it tells how it goes."""

    def __init__(self, trial: Trial) -> None:
        self._trial = trial
        self._began = time.monotonic()

    def answered(self, response: httpx.Response) -> Judgement:
        """The head of an answer is here: what it says, to the gates and to whoever asks the next provider."""
        wait = asked_to_wait(response.headers.get("retry-after"), datetime.now(UTC))
        told = judged(response.status_code, time.monotonic() - self._began, wait)
        why = f"the provider answered HTTP {response.status_code}"
        asked = f", and to wait {told.hold.total_seconds():.0f} s" if told.key == Told.COOL else ""
        hold = int(told.hold.total_seconds() * 1000)
        word = Word(key=told.key, key_why=why + asked, hold=hold, endpoint=told.endpoint, endpoint_why=why)
        self._trial.answered(word, told.went)
        return told

    def broke(self, error: httpx.TransportError) -> None:
        """There is no answer, or no end of it."""
        too_late = isinstance(error, httpx.TimeoutException)
        self._trial.broke(f"no answer ({type(error).__name__})", too_much=too_late)

    def over(self) -> None:
        """The answer has ended. The end of the passage waits until its gates know."""
        self._trial.over()


@asynccontextmanager
async def passage(schema: str, execution: UUID, route: Route, *, repeat: bool = False) -> AsyncIterator[Passage]:
    """Let a call of this team through to the provider's model. Raises Refused."""
    gates = Turnstile(*breakers.of_route(schema, route), breakers.shared())
    repeat = repeat and execution not in _turned_away
    async with AsyncExitStack() as stack:
        try:
            trial = await stack.enter_async_context(gates.call(f"{execution}:{uuid4().hex}", repeat=repeat))
        except (Refusing, Busy) as refusal:
            if len(_turned_away) >= _MOST_TURNED_AWAY:
                _turned_away.clear()
            _turned_away.add(execution)
            raise _refused(refusal) from refusal
        _turned_away.discard(execution)
        yield Passage(trial)


def _refused(refusal: Refusing | Busy) -> Refused:
    if isinstance(refusal, Busy):
        text = f"The model's provider gets no more calls now ({refusal}). Try again later."
        why = "it gets no more calls at once"
        return Refused(429, "too_many_calls", text, why=why, retry_after=refusal.wait, asked=False)
    shut = refusal.shut
    wait = shut.wait.total_seconds()
    why = f"left alone for {wait:.0f} s: {shut.why or 'it is being tried again'}"
    text = f"The model's provider is {why}."
    return Refused(503, "provider_unavailable", text, why=why, retry_after=wait, asked=False)
