"""Who has the turn of a webhook, and when it is looked at next."""

from datetime import timedelta
from uuid import UUID

from django.conf import settings
from django.db.models import Min, Q
from django.db.models.functions import Now
from django.utils import timezone

from sessions.models import Backlog, Letter, Stream, Webhook
from sessions.states import WebhookState
from sessions.webhooks.endpoints import DUE
from tenants import turns
from tenants.messages import send_on_commit
from tenants.models import Due
from tenants.outward import ANSWER_SECONDS


def lease() -> timedelta:
    """How long a turn may be silent: longer than a receiver may take."""
    return timedelta(seconds=max(settings.LEASE_SECONDS, ANSWER_SECONDS + 5))


def take(webhook_id: UUID, fence: UUID) -> Webhook | None:
    """The webhook, with a lease under this fence; None: it is off, left alone, or somebody has it. In a transaction."""
    webhook = Webhook.objects.select_for_update(no_key=True).filter(pk=webhook_id).first()
    if webhook is None or webhook.state != WebhookState.ENABLED:
        turns.settled(DUE, webhook_id)
        return None
    if webhook.hold_until and webhook.hold_until > timezone.now():
        Due.objects.filter(kind=DUE, subject=webhook_id).update(due_at=webhook.hold_until)
        return None
    free = Webhook.objects.filter(Q(lease_until=None) | Q(lease_until__lte=Now()), pk=webhook_id)
    if not free.update(fence=fence, lease_until=Now() + lease()):
        return None
    turns.postpone(DUE, webhook_id, after=lease())
    return webhook


def give_back(webhook: Webhook, fence: UUID) -> None:
    """Let go, and be woken when there is more to do. In a transaction."""
    held = Webhook.objects.select_for_update(no_key=True).filter(pk=webhook.pk, fence=fence).first()
    if held is None:
        return
    Webhook.objects.filter(pk=held.pk).update(fence=None, lease_until=None, turned_at=Now())
    # First this row, then the look: whoever gives out places writes it together with them, so that either we see the
    # new place, or the row comes after us.
    turns.settled(DUE, held.pk)
    if held.state == WebhookState.ENABLED and (after := _more_after(held)) is not None:
        turns.due(DUE, held.pk, after=after)
        if not after:
            send_on_commit(DUE, str(held.pk))


def _more_after(webhook: Webhook) -> timedelta | None:
    """How long until there is something to send; None: nothing waits."""
    backlog = Backlog.objects.filter(webhook=webhook).aggregate(at=Min("due_at"))["at"]
    letter = Letter.objects.filter(webhook=webhook).aggregate(at=Min("due_at"))["at"]
    last = Stream.objects.values_list("last_position", flat=True).first() or 0
    now = timezone.now()
    moments = [moment for moment in (backlog, letter, now if last > webhook.position else None) if moment]
    if not moments:
        return None
    return max(max(min(moments), webhook.hold_until or now) - now, timedelta(0))
