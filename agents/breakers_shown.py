"""Breakers as people see them."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from agents import breakers, hosting
from agents.breakers import Breaker
from agents.circuit import Lamp
from agents.models import Server
from agents.routes import is_rehearsal, model_for, route_for
from tenants.context import in_schema


@dataclass(frozen=True)
class Line:
    """A breaker as a person sees it."""

    name: str
    title: str
    state: Lamp
    since: datetime | None
    until: datetime | None
    why: str


def lines(schema: str, models: Iterable[str] = ()) -> list[Line]:
    """The breakers that concern a team: those of its default model and other models of its agents, and of the keys."""
    with in_schema(schema):
        rehearsal = is_rehearsal()
        routes = dict.fromkeys(route_for(model_for(model), rehearsal=rehearsal) for model in ("", *models))
    found, keys = [], dict[str, Line]()
    for route in filter(None, routes):
        mine, endpoint = breakers.of_route(schema, route)
        at = f"{route.provider}, {route.host}" if route.provider else route.host
        found.append(line(endpoint, f"Model {route.model} at {at}"))
        keys[mine.name] = line(mine, f"This team's key at {at}")
    return [*found, *keys.values()]


def of_servers(schema: str) -> list[Line]:
    """Those of the servers on which a team lets work be done."""
    with in_schema(schema):
        rows = list(Server.objects.exclude(roles=[]).order_by("name"))
        return [line(hosting.breaker(row), f"Server {row.name}") for row in rows]


def line(breaker: Breaker, title: str) -> Line:
    """One breaker as a person sees it."""
    found = breaker.look()
    return Line(breaker.name, title, found.after, _moment(found.since), _moment(found.until), found.why)


def _moment(ms: int) -> datetime | None:
    return datetime.fromtimestamp(ms / 1000, UTC) if ms else None
