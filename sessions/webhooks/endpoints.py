"""Webhooks of a team: add, change, switch off and on, test, send again."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import Exists, OuterRef, Q
from django.db.models.functions import Now
from django.utils import timezone

from sessions.events import acting, publish
from sessions.models import Backlog, Event, Letter, Stream, Webhook
from sessions.states import WebhookState
from sessions.transitions import move
from sessions.webhooks import choice
from sessions.webhooks.message import new_secret
from tenants import turns
from tenants.messages import send_on_commit
from tenants.models import User
from tenants.reachable import NotAllowed, Rule, check
from tenants.secrets import seal, unseal

MOST = 20
"""Webhooks of a team."""
BOTH_SIGN = timedelta(hours=24)
"""So long after a change of the secret the old one signs too."""
DUE = "webhook"
"""Kind of due times and name of the actor."""


def rule() -> Rule:
    """Which addresses webhooks may have."""
    return Rule(settings.LOCAL_WEBHOOKS, settings.WEBHOOK_HOSTS, "WAGGLE_WEBHOOK_HOSTS")


def add(*, name: str, url: str, kinds: Sequence[str], projects: Sequence[str], by: User) -> tuple[Webhook, str]:
    """A new webhook, which gets what happens from now on, and its secret. Raises ValidationError."""
    _check(url, kinds)
    secret = new_secret()
    with transaction.atomic(), acting(f"user:{by.pk}"):
        last = _stream()
        if Webhook.objects.count() >= MOST:
            raise ValidationError(f"A team has at most {MOST} webhooks. Remove one that nobody needs.")
        made = Webhook(name=name, url=url, kinds=[*kinds], projects=[*projects], position=last, created_by=by)
        made.secret = seal(secret, made, "secret")
        made.save(force_insert=True)
        _tell(made, "added")
    return made, secret


def change(webhook: Webhook, *, name: str, url: str, kinds: Sequence[str], projects: Sequence[str], by: User) -> None:
    """Another name, address or choice, from the next delivery on. Raises ValidationError."""
    _check(url, kinds)
    with _locked(webhook, by) as locked:
        locked.name, locked.url, locked.kinds, locked.projects = name, url, [*kinds], [*projects]
        locked.save(update_fields=["name", "url", "kinds", "projects"])
        _tell(locked, "changed")


def remove(webhook: Webhook, *, by: User) -> None:
    """The webhook is gone, with what waits for it and what was tried."""
    with _locked(webhook, by) as locked:
        turns.settled(DUE, locked.pk)
        _tell(locked, "removed")
        locked.delete()


def rotate(webhook: Webhook, *, by: User) -> str:
    """Another secret; for a day both sign. Returns the new one."""
    secret = new_secret()
    with _locked(webhook, by) as locked:
        # What is sealed is bound to its field.
        locked.old_secret = seal(unseal(locked, "secret"), locked, "old_secret")
        locked.secret = seal(secret, locked, "secret")
        locked.old_secret_until = timezone.now() + BOTH_SIGN
        locked.save(update_fields=["secret", "old_secret", "old_secret_until"])
        _tell(locked, "rotated")
    return secret


def end_old_secret(webhook: Webhook, *, by: User) -> None:
    """The old secret signs no more, at once."""
    with _locked(webhook, by) as locked:
        if locked.old_secret:
            Webhook.objects.filter(pk=locked.pk).update(old_secret="", old_secret_until=None)
            _tell(locked, "old_secret_ended")


def disable(webhook: Webhook, *, by: User) -> bool:
    """Send nothing more; where it has come to is kept. Returns False when it was off already."""
    with _locked(webhook, by) as locked:
        return locked.state == WebhookState.ENABLED and switch_off(locked, f"switched off by {by}")


def switch_off(webhook: Webhook, because: str, **fields: Any) -> bool:
    """For whoever acts: nothing more is sent."""
    if not move(webhook, WebhookState.DISABLED, because=because, **fields):
        return False
    turns.settled(DUE, webhook.pk)
    return True


def enable(webhook: Webhook, *, by: User, skip: bool) -> bool:
    """Send again: what was missed, too, unless that is to be skipped. Returns False when it was on already."""
    with transaction.atomic():
        last = _stream()
        with _locked(webhook, by) as locked:
            if locked.state != WebhookState.DISABLED:
                return False
            fields: dict[str, Any] = {"failures": 0, "failing_since": None, "hold_until": None, "is_given_up": False}
            if skip:
                fields["position"] = last
            move(locked, WebhookState.ENABLED, because=f"switched on by {by}", **fields)
            waiting = Backlog.objects.filter(webhook=locked)
            if skip:
                waiting.delete()
            waiting.update(due_at=Now())
            wake(locked)
    return True


def send_test(webhook: Webhook, *, by: User) -> Event:
    """Send it an event that is made for that. Raises ValidationError."""
    with _locked(webhook, by) as locked:
        _check_on(locked)
        event = publish("team", "webhook.tested", webhook=str(locked.pk), name=locked.name)
        Letter.objects.create(webhook=locked, event=event, due_at=timezone.now())
        wake(locked)
    return event


def send_again(webhook: Webhook, event: Event, *, by: User) -> None:
    """Send an event once more; one whose turn has not come yet is tried in its order. Raises ValidationError."""
    with _locked(webhook, by) as locked:
        _check_on(locked)
        waits = Backlog.objects.filter(webhook=locked, subject=event.subject, seq__lt=event.seq)
        if not waits.update(due_at=Now()):
            once_more = {"due_at": timezone.now(), "attempts": 0}
            Letter.objects.update_or_create(webhook=locked, event=event, defaults=once_more)
        wake(locked)


def send_dead(webhook: Webhook, *, by: User) -> int:
    """Send all dead letters once more, in their order. Returns how many. Raises ValidationError."""
    with _locked(webhook, by) as locked:
        _check_on(locked)
        count = Letter.objects.filter(webhook=locked, due_at=None).update(due_at=Now(), attempts=0)
        wake(locked)
    return count


def needing_attention() -> int:
    """Webhooks of the team that were given up, or have dead letters."""
    dead = Letter.objects.filter(webhook=OuterRef("pk"), due_at=None)
    return Webhook.objects.filter(Q(is_given_up=True) | Exists(dead)).count()


def wake(webhook: Webhook) -> None:
    """A person waits: whatever is due is sent now, even where the receiver was to be left alone."""
    Webhook.objects.filter(pk=webhook.pk).update(hold_until=None)
    turns.due(DUE, webhook.pk, after=timedelta(0))
    send_on_commit(DUE, str(webhook.pk))


@contextmanager
def _locked(webhook: Webhook, by: User) -> Iterator[Webhook]:
    """The webhook as it is, in a transaction; before anything else of it is touched, as its sender does."""
    with transaction.atomic(), acting(f"user:{by.pk}"):
        yield Webhook.objects.select_for_update().get(pk=webhook.pk)


def _stream() -> int:
    """The last place of the team's stream. Held: nobody gives out another one before a webhook is known."""
    Stream.objects.get_or_create(pk=1)
    return Stream.objects.select_for_update().get(pk=1).last_position


def _check(url: str, kinds: Sequence[str]) -> None:
    try:
        check(url, rule())
    except NotAllowed as error:
        raise ValidationError({"url": str(error)}) from error
    if strange := choice.unknown(kinds):
        raise ValidationError({"kinds": f"No events are called {', '.join(strange)}: docs/events.md has all kinds."})


def _check_on(webhook: Webhook) -> None:
    if webhook.state != WebhookState.ENABLED:
        raise ValidationError("The webhook is switched off. Switch it on first.")


def _tell(webhook: Webhook, what: str) -> None:
    host = urlsplit(webhook.url).netloc
    publish("team", "webhook.changed", webhook=str(webhook.pk), name=webhook.name, host=host, what=what)
