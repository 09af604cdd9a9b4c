"""Which provider a team's model calls go to, and with whose key: the team's own first, else the platform's.

A team's provider serves the models that it names; its first model is the team's default. Whoever asks for another
model asks the platform's provider, if there is one. An execution that began with the rehearsal stays with it: its
commands may run where those of a real model may not.
"""

from dataclasses import dataclass
from urllib.parse import urlsplit
from uuid import UUID

from django.conf import settings

from agents.models import Execution, Provider
from tenants.reachable import Rule
from tenants.secrets import unseal


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


def rule() -> Rule:
    """Where teams' providers may be."""
    return Rule(settings.LOCAL_PROVIDERS, settings.PROVIDER_HOSTS, "WAGGLE_PROVIDER_HOSTS")


def active() -> list[Provider]:
    """The team's providers that have a key, in the order in which they are asked."""
    return list(Provider.objects.filter(revoked_at=None).order_by("created_at", "pk"))


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


def route_for(model: str, *, rehearsal: bool) -> Route | None:
    """Where calls of this model go, for an execution that began with the rehearsal or not; None: nowhere."""
    if not rehearsal:
        for row in active():
            if model in row.serves:
                return Route(row.base_url, model, row.name, row.pk)
    if not settings.MODEL_BASE_URL or not model or bool(settings.MODEL_REHEARSAL) != rehearsal:
        return None
    return Route(settings.MODEL_BASE_URL, model)


def terms(own: str) -> dict[str, str | bool]:
    """What an execution keeps of this from its beginning to its end, given its agent's own choice of a model."""
    return {"asks": model_for(own), "rehearsal": is_rehearsal()}


def base_url(execution: Execution) -> str:
    """Where its model is, by which prices are known."""
    route = None if execution.is_rehearsal else route_for(execution.model, rehearsal=False)
    return route.base_url if route else str(settings.MODEL_BASE_URL)


def key_of(route: Route) -> str:
    """The key that goes with its calls; empty where none does. Raises CannotUnseal, or DoesNotExist when it is gone."""
    if route.id is None:
        return str(settings.MODEL_API_KEY)
    return unseal(Provider.objects.get(pk=route.id, revoked_at=None), "key")
