"""Breakers as people see them."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import chain

from django.utils import timezone

from agents import breakers, hosting
from agents.breakers import Breaker
from agents.circuit import Lamp
from agents.failover import ahead
from agents.models import Server
from agents.routes import Route, is_rehearsal, model_for, routes_for
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


@dataclass(frozen=True)
class Substitute:
    """A provider that is asked for a model now in place of those before it in the team's order."""

    model: str
    provider: str
    """Empty: none of them can be asked now."""
    why: str


def lines(schema: str, models: Iterable[str] = ()) -> list[Line]:
    """The breakers that concern a team: those of its default model and other models of its agents, and of the keys."""
    found, keys = [], dict[str, Line]()
    for route in chain.from_iterable(_routes(schema, models)):
        mine, endpoint = breakers.of_route(schema, route)
        at = f"{route.provider}, {route.host}" if route.provider else route.host
        found.append(line(endpoint, f"Model {route.model} at {at}"))
        keys[mine.name] = line(mine, f"This team's key at {at}")
    return [*found, *keys.values()]


def substitutes(schema: str, models: Iterable[str] = ()) -> list[Substitute]:
    """Whom calls of these models go to now, where that is not the first of several providers."""
    found = []
    for routes in _routes(schema, models):
        standings = [breakers.shut_on(schema, route) for route in routes]
        number = ahead(standings)
        if len(routes) > 1 and number != 0:
            why = "; ".join(
                f"{route.provider} is left alone until {timezone.now() + shut.wait:%H:%M:%S} UTC: {shut.why}"
                for route, shut in list(zip(routes, standings, strict=True))[:number]
                if shut
            )
            found.append(Substitute(routes[0].model, "" if number is None else routes[number].provider, why))
    return found


def _routes(schema: str, models: Iterable[str]) -> list[list[Route]]:
    """Of each model, the team's default being the first, where its calls may go."""
    with in_schema(schema):
        rehearsal = is_rehearsal()
        names = dict.fromkeys(model_for(model) for model in ("", *models))
        return [routes_for(name, rehearsal=rehearsal) for name in names]


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
