"""What a webhook has yet to get, and what becomes of it: events of one subject in their order, and single letters."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol

from django.db.models import F, QuerySet
from django.db.models.functions import Now

from sessions.models import Backlog, Event, Letter, Webhook
from sessions.webhooks import choice


@dataclass(frozen=True)
class Item:
    """An event that is sent next, and the how manieth try that is."""

    event: Event
    attempt: int


class Pile(Protocol):
    """Where items come from. All of it inside the caller's transaction, which holds the webhook's lease."""

    def take(self, most: int) -> list[Item]:
        """What is sent now, in this order; nothing: there is nothing more."""

    def good(self, item: Item) -> None:
        """The receiver has it."""

    def bad(self, item: Item, because: str, after: float | None) -> None:
        """The receiver does not have it; it is tried again after so many seconds, or is a dead letter."""


class InOrder:
    """Events of one subject: none is sent before the one before it has arrived, or was given up."""

    def __init__(self, webhook: Webhook, backlog: Backlog) -> None:
        self._webhook, self._backlog = webhook, backlog

    def take(self, most: int) -> list[Item]:
        """The first ones after what it has got; without any, nothing is waiting here."""
        wanted = Event.objects.filter(choice.of_kinds(self._webhook.kinds), subject=self._backlog.subject)
        # What comes after is sorted into a pile of its own.
        sorted_ = wanted.filter(seq__gt=self._backlog.seq, position__lte=self._webhook.position)
        events = list(sorted_.order_by("seq")[:most])
        if not events:
            self._backlog.delete()
        return [Item(event, 1 if place else self._backlog.attempts + 1) for place, event in enumerate(events)]

    def good(self, item: Item) -> None:
        self._goes_on(item)

    def bad(self, item: Item, because: str, after: float | None) -> None:
        if after is None:
            dead = {"due_at": None, "attempts": item.attempt, "because": because}
            Letter.objects.update_or_create(webhook=self._webhook, event=item.event, defaults=dead)
            self._goes_on(item)
        else:
            due_at = Now() + timedelta(seconds=after)
            Backlog.objects.filter(pk=self._backlog.pk).update(attempts=item.attempt, because=because, due_at=due_at)

    def _goes_on(self, item: Item) -> None:
        seq = item.event.seq
        Backlog.objects.filter(pk=self._backlog.pk).update(seq=seq, attempts=0, because="", due_at=Now())


class Letters:
    """Single events that are due, in the order in which they happened."""

    def __init__(self, webhook: Webhook) -> None:
        self._webhook = webhook

    def take(self, most: int) -> list[Item]:
        due = Letter.objects.filter(webhook=self._webhook, due_at__lte=Now()).select_related("event")
        letters = due.order_by(F("event__position").asc(nulls_last=True), "pk")[:most]
        return [Item(letter.event, letter.attempts + 1) for letter in letters]

    def good(self, item: Item) -> None:
        self._rows(item).delete()

    def bad(self, item: Item, because: str, after: float | None) -> None:
        due_at = None if after is None else Now() + timedelta(seconds=after)
        self._rows(item).update(attempts=item.attempt, because=because, due_at=due_at)
        if due_at is not None:
            # Those behind it wait for it.
            behind = Letter.objects.filter(webhook=self._webhook, event__subject=item.event.subject, due_at__lt=due_at)
            behind.filter(event__seq__gt=item.event.seq).update(due_at=due_at)

    def _rows(self, item: Item) -> QuerySet[Letter]:
        return Letter.objects.filter(webhook=self._webhook, event=item.event)
