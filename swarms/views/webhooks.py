"""Webhooks: where the team's events are sent on, what became of each, and once more."""

from collections.abc import Callable
from functools import wraps
from uuid import UUID

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.http import HttpResponse, HttpResponseBase
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.views.decorators.http import require_POST, require_safe

from sessions.models import Backlog, Delivery, Event, Letter, Webhook
from sessions.webhooks import endpoints
from swarms.forms import WebhookForm
from swarms.models import Project
from swarms.views.found import before
from tenants.access import TeamRequest, requires
from tenants.roles import Permission

PAGE = 50
"""Deliveries of one page, and the most that wait and are shown."""


@require_safe
@requires(Permission.CONNECT)
def webhooks(request: TeamRequest) -> HttpResponse:
    """All webhooks, and the form for another one."""
    return _list(request, WebhookForm())


def _list(request: TeamRequest, form: WebhookForm, status: int = 200) -> HttpResponse:
    rows = Webhook.objects.order_by("name", "pk")
    dead = set(Letter.objects.filter(due_at=None).values_list("webhook", flat=True))
    return render(request, "swarms/webhooks.html", {"webhooks": rows, "dead": dead, "form": form}, status=status)


@require_POST
@requires(Permission.CONNECT)
def add(request: TeamRequest) -> HttpResponse:
    """Make one; its secret is shown in this answer only."""
    form = WebhookForm(request.POST)
    if form.is_valid():
        try:
            made, secret = endpoints.add(**form.cleaned_data, by=request.user)
        except ValidationError as error:
            form.refuse(error)
        else:
            return _page(request, made, secret=secret)
    return _list(request, form, status=422)


@require_safe
@requires(Permission.CONNECT)
def webhook(request: TeamRequest, webhook: UUID) -> HttpResponse:
    """One webhook: what waits, what was tried; ?before= is the last try that is known."""
    return _page(request, _found(webhook))


def _page(
    request: TeamRequest, webhook: Webhook, *, secret: str = "", form: WebhookForm | None = None, status: int = 200
) -> HttpResponse:
    tried = Delivery.objects.filter(webhook=webhook).select_related("event").order_by("-pk")
    if (known := before(request)) is not None:
        tried = tried.filter(pk__lt=known)
    rows = list(tried[: PAGE + 1])
    dead = Letter.objects.filter(webhook=webhook, due_at=None).select_related("event").order_by("event__position")
    given = {"name": webhook.name, "url": webhook.url, "kinds": " ".join(webhook.kinds), "projects": webhook.projects}
    old_until = webhook.old_secret_until if webhook.old_secret else None
    context = {
        "webhook": webhook,
        "secret": secret,
        "form": form or WebhookForm(initial=given),
        "projects": Project.objects.filter(pk__in=webhook.projects).order_by("name"),
        "old_secret_until": old_until if old_until and old_until > timezone.now() else None,
        "waiting": Backlog.objects.filter(webhook=webhook).order_by("due_at")[:PAGE],
        "dead": dead[:PAGE],
        "dead_count": dead.count(),
        "deliveries": rows[:PAGE],
        "older": rows[PAGE - 1].pk if len(rows) > PAGE else None,
    }
    return render(request, "swarms/webhook.html", context, status=status)


def _found(pk: UUID) -> Webhook:
    return get_object_or_404(Webhook, pk=pk)


@require_POST
@requires(Permission.CONNECT)
def change(request: TeamRequest, webhook: UUID) -> HttpResponse:
    """Another name, address or choice."""
    found, form = _found(webhook), WebhookForm(request.POST)
    if form.is_valid():
        try:
            endpoints.change(found, **form.cleaned_data, by=request.user)
        except ValidationError as error:
            form.refuse(error)
        else:
            messages.success(request, "Changed, from the next delivery on.")
            return redirect("webhook", webhook=found.pk)
    return _page(request, found, form=form, status=422)


@require_POST
@requires(Permission.CONNECT)
def rotate(request: TeamRequest, webhook: UUID) -> HttpResponse:
    """Another secret; it is shown in this answer only."""
    found = _found(webhook)
    secret = endpoints.rotate(found, by=request.user)
    return _page(request, _found(found.pk), secret=secret)


def _acting(verb: Callable[[Webhook, TeamRequest], str]) -> Callable[..., HttpResponseBase]:
    """A view that does something with a webhook, says what came of it, and shows the webhook."""

    @require_POST
    @requires(Permission.CONNECT)
    @wraps(verb)
    def view(request: TeamRequest, webhook: UUID) -> HttpResponse:
        found = _found(webhook)
        try:
            messages.success(request, verb(found, request))
        except ValidationError as error:
            messages.error(request, " ".join(error.messages))
        return redirect("webhook", webhook=webhook)

    return view


@_acting
def end_old_secret(webhook: Webhook, request: TeamRequest) -> str:
    """The old secret signs no more."""
    endpoints.end_old_secret(webhook, by=request.user)
    return "Only the new secret signs from now on."


@_acting
def disable(webhook: Webhook, request: TeamRequest) -> str:
    """Switch it off."""
    endpoints.disable(webhook, by=request.user)
    return "Switched off. Where it has come to is kept."


@_acting
def enable(webhook: Webhook, request: TeamRequest) -> str:
    """Switch it on: with what was missed, or from now on."""
    skip = request.POST.get("missed") == "skip"
    endpoints.enable(webhook, by=request.user, skip=skip)
    return "Switched on, from now on." if skip else "Switched on; what was missed is sent now."


@_acting
def test(webhook: Webhook, request: TeamRequest) -> str:
    """Send it an event that is made for that."""
    endpoints.send_test(webhook, by=request.user)
    return "A test is on its way; reload this page to see what becomes of it."


@_acting
def again(webhook: Webhook, request: TeamRequest) -> str:
    """Send an event once more."""
    try:
        event = Event.objects.get(pk=UUID(request.POST.get("event", "")))
    except (ValueError, Event.DoesNotExist):
        raise ValidationError("There is no such event: choose one of the deliveries below.") from None
    endpoints.send_again(webhook, event, by=request.user)
    return "It is sent again."


@_acting
def again_all(webhook: Webhook, request: TeamRequest) -> str:
    """Send all dead letters once more."""
    count = endpoints.send_dead(webhook, by=request.user)
    return f"{count} dead letter{'' if count == 1 else 's'} will be sent again."


@require_POST
@requires(Permission.CONNECT)
def remove(request: TeamRequest, webhook: UUID) -> HttpResponse:
    """It is gone."""
    found = _found(webhook)
    endpoints.remove(found, by=request.user)
    messages.success(request, f"The webhook {found.name} is gone.")
    return redirect("webhooks")
