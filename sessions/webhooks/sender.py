"""One turn of a webhook: sort what is new, send what is due, say when there will be more.

Whoever has the turn holds a lease with a fence, and every row that it writes is bound to it. An event counts as sent
when the row says so: who dies between the answer and the row leaves it to be sent again, under the same id.
"""

import random
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import UUID

import structlog
from django.db import connection, transaction
from django.db.models import F
from django.db.models.functions import Coalesce, Now
from django.utils import timezone

from sessions.models import Backlog, Delivery, Event, Letter, Webhook
from sessions.states import WebhookState
from sessions.webhooks import choice, leases, message, schedule
from sessions.webhooks.endpoints import rule, switch_off
from sessions.webhooks.piles import InOrder, Item, Letters, Pile
from tenants import turns
from tenants.context import current_schema, in_schema
from tenants.faults import crash_point
from tenants.ids import uuid7
from tenants.models import Domain
from tenants.outward import NoAnswer, Way
from tenants.reachable import NotAllowed
from tenants.secrets import CannotUnseal, unseal

logger = structlog.get_logger(__name__)

TURN_SECONDS = 10.0
"""After this long another webhook may have its turn."""
PARALLEL = 4
"""Subjects whose events are sent at the same time."""
IN_A_ROW = 20
"""Events of one subject that are sent before others have their turn."""
SORTED = 1000
"""Events that are sorted in one transaction."""
KEPT = 500
"""Deliveries of a webhook that can be looked at later."""
KEYS_MISSING = timedelta(minutes=5)
"""After so long it is looked whether the operator has brought them back."""
WELL = {"failures": 0, "failing_since": None, "hold_until": None, "sent_at": Now()}
ILL = {"failures": F("failures") + 1, "failing_since": Coalesce("failing_since", Now())}
"""What a good and a failed delivery mean for a webhook."""


class Stale(Exception):
    """Somebody else has the webhook's turn now."""


def send(webhook_id: UUID) -> int:
    """Have a turn, if there is one to have. Returns how many events were sent, or tried."""
    with transaction.atomic():
        turn = begin(webhook_id)
    if turn is None:
        return 0
    # Whatever breaks in it, its lease runs out, and the clock looks at it again.
    with closing(turn.way):
        turn.run()
    with transaction.atomic():
        leases.give_back(turn.webhook, turn.fence)
        _forget(turn.webhook)
    return turn.tried


def begin(webhook_id: UUID) -> "Turn | None":
    """The turn of a webhook, with its lease; None: somebody has it, or nothing is to be sent. In a transaction."""
    fence = uuid7()
    webhook = leases.take(webhook_id, fence)
    if webhook is None:
        return None
    try:
        keys = _keys(webhook)
    except CannotUnseal as error:
        logger.error("a webhook's secret cannot be read", webhook=str(webhook_id), error=str(error))
        Webhook.objects.filter(pk=webhook_id).update(hold_until=Now() + KEYS_MISSING)
        leases.give_back(webhook, fence)
        return None
    team = Domain.objects.get(tenant=turns.current_team_id(), is_primary=True).slug
    return Turn(current_schema(), team, webhook, fence, keys, Way(webhook.url, rule()))


def _keys(webhook: Webhook) -> list[str]:
    both = webhook.old_secret_until is not None and webhook.old_secret_until > timezone.now()
    return [unseal(webhook, name) for name in (["secret", "old_secret"] if both else ["secret"])]


def _forget(webhook: Webhook) -> None:
    kept = Delivery.objects.filter(webhook=webhook).order_by("-id").values_list("id", flat=True)
    if (last := kept[KEPT : KEPT + 1].first()) is not None:
        Delivery.objects.filter(webhook=webhook, id__lte=last).delete()


@dataclass
class Turn:
    """A webhook and the right to send to it."""

    schema: str
    team: str
    webhook: Webhook
    fence: UUID
    keys: Sequence[str]
    way: Way
    until: float = field(default_factory=lambda: time.monotonic() + TURN_SECONDS)
    tried: int = 0
    is_over: bool = False
    """The receiver is to be left alone, the webhook is off, or somebody else has it."""

    def run(self) -> None:
        """Sort and send until nothing is due or time is up."""
        with ThreadPoolExecutor(PARALLEL) as threads:
            while time.monotonic() < self.until and not self.is_over:
                try:
                    is_more = self.sort()
                    piles = self.due()
                except Stale:
                    return
                if len(piles) == 1:
                    self.walk(piles[0])
                elif piles:
                    list(threads.map(self.walk, piles))
                elif not is_more:
                    return

    @contextmanager
    def _rows(self, **fields: Any) -> Iterator[None]:
        """A transaction that holds the lease, renews it and sets fields of the webhook. Raises Stale.

        No connection is kept beyond it: a receiver may take its time.
        """
        with in_schema(self.schema):
            try:
                with transaction.atomic():
                    mine = Webhook.objects.filter(pk=self.webhook.pk, fence=self.fence)
                    if not mine.update(lease_until=Now() + leases.lease(), **fields):
                        raise Stale(str(self.webhook.pk))
                    yield
            finally:
                if not connection.in_atomic_block:
                    connection.close()

    def sort(self) -> bool:
        """Begin a backlog for each subject with something new. Returns whether there may be more."""
        webhook = self.webhook
        with self._rows():
            new = Event.objects.filter(position__gt=webhook.position).order_by("position")
            rows = list(new.values_list("subject", "seq", "kind", "position")[:SORTED])
            first: dict[str, int] = {}
            for subject, seq, kind, _ in rows:
                if choice.matches(webhook.kinds, kind):
                    first.setdefault(subject, seq)
            wanted = choice.of_projects(webhook.projects, first)
            begun = [Backlog(webhook=webhook, subject=s, seq=first[s] - 1, due_at=Now()) for s in first if s in wanted]
            Backlog.objects.bulk_create(begun, ignore_conflicts=True)
            last = rows[-1][3] if rows else None
            if last is not None:
                Webhook.objects.filter(pk=webhook.pk).update(position=last)
        if last is not None:
            webhook.position = last
        return len(rows) == SORTED

    def due(self) -> list[Pile]:
        """What can be sent now, side by side; one thing alone to a receiver that takes nothing."""
        webhook = self.webhook
        with self._rows():
            webhook.refresh_from_db(fields=["failures", "hold_until", "state"])
            held = webhook.hold_until is not None and webhook.hold_until > timezone.now()
            if webhook.state != WebhookState.ENABLED or held:
                self.is_over = True
                return []
            most = 1 if webhook.failures >= schedule.FAILURES else PARALLEL
            backlogs = Backlog.objects.filter(webhook=webhook, due_at__lte=Now()).order_by("due_at", "pk")[:most]
            piles: list[Pile] = [InOrder(webhook, backlog) for backlog in backlogs]
            if Letter.objects.filter(webhook=webhook, due_at__lte=Now()).exists():
                piles.insert(0, Letters(webhook))
            return piles[:most]

    def walk(self, pile: Pile) -> None:
        """Send what a pile has, one after the other, until it is empty, others wait for long enough, or one fails."""
        try:
            with self._rows():
                items = pile.take(IN_A_ROW)
            for item in items:
                if self.is_over or time.monotonic() > self.until or not self._send(pile, item):
                    return
        except Stale:
            self.is_over = True

    def _send(self, pile: Pile, item: Item) -> bool:
        tried, asked = self._try(item)
        crash_point("webhook.answered")
        self.tried += 1
        with self._rows(**(WELL if tried.is_good else ILL)):
            tried.save(force_insert=True)
            if tried.is_good:
                pile.good(item)
                self._is_well()
            else:
                after = schedule.again_after(item.attempt, random=random.random(), asked=asked)
                pile.bad(item, tried.because, after)
                self._is_ill(tried)
        return tried.is_good

    def _try(self, item: Item) -> tuple[Delivery, float | None]:
        """What comes of sending it, and for how many seconds the receiver asks to be left alone."""
        content = message.body(item.event, self.team)
        tried = Delivery(webhook=self.webhook, event=item.event, attempt=item.attempt, is_good=False)
        began = time.monotonic()
        asked: float | None = None
        try:
            answer = self.way.post(content.encode(), message.headers(item.event, content, self.keys, timezone.now()))
        except (NoAnswer, NotAllowed) as error:
            tried.because = str(error)[:300]
        else:
            tried.status, tried.excerpt = answer.status, answer.excerpt
            asked = answer.retry_after
            tried.is_good = 200 <= answer.status < 300
            tried.because = "" if tried.is_good else _why(answer.status)
        tried.seconds = round(time.monotonic() - began, 3)
        return tried, asked

    def _is_well(self) -> None:
        if self.webhook.failures >= schedule.FAILURES:
            # It takes nothing no longer: what was put off because of that is sent now.
            Backlog.objects.filter(webhook=self.webhook, attempts__gt=0).update(due_at=Now())

    def _is_ill(self, tried: Delivery) -> None:
        fresh = Webhook.objects.get(pk=self.webhook.pk)
        assert fresh.failing_since is not None
        ill_for = timezone.now() - fresh.failing_since
        if tried.status == schedule.GONE:
            because = "its receiver answered 410: it wants nothing any more"
        elif ill_for >= schedule.GIVE_UP:
            because = f"every delivery failed for {ill_for.days} days; the last one: {tried.because}"
        else:
            self._leave_alone(fresh)
            return
        logger.warning("a webhook is switched off", webhook=str(fresh.pk), because=because)
        switch_off(fresh, because, is_given_up=True)
        self.is_over = True

    def _leave_alone(self, webhook: Webhook) -> None:
        different = Backlog.objects.filter(webhook=webhook, attempts__gt=0).count()
        different += Letter.objects.filter(webhook=webhook, attempts__gt=0, due_at__isnull=False).count()
        seconds = schedule.hold_for(webhook.failures, different, random=random.random())
        if seconds is not None:
            until = Now() + timedelta(seconds=seconds)
            Webhook.objects.filter(pk=webhook.pk).update(hold_until=until)
            self.is_over = True


def _why(status: int) -> str:
    if 300 <= status < 400:
        return f"it answered {status}: redirects are not followed, give the address where they lead"
    return f"it answered {status}"
