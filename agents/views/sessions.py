"""What agents at work say, and talking to them."""

from collections.abc import Callable
from uuid import UUID

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.http import require_GET, require_POST

from agents import steering
from agents.conversing import panel, wanted_for
from sessions import fragments
from sessions.models import Session, Stream
from tenants.access import TeamRequest, ensure, requires
from tenants.roles import Permission


@require_GET
def session(request: HttpRequest, pk: UUID) -> HttpResponse:
    """One talk of an agent with its model, live, and with those who steer it."""
    position = Stream.objects.values_list("last_position", flat=True).first() or 0
    found = get_object_or_404(Session, pk=pk)
    context = {"page": fragments.page(found), "position": position} | panel(found)
    return render(request, "sessions/session.html", context)


@require_GET
def words(request: HttpRequest, pk: UUID) -> HttpResponse:
    """The live part of what is beside a transcript: what the agent asks, and what it has not heard yet."""
    return render(request, "agents/_words.html", panel(get_object_or_404(Session, pk=pk)))


@require_POST
@requires(Permission.STATE_GOAL)
def say(request: TeamRequest, pk: UUID) -> HttpResponse:
    """Say something to an agent at work."""
    text = request.POST.get("text", "")
    return _steer(request, pk, lambda found, key: steering.say(found, text, by=request.user, key=key))


@require_POST
@requires(Permission.STATE_GOAL)
def interrupt(request: TeamRequest, pk: UUID) -> HttpResponse:
    """Stop what an agent does now."""
    text = request.POST.get("text", "")
    return _steer(request, pk, lambda found, key: steering.interrupt(found, text, by=request.user, key=key))


@require_POST
@requires(Permission.STATE_GOAL)
def revert(request: TeamRequest, pk: UUID) -> HttpResponse:
    """Take back what an agent did since it was told something last."""
    return _steer(request, pk, lambda found, key: steering.revert(found, by=request.user, key=key))


@require_POST
@requires(Permission.STATE_GOAL)
def unrevert(request: TeamRequest, pk: UUID) -> HttpResponse:
    """Nothing is taken back."""
    return _steer(request, pk, lambda found, key: steering.unrevert(found, by=request.user, key=key))


@require_POST
def answer(request: TeamRequest, pk: UUID, question: UUID) -> HttpResponse:
    """Answer a question of an agent: who may depends on what it asks."""
    ensure(request, wanted_for(get_object_or_404(Session, pk=pk), question))
    text = request.POST.get("text", "")
    return _steer(request, pk, lambda found, key: steering.answer(found, question, text, by=request.user, key=key))


def _steer(request: TeamRequest, pk: UUID, verb: Callable[[Session, UUID | None], object]) -> HttpResponse:
    """Do it, and go back to the page where it was asked for."""
    found = get_object_or_404(Session, pk=pk)
    try:
        verb(found, _key(request))
    except ValidationError as error:
        messages.error(request, " ".join(error.messages))
    back = request.POST.get("next", "")
    if url_has_allowed_host_and_scheme(back, allowed_hosts=None):
        return redirect(back)
    return redirect("session", pk=pk)


def _key(request: HttpRequest) -> UUID | None:
    try:
        return UUID(request.POST.get("key", ""))
    except ValueError:
        return None
