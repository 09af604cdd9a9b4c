"""Metering of model calls: what an answer says it used, and the row that keeps it."""

import json
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import connection, transaction
from django.utils import timezone
from prometheus_client import Counter, Histogram

from agents import budgets, prices
from agents.contracts import Usage
from agents.models import HeldCall, ModelCall
from agents.ports import settlement
from agents.routes import Route, Way
from sessions.events import NOTHING, Statement, acting, publish
from tenants.context import in_schema
from tenants.trace import begin_trace

CALLS = Counter("waggle_model_calls_total", "Model calls through the gateway.", ["model", "status"])
TOKENS = Counter("waggle_model_tokens_total", "Tokens of model calls.", ["model", "direction"])
SECONDS = Histogram(
    "waggle_model_call_seconds", "How long model calls took.", buckets=(0.1, 0.5, 1, 2, 5, 10, 30, 60, 120, 300)
)
NOT_REACHED = 0
CLIENT_GONE = 499
BROKEN_OFF = 502
_MAY_COST = frozenset({200, CLIENT_GONE, BROKEN_OFF})
MOST_TOKENS = 2**31 - 1
UNHEARD = timedelta(minutes=10)
"""After the end of an execution: whoever has not told of its calls by then has died over them."""


@dataclass(frozen=True)
class Caller:
    """The execution that a call is for."""

    schema: str
    execution: UUID
    session: UUID
    swarm: UUID
    agent: str
    trace: str
    is_budgeted: bool = False
    """Something that it is for has a budget."""
    ways: tuple[Way, ...] = ()
    """Where its calls may go, in that order; of one that is over: where it went."""
    because: str = ""
    """Why those before did not answer it."""
    rehearsal: bool = False

    @property
    def way(self) -> Way | None:
        """Where it went, or goes while all is well; None: nowhere."""
        return self.ways[0] if self.ways else None

    @property
    def route(self) -> Route | None:
        """The way without its key."""
        return self.way.route if self.way else None

    @property
    def asked(self) -> str:
        """The model that is asked for it."""
        return self.route.model if self.route else str(settings.MODEL_NAME)

    @property
    def base_url(self) -> str:
        """Where its model is, by which prices are known."""
        return self.route.base_url if self.route else str(settings.MODEL_BASE_URL)


@dataclass
class Meter:
    """Reads usage and model out of an answer's bytes as they pass, whole JSON or server-sent chunks alike."""

    model: str = ""
    usage: Usage = field(default_factory=Usage)
    is_complete: bool = False
    """The stream told that it is over; who hangs up then has heard all."""
    is_sent: bool = False
    """All of the answer is passed on; who hangs up then has not left early."""
    _streamed: bool = False
    _rest: bytearray = field(default_factory=bytearray)

    def begin(self, *, streamed: bool) -> None:
        """An answer comes, as a stream of chunks or whole."""
        self._streamed = streamed

    def feed(self, data: bytes) -> None:
        """Some more bytes of the answer."""
        self._rest += data
        if not self._streamed:
            return
        if b"\n" not in data:
            return
        *lines, rest = self._rest.split(b"\n")
        self._rest = bytearray(rest)
        for line in lines:
            self._line(bytes(line))

    def end(self) -> None:
        """There is no more."""
        if self._streamed:
            self._line(bytes(self._rest))
        else:
            self._take(bytes(self._rest))
        self._rest.clear()

    def _line(self, line: bytes) -> None:
        # Nearly all chunks are text only: they are not parsed.
        if line.strip() == b"data: [DONE]":
            self.is_complete = True
        elif line.startswith(b"data:") and (not self.model or b'"usage"' in line):
            self._take(line[len(b"data:") :].strip())

    def _take(self, data: bytes) -> None:
        try:
            answer = json.loads(data)
        except (ValueError, RecursionError):
            return
        if not isinstance(answer, dict):
            return
        if isinstance(answer.get("model"), str):
            model = answer["model"].encode("utf-8", "replace").decode().replace("\0", "\N{REPLACEMENT CHARACTER}")
            self.model = model[: ModelCall._meta.get_field("model").max_length]
        if isinstance(answer.get("usage"), dict):
            self.usage = usage_of(answer["usage"])


def usage_of(told: dict[str, Any]) -> Usage:
    """Tokens as an OpenAI-compatible answer tells them; what it does not tell is 0."""
    details = told.get("prompt_tokens_details")
    return Usage(
        input_tokens=_count(told.get("prompt_tokens")),
        output_tokens=_count(told.get("completion_tokens")),
        cached_tokens=_count(details.get("cached_tokens")) if isinstance(details, dict) else 0,
    )


def _count(told: object) -> int:
    return min(max(told, 0), MOST_TOKENS) if isinstance(told, int) else 0


def keep(caller: Caller, meter: Meter, *, status: int, seconds: float, held: int = 0) -> ModelCall:
    """Store a call and book its cost, then tell its swarm. `status` is the provider's or one of those above.

    `held` is what was set aside for it, in millionths of a dollar.
    """
    begin_trace(caller.trace)
    with in_schema(caller.schema):
        cost = _cost(caller, meter.model or caller.asked, meter.usage, status, held)
        softly: list[str] = []
        call = ModelCall(
            execution_id=caller.execution,
            model=meter.model or caller.asked,
            provider=caller.route.provider if caller.route else "",
            because=caller.because,
            rehearsal=caller.rehearsal,
            status=status,
            input_tokens=meter.usage.input_tokens,
            cached_tokens=meter.usage.cached_tokens,
            output_tokens=meter.usage.output_tokens,
            cost_microusd=cost,
            seconds=round(seconds, 3),
            trace=caller.trace,
            at=timezone.now(),
        )
        with acting(f"agent:{caller.agent}"):
            if not cost and not held:  # nothing is booked, and no lock needed
                _tell(caller.swarm, caller.session, call, writing=_insert(call))
            else:
                with transaction.atomic():
                    execution = budgets.locked(caller.execution)
                    call.save(force_insert=True)
                    softly = budgets.spend(execution, cost or 0, held=held)
                # In a transaction of its own: the books are the last lock (see agents.budgets).
                _tell(caller.swarm, caller.session, call)
        if softly:
            settlement().soft_line(caller.swarm, softly)
    _measure(call, caller.asked)
    return call


def _insert(call: ModelCall) -> Statement:
    fields = call._meta.concrete_fields
    columns = ", ".join(f'"{field.column}"' for field in fields)
    places = ", ".join(["%s"] * len(fields))
    values = [field.get_db_prep_save(getattr(call, field.attname), connection) for field in fields]
    return f"INSERT INTO {call._meta.db_table} ({columns}) VALUES ({places})", values


def _cost(caller: Caller, model: str, usage: Usage, status: int, held: int) -> int | None:
    if caller.rehearsal:
        return 0
    if held and status in _MAY_COST and not usage.input_tokens and not usage.output_tokens:
        # Nobody says what it used, and who hangs up early must not work for nothing.
        return caller.way.most_microusd if caller.way else held
    provider = caller.route.id if caller.route else None
    return prices.cost(model, usage, asked=caller.asked, base_url=caller.base_url, provider=provider)


def book_unheard(*, after: timedelta = UNHEARD) -> int:
    """Book calls of which nobody has told, as what was held for them: they may have cost that much.

    In the current schema, of executions that ended so long ago. Returns how many.
    """
    found = HeldCall.objects.filter(execution__ended_at__lt=timezone.now() - after)
    return sum(_book_unheard(held) for held in list(found))


def _book_unheard(held: HeldCall) -> bool:
    with transaction.atomic():
        execution = budgets.locked(held.execution_id)
        if not HeldCall.objects.filter(pk=held.pk).exists():
            return False  # somebody told just now
        words = {"model": execution.model, "status": BROKEN_OFF, "trace": execution.trace}
        call = ModelCall.objects.create(execution=execution, cost_microusd=held.microusd, **words)
        softly = budgets.spend(execution, held.microusd, held=held.microusd)
    _tell(execution.swarm, execution.session_id, call)
    if softly:
        settlement().soft_line(execution.swarm, softly)
    return True


def _tell(swarm: UUID, session: UUID, call: ModelCall, *, writing: Statement = NOTHING) -> None:
    publish(
        f"swarm:{swarm}",
        "model.called",
        writing=writing,
        session=str(session),
        model=call.model,
        provider=call.provider,
        because=call.because,
        rehearsal=call.rehearsal,
        status=call.status,
        input_tokens=call.input_tokens,
        output_tokens=call.output_tokens,
        cost_microusd=call.cost_microusd,
    )


def _measure(call: ModelCall, model: str) -> None:
    # The asked name, not the answered one: an upstream must not be able to make labels without end.
    CALLS.labels(model, str(call.status)).inc()
    TOKENS.labels(model, "input").inc(call.input_tokens)
    TOKENS.labels(model, "output").inc(call.output_tokens)
    SECONDS.observe(call.seconds)
