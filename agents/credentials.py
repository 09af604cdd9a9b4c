"""A team's own providers of models: added, changed, tried and revoked. Keys are written, and never read out again."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.utils import timezone

from agents.models import Provider
from agents.routes import IN_ORDER, rule
from sessions.events import publish
from sessions.models import Event
from tenants.outward import NoAnswer, Way
from tenants.reachable import NotAllowed, check
from tenants.secrets import CannotUnseal, seal, unseal

MOST, MOST_MODELS = 20, 50
"""Providers of a team, and models of one."""
SHORTEST, SHOWN = 8, 4
"""Characters of a key, and of its end that people see."""
LATEST = 30
"""Events of providers that are shown."""
_KEY = re.compile(r"[!-~]{8,500}")
_MODEL = re.compile(r"\S{1,120}")


@dataclass(frozen=True)
class Trial:
    """What a provider said when it was asked for its models."""

    is_good: bool
    text: str


def add(*, name: str, base_url: str, serves: Sequence[str], key: str, by: str) -> Provider:
    """A provider with the team's key. Raises ValidationError."""
    made = proposed(name, base_url, serves, key)
    made.set_by = by
    _put(made, key)
    try:
        with transaction.atomic():
            made.rank = 1 + max((one.rank for one in _all()), default=-1)
            made.save(force_insert=True)
            _tell(made, "added", by)
    except IntegrityError as error:
        raise ValidationError({"name": f"There is a provider called {made.name} already."}) from error
    return made


def proposed(name: str, base_url: str, serves: Sequence[str], key: str) -> Provider:
    """What would be added. Raises ValidationError."""
    made = Provider(name=name.strip(), base_url=base_url.strip().rstrip("/"), serves=list(serves))
    look(made, key)
    if Provider.objects.filter(name=made.name).exists():
        raise ValidationError({"name": f"There is a provider called {made.name} already."})
    if Provider.objects.count() >= MOST:
        raise ValidationError(f"A team has at most {MOST} providers. Remove one that nobody needs.")
    return made


def replace(provider: Provider, key: str, *, by: str, base_url: str = "") -> None:
    """Another key, from the next call on; also for one that was revoked. With it the address may become another one,
    and never without: a key is for where it was given for. Raises ValidationError."""
    with transaction.atomic():
        locked = Provider.objects.select_for_update().get(pk=provider.pk)
        locked.base_url = base_url.strip().rstrip("/") or locked.base_url
        look(locked, key)
        locked.set_by, locked.revoked_at, locked.revoked_by = by, None, ""
        _put(locked, key)
        locked.save()
        _tell(locked, "replaced", by)
    provider.refresh_from_db()


def change(provider: Provider, serves: Sequence[str], *, by: str) -> None:
    """Other models. The address stays: see `replace`. Raises ValidationError."""
    models(serves)
    with transaction.atomic():
        Provider.objects.filter(pk=provider.pk).update(serves=list(serves))
        provider.refresh_from_db()
        _tell(provider, "changed", by)


def prefer(provider: Provider, *, by: str) -> bool:
    """It is asked first for the models that it has; the others keep their order. False: it was the first already."""
    with transaction.atomic():
        first = _all()[0]
        if first.pk == provider.pk:
            return False
        Provider.objects.filter(pk=provider.pk).update(rank=first.rank - 1)
        provider.refresh_from_db()
        _tell(provider, "preferred", by)
    return True


def _all() -> list[Provider]:
    """All that there are, in their order, which nobody else changes meanwhile."""
    return list(Provider.objects.select_for_update().order_by(*IN_ORDER))


def revoke(provider: Provider, *, by: str) -> bool:
    """Its key is gone, from the next call on; what runs with it then asks in vain. False: it was gone already."""
    with transaction.atomic():
        live = Provider.objects.filter(pk=provider.pk, revoked_at=None)
        if not live.update(key="", revoked_at=timezone.now(), revoked_by=by):
            return False
        provider.refresh_from_db()
        _tell(provider, "revoked", by)
    return True


def remove(provider: Provider, *, by: str) -> None:
    """It is gone, with its key."""
    with transaction.atomic():
        _tell(provider, "removed", by)
        provider.delete()


def try_out(provider: Provider) -> Trial:
    """Ask it for its models, with the key."""
    if provider.revoked_at is not None:
        return Trial(False, f"{provider.name} has no key: it was revoked.")
    try:
        key = unseal(provider, "key")
    except CannotUnseal:
        return Trial(
            False, f"The key of {provider.name} cannot be read, or was not given for this address: replace it."
        )
    way = Way(f"{provider.base_url}/models", rule())
    try:
        answer = way.get({"Authorization": f"Bearer {key}", "Accept": "application/json"})
    except (NoAnswer, NotAllowed) as error:
        return Trial(False, f"{provider.name} cannot be reached: {error}".replace(key, "[redacted]"))
    finally:
        way.close()
    took = f"within {answer.seconds * 1000:.0f} ms"
    if answer.status in (401, 402, 403):
        return Trial(False, f"{provider.name} answers {took} and does not take this key (HTTP {answer.status}).")
    if answer.status != 200:
        return Trial(
            False, f"{provider.name} answers {took} with HTTP {answer.status}; is the address that of its API?"
        )
    return Trial(True, f"{provider.name} takes the key and answers {took}.")


def history() -> list[Event]:
    """What happened to the team's providers, the latest first."""
    return list(Event.objects.filter(subject="team", kind="provider.changed").order_by("-seq")[:LATEST])


def look(provider: Provider, key: str) -> None:
    """Goes on when a provider may be kept with this key. Raises ValidationError."""
    if not provider.name:
        raise ValidationError({"name": "Give it a name."})
    models(provider.serves)
    if not _KEY.fullmatch(key):
        raise ValidationError({"key": f"A key has {SHORTEST} to 500 letters, digits and signs, and no spaces."})
    try:
        check(provider.base_url, rule())
    except NotAllowed as error:
        raise ValidationError({"base_url": str(error)}) from error
    if key in json.dumps([provider.name, provider.base_url, provider.serves]):
        raise ValidationError({"key": "The key stands in another field, too, where everybody sees it."})


def models(serves: Sequence[str]) -> None:
    """Goes on when a provider may be asked for these. Raises ValidationError."""
    if not 1 <= len(serves) <= MOST_MODELS or not all(_MODEL.fullmatch(model) for model in serves):
        raise ValidationError({"serves": f"Name 1 to {MOST_MODELS} models, as the provider calls them."})


def _put(provider: Provider, key: str) -> None:
    provider.key, provider.key_end, provider.set_at = seal(key, provider, "key"), key[-SHOWN:], timezone.now()


def _tell(provider: Provider, what: str, by: str) -> None:
    told: dict[str, Any] = {"provider": str(provider.pk), "name": provider.name, "url": provider.base_url, "by": by}
    publish("team", "provider.changed", models=provider.serves, what=what, **told)
