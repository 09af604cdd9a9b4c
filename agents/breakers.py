"""Breakers: a dependency that fails is left alone for a while, and then tried by one caller at a time.

What breaks for everybody (no answer, timeouts, 5xx) opens the breaker of the endpoint; what is wrong with a key
(401, 402, 403, 429) opens that of this team's key alone.
"""

import asyncio
import re
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import structlog
from channels.db import database_sync_to_async
from django.conf import settings
from django.db import Error as DatabaseError
from prometheus_client import Counter, Gauge

from agents.circuit import LUA, Circuit, Lamp, Seen, Told, seen
from agents.failover import ahead
from agents.routes import Route, is_rehearsal, model_for, routes_for
from agents.shared import Script, Shared
from sessions.events import publish
from tenants.context import in_schema

logger = structlog.get_logger(__name__)

MOVES = Counter("waggle_breaker_moves_total", "Changes of state of breakers.", ["scope", "after"])
REFUSED = Counter("waggle_breaker_refused_total", "Calls that a breaker did not let through.", ["scope"])
OPEN = Gauge("waggle_breaker_open", "1 while the breaker of an endpoint is open, 0.5 at half-open.", ["breaker"])
_HEIGHT = {Lamp.CLOSED: 0.0, Lamp.HALF_OPEN: 0.5, Lamp.OPEN: 1.0}
_OF_KEY, _OF_OWN = re.compile(r":t_[a-z2-7]+(:[0-9a-f-]{36})?$"), re.compile(r":[0-9a-f-]{36}$")
"""What follows the address in names of breakers: the team's schema, the provider's id."""
LOOK_SECONDS = 0.2
"""How old `closed_until` may be."""
_RULES = Script(LUA)
_twins: dict[str, Circuit] = {}
_looked: dict[tuple[str, str], tuple[float, "Shut | None"]] = {}
_telling: set[asyncio.Task[None]] = set()


@dataclass(frozen=True)
class Move:
    """A breaker changed its state."""

    name: str
    before: Lamp
    after: Lamp
    why: str
    seconds: float
    """Until it may be tried again."""


Tell = Callable[[Move], Awaitable[None]]


@dataclass(frozen=True)
class Shut:
    """A breaker that lets nothing through for a while."""

    name: str
    wait: timedelta
    why: str

    @property
    def told(self) -> str:
        """For people of the team: about its key (`key:…`) or the provider (`breaker:…`), at which address, and why."""
        kind, _, rest = self.name.partition(":")
        if kind == "key":
            return f"key:{_OF_KEY.sub('', rest)}: {self.why}"
        return f"breaker:{_OF_OWN.sub('', rest) if kind == 'own' else rest}: {self.why}"


class Refusing(Exception):
    """The breaker lets no call through now."""

    def __init__(self, shut: Shut) -> None:
        super().__init__(f"{shut.name} is left alone for {shut.wait.total_seconds():.0f} s more: {shut.why}")
        self.shut = shut


class Breaker:
    """One dependency's breaker, shared by all processes; while Redis is away, this process's own."""

    def __init__(self, name: str, shared: Shared, tell: Tell) -> None:
        self.name = name
        self._shared = shared
        self._tell = tell

    @property
    def key(self) -> str:
        """Where Redis keeps it."""
        return key(self.name)

    @property
    def twin(self) -> Circuit:
        """It in this process, for while Redis is away."""
        return _twins.setdefault(self.name, Circuit())

    async def noted(self, found: Seen) -> None:
        """It was asked or told: its state is measured, and who cares hears of a move."""
        if scope(self.name) == "model":
            OPEN.labels(self.name).set(_HEIGHT[found.after])
        if found.moved:
            await self._tell(self._moved(found))

    def refusing(self, found: Seen) -> Refusing:
        """It did not let a call through."""
        REFUSED.labels(scope(self.name)).inc()
        return Refusing(self._shut(found))

    def rest(self, why: str, hold: timedelta) -> Move | None:
        """Leave it alone for so long; for code without an event loop. The change of its state, if it is one."""
        ms = int(hold.total_seconds() * 1000)
        answer = self._shared.run_now(_RULES, [self.key], ["record", "", Told.COOL, why, 1000, ms, 0])
        found = seen(answer) if answer else self.twin.record(_now(), "", Told.COOL, why, hold=ms)
        return self._moved(found) if found.moved else None

    def look(self) -> Seen:
        """As it is now."""
        answer = self._shared.run_now(_RULES, [self.key], ["look", "", "", "", 0, 0, 0])
        return seen(answer) if answer else self.twin.look(_now())

    def shut(self) -> Shut | None:
        """For how long and why nothing goes through; None: calls may go."""
        found = self.look()
        return self._shut(found) if found.wait else None

    def _moved(self, found: Seen) -> Move:
        MOVES.labels(scope(self.name), found.after).inc()
        seconds = max(found.until - found.now, 0) / 1000
        return Move(self.name, found.before, found.after, found.why, seconds)

    def _shut(self, found: Seen) -> Shut:
        return Shut(self.name, timedelta(milliseconds=found.wait), found.why)


def key(name: str) -> str:
    """Where Redis keeps a breaker."""
    return f"waggle:breaker:{{{name}}}"


def scope(name: str) -> str:
    """`model` (an endpoint, everybody's), `own` (one of a team's provider), `key` (one team's credential) or `server`
    (one that a team enrolled)."""
    return name.partition(":")[0]


def model_name(route: Route) -> str:
    """The breaker of a model's endpoint: everybody's for the platform's provider, a provider's of a team its own.

    What a team calls its provider may be anything, and must not shut what others use.
    """
    if route.id is not None:
        return f"own:{route.host}/{route.model}:{route.id}"
    return f"model:{route.host}/{route.model}"


def key_name(schema: str, route: Route) -> str:
    """The breaker of a team's key at the model's provider; each of its own keys has one."""
    own = f":{route.id}" if route.id is not None else ""
    return f"key:{route.host}:{schema}{own}"


def of_route(schema: str, route: Route) -> tuple[Breaker, Breaker]:
    """What a model call of this team must pass: its key's breaker, then the endpoint's."""

    async def tell(move: Move) -> None:
        task = asyncio.create_task(announce(schema, move))
        _telling.add(task)
        task.add_done_callback(_telling.discard)

    return Breaker(key_name(schema, route), shared(), tell), Breaker(model_name(route), shared(), tell)


def of_server(schema: str, server: str) -> Breaker:
    """The breaker of an enrolled server, by its id: it rests when attempts are lost there."""
    return Breaker(f"server:{schema}:{server}", shared(), partial(announce, schema))


def rest(breaker: Breaker, why: str, hold: timedelta) -> None:
    """Leave a dependency of this team alone for so long, and tell that."""
    if move := breaker.rest(why, hold):
        logger.warning("a breaker moved", breaker=move.name, after=move.after, why=why, seconds=hold.total_seconds())
        _publish(move, datetime.now(UTC) + hold)


def announcing() -> list[asyncio.Task[None]]:
    """Moves that are still being told."""
    return list(_telling)


def closed_until(schema: str, model: str = "") -> Shut | None:
    """The breaker that stops this team's calls of a model; None: they go, if to another provider than usually.

    Where several providers have it that is the one which opens first again. At most LOOK_SECONDS old.
    """
    now = time.monotonic()
    at, known = _looked.get((schema, model), (0.0, None))
    if not at or now - at > LOOK_SECONDS:
        with in_schema(schema):
            routes = routes_for(model_for(model), rehearsal=is_rehearsal())
        found = [shut_on(schema, route) for route in routes]
        known = min(filter(None, found), key=lambda shut: shut.wait, default=None) if ahead(found) is None else None
        _looked[(schema, model)] = (now, known)
    return known


def shut_on(schema: str, route: Route) -> Shut | None:
    """Of the two breakers of a route the one that lets nothing through for longest; None: calls go."""
    found = [shut for breaker in of_route(schema, route) if (shut := breaker.shut())]
    return max(found, key=lambda shut: shut.wait, default=None)


async def announce(schema: str, move: Move) -> None:
    """A line in the log, and an event of the team whose call moved the breaker."""
    until = datetime.now(UTC) + timedelta(seconds=move.seconds) if move.seconds else None
    log = logger.warning if move.after == Lamp.OPEN else logger.info
    facts = {"breaker": move.name, "before": move.before, "after": move.after, "why": move.why}
    log("a breaker moved", **facts, seconds=round(move.seconds, 1), team=schema)
    try:
        await _published(schema, move, until)
    except DatabaseError as error:
        # It moved all the same, and the line above says so.
        logger.warning("a breaker's move is not among the events", breaker=move.name, error=str(error))


@database_sync_to_async
def _published(schema: str, move: Move, until: datetime | None) -> None:
    with in_schema(schema):
        _publish(move, until)


def _publish(move: Move, until: datetime | None) -> None:
    facts: dict[str, Any] = {"name": move.name, "before": move.before, "after": move.after, "because": move.why}
    publish("team", "breaker.moved", **facts, until=until.isoformat() if until else None)


def forget() -> None:
    """Drop what this process keeps of them."""
    _twins.clear()
    _looked.clear()


def _now() -> int:
    return int(time.time() * 1000)


_shared: list[Shared] = []


def shared() -> Shared:
    """The Redis that breakers and limits are shared in."""
    if not _shared:
        _shared.append(Shared(settings.STREAM_URL))
    return _shared[0]
