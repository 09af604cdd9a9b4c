"""The team's own providers of models. Keys go in here, and never come out."""

from collections.abc import Callable
from typing import Any
from uuid import UUID

from django.conf import settings
from django.contrib import messages
from django.core.exceptions import ValidationError
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.debug import sensitive_post_parameters, sensitive_variables
from django.views.decorators.http import require_GET, require_POST

from agents import credentials, routes
from agents.forms import KeyForm, ModelsForm, ProviderForm, Refusable
from agents.models import Provider
from sessions.events import acting
from tenants import fields
from tenants.access import TeamRequest, requires
from tenants.roles import Permission


@require_GET
@requires(Permission.KEYS)
def providers(request: TeamRequest) -> HttpResponse:
    """What there is, and what answers whom."""
    return _page(request, ProviderForm())


@sensitive_post_parameters("key")
@sensitive_variables("form")
@require_POST
@requires(Permission.KEYS)
def add(request: TeamRequest) -> HttpResponse:
    """One more."""
    form = ProviderForm(request.POST)
    if form.is_valid():
        given = form.cleaned_data
        try:
            with acting(f"user:{request.user.pk}"):
                made = credentials.add(
                    name=given["name"],
                    base_url=given["base_url"],
                    serves=given["serves"].split(),
                    key=given["key"],
                    by=str(request.user),
                )
        except ValidationError as error:
            form.refuse(error)
        else:
            messages.success(request, f"{made.name} is asked from now on. Its key is kept, and never shown again.")
            return redirect("providers")
    return _page(request, form)


@sensitive_post_parameters("key")
@sensitive_variables("form")
@require_POST
@requires(Permission.KEYS)
def replace(request: TeamRequest, pk: UUID) -> HttpResponse:
    """Another key, and with it perhaps another address."""
    found = get_object_or_404(Provider, pk=pk)
    return _take(
        request,
        KeyForm(request.POST),
        lambda given: credentials.replace(found, given["key"], by=str(request.user), base_url=given["base_url"]),
        f"The key of {found.name} is replaced.",
    )


@require_POST
@requires(Permission.KEYS)
def change(request: TeamRequest, pk: UUID) -> HttpResponse:
    """Other models."""
    found = get_object_or_404(Provider, pk=pk)
    return _take(
        request,
        ModelsForm(request.POST),
        lambda given: credentials.change(found, given["serves"].split(), by=str(request.user)),
        f"The models of {found.name} are changed.",
    )


@require_POST
@requires(Permission.KEYS)
def try_out(request: TeamRequest, pk: UUID) -> HttpResponse:
    """Ask it, with the key."""
    trial = credentials.try_out(get_object_or_404(Provider, pk=pk))
    (messages.success if trial.is_good else messages.error)(request, trial.text)
    return redirect("providers")


@require_POST
@requires(Permission.KEYS)
def prefer(request: TeamRequest, pk: UUID) -> HttpResponse:
    """It is asked first."""
    found = get_object_or_404(Provider, pk=pk)
    with acting(f"user:{request.user.pk}"):
        credentials.prefer(found, by=str(request.user))
    messages.success(request, f"{found.name} is asked first from now on.")
    return redirect("providers")


@require_POST
@requires(Permission.KEYS)
def revoke(request: TeamRequest, pk: UUID) -> HttpResponse:
    """Its key is gone."""
    found = get_object_or_404(Provider, pk=pk)
    with acting(f"user:{request.user.pk}"):
        done = credentials.revoke(found, by=str(request.user))
    text = f"The key of {found.name} is gone." if done else f"The key of {found.name} was revoked already."
    messages.success(request, f"{text} Revoke it at the provider, too.")
    return redirect("providers")


@require_POST
@requires(Permission.KEYS)
def remove(request: TeamRequest, pk: UUID) -> HttpResponse:
    """It is gone, with its key."""
    found = get_object_or_404(Provider, pk=pk)
    with acting(f"user:{request.user.pk}"):
        credentials.remove(found, by=str(request.user))
    messages.success(request, f"{found.name} is gone from the list.")
    return redirect("providers")


def _take(request: TeamRequest, form: Refusable, verb: Callable[[dict[str, Any]], object], done: str) -> HttpResponse:
    """Do what a small form of the page asks for; what is refused is said on the page."""
    if form.is_valid():
        try:
            with acting(f"user:{request.user.pk}"):
                verb(form.cleaned_data)
        except ValidationError as error:
            form.refuse(error)
        else:
            messages.success(request, done)
    for text in fields.told(form):
        messages.error(request, text)
    return redirect("providers")


def _page(request: TeamRequest, form: ProviderForm) -> HttpResponse:
    rows = [
        (
            row,
            KeyForm(auto_id=f"{row.pk}-%s"),
            ModelsForm(initial={"serves": " ".join(row.serves)}, auto_id=f"{row.pk}-%s"),
        )
        for row in Provider.objects.order_by(*routes.IN_ORDER)
    ]
    context: dict[str, Any] = {
        "rows": rows,
        "several": routes.several(),
        "form": form,
        "events": credentials.history(),
        "default": routes.model_for(""),
        "rehearsal": routes.is_rehearsal(),
        "platform": settings.MODEL_NAME if settings.MODEL_BASE_URL and not settings.MODEL_REHEARSAL else "",
    }
    return render(request, "agents/providers.html", context, status=422 if form.errors else 200)
