"""Which provider a team's model calls go to, and with whose key: the team's own first, else the platform's.

A team's provider serves the models that it names; its first model is the team's default. Where several of them have a
model, the next one is asked when one does not answer (see agents.failover). Whoever asks for another model asks the
platform's provider, if there is one; it stands in for nobody, since a team's prompts go where the team sends them. An
execution that began with the rehearsal stays with it: its commands may run where those of a real model may not.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import urlsplit
from uuid import UUID

import structlog
from django.conf import settings

from agents.models import Execution, Provider
from tenants.reachable import Rule
from tenants.secrets import CannotUnseal, unseal

logger = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Route:
    """Where a call goes. It holds no key."""

    base_url: str
    model: str
    provider: str = ""
    """What the team calls its provider; empty: the platform's."""
    id: UUID | None = None

    @property
    def host(self) -> str:
        """Host and port, as people may see them."""
        return urlsplit(self.base_url).netloc.rpartition("@")[2]


@dataclass(frozen=True)
class Way:
    """A route with the key that goes with its calls: for the gateway alone."""

    route: Route
    key: str = field(default="", repr=False)
    fault: str = ""
    """Why it cannot be used."""
    most_microusd: int = 0
    """What a call may cost there at most, where money is counted."""


IN_ORDER = ("rank", "created_at", "pk")
"""Providers as the team has ordered them."""


def rule() -> Rule:
    """Where teams' providers may be."""
    return Rule(settings.LOCAL_PROVIDERS, settings.PROVIDER_HOSTS, "WAGGLE_PROVIDER_HOSTS")


def active() -> list[Provider]:
    """The team's providers that have a key, in the order in which they are asked."""
    return list(Provider.objects.filter(revoked_at=None).order_by(*IN_ORDER))


def is_rehearsal() -> bool:
    """Whether what answers this team's agents is the rehearsal."""
    return bool(settings.MODEL_REHEARSAL) and not Provider.objects.filter(revoked_at=None).exists()


def model_for(own: str) -> str:
    """The model behind an agent's own choice: the team's default where it has none, and in a rehearsal the rehearsal's.

    Empty where nobody has set one.
    """
    providers = active()
    if settings.MODEL_REHEARSAL and not providers:
        return str(settings.MODEL_NAME)
    return own or (str(providers[0].serves[0]) if providers else str(settings.MODEL_NAME))


def routes_for(model: str, *, rehearsal: bool) -> list[Route]:
    """Where calls of this model may go, in that order, for an execution that began with the rehearsal or not."""
    providers = [] if rehearsal else active()
    return [way.route for way in _ways(model, providers, rehearsal=rehearsal)]


def route_for(model: str, *, rehearsal: bool) -> Route | None:
    """Where they go while all is well; None: nowhere."""
    return next(iter(routes_for(model, rehearsal=rehearsal)), None)


def ways_of(model: str, providers: Sequence[Provider], *, rehearsal: bool) -> tuple[Way, ...]:
    """The same with keys, of the current team's active providers in their order. Asks the database nothing."""
    return tuple(_ways(model, providers, rehearsal=rehearsal, keyed=True))


def _ways(model: str, providers: Sequence[Provider], *, rehearsal: bool, keyed: bool = False) -> list[Way]:
    rows = [] if rehearsal else [row for row in providers if model in row.serves]
    if rows:
        return [_way(row, model, keyed=keyed) for row in rows]
    if not settings.MODEL_BASE_URL or not model or bool(settings.MODEL_REHEARSAL) != rehearsal:
        return []
    return [Way(Route(settings.MODEL_BASE_URL, model), str(settings.MODEL_API_KEY) if keyed else "")]


def _way(row: Provider, model: str, *, keyed: bool) -> Way:
    route = Route(row.base_url, model, row.name, row.pk)
    try:
        return Way(route, unseal(row, "key") if keyed else "")
    except CannotUnseal as error:
        logger.error("a provider's key cannot be read", provider=row.name, error=str(error))
        return Way(route, fault=f"The key of {row.name} cannot be read. Put it in again on the page of providers.")


def who_answers() -> Literal["model", "rehearsal", ""]:
    """Who answers agents that have no choice of their own; empty: nobody."""
    rehearsal = is_rehearsal()
    if not routes_for(model_for(""), rehearsal=rehearsal):
        return ""
    return "rehearsal" if rehearsal else "model"


def several() -> dict[str, list[str]]:
    """Models that more than one provider of the team has, with the providers' names in the order of asking."""
    found: dict[str, list[str]] = {}
    for row in active():
        for model in row.serves:
            found.setdefault(model, []).append(row.name)
    return {model: names for model, names in found.items() if len(names) > 1}


def terms(own: str) -> dict[str, str | bool]:
    """What an execution keeps of this from its beginning to its end, given its agent's own choice of a model."""
    return {"asks": model_for(own), "rehearsal": is_rehearsal()}


def base_url(execution: Execution) -> str:
    """Where its model is, by which prices are known."""
    route = None if execution.is_rehearsal else route_for(execution.model, rehearsal=False)
    return route.base_url if route else str(settings.MODEL_BASE_URL)
