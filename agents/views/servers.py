"""Agent servers: what was found, what members decide about it, and what each says of itself."""

from collections.abc import Callable
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.http import HttpResponse, HttpResponseBase
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_GET, require_POST

from agents import breakers_shown, clearing, hosting
from agents import servers as verbs
from agents.forms import PasswordForm, ServerForm, WorkForm
from agents.handshake import NoServer
from agents.models import Execution, Server
from sessions.events import acting
from sessions.models import Stream
from tenants import fields
from tenants.access import TeamRequest, requires
from tenants.roles import Permission


@require_GET
def servers(request: TeamRequest) -> HttpResponse:
    """Agent servers that were seen on the network, or given by their address."""
    return _list(request, ServerForm())


def _list(request: TeamRequest, form: ServerForm) -> HttpResponse:
    position = Stream.objects.values_list("last_position", flat=True).first() or 0
    context = _rows() | {"form": form, "position": position}
    return render(request, "agents/servers.html", context, status=422 if form.errors else 200)


@require_GET
def servers_now(request: TeamRequest) -> HttpResponse:
    """The live part of the page."""
    return render(request, "agents/_servers_now.html", _rows())


def _rows() -> dict[str, Any]:
    places, owed = {host.id: host for host in hosting.hosts()}, clearing.owed()
    rows = Server.objects.order_by("name", "url")
    return {"servers": [(row, places.get(str(row.pk)), owed.get(row.pk)) for row in rows]}


@require_POST
@requires(Permission.ENROL)
def add(request: TeamRequest) -> HttpResponse:
    """One by its address."""
    form = ServerForm(request.POST)
    if form.is_valid():
        try:
            with acting(f"user:{request.user.pk}"):
                made = verbs.add(form.cleaned_data["url"], form.cleaned_data["name"])
        except ValidationError as error:
            form.refuse(error)
        else:
            messages.success(request, f"{made.name} answers. Enrol it if you trust it.")
            return redirect("server", pk=made.pk)
    return _list(request, form)


@require_GET
def server(request: TeamRequest, pk: UUID) -> HttpResponse:
    """One server: its state, its answers and what happened to it."""
    return _page(request, get_object_or_404(Server, pk=pk))


def _page(request: TeamRequest, found: Server, form: WorkForm | None = None) -> HttpResponse:
    under_way = Execution.objects.filter(pk__in=hosting.on(found)).select_related("session", "runner")
    context = {
        "server": found,
        "events": verbs.history(found),
        "form": PasswordForm(initial={"username": found.username}),
        "work": form or WorkForm(initial=WorkForm.initial_of(found)),
        "executions": list(under_way.order_by("created_at")),
        "drivers": hosting.drivers(found),
        "owed": clearing.owed().get(found.pk),
        "breaker": breakers_shown.line(hosting.breaker(found), found.name),
    }
    return render(request, "agents/server.html", context, status=422 if form else 200)


@require_POST
@requires(Permission.ENROL)
def work(request: TeamRequest, pk: UUID) -> HttpResponse:
    """Which work may be placed on it."""
    found, form = get_object_or_404(Server, pk=pk), WorkForm(request.POST)
    if form.is_valid():
        try:
            with acting(f"user:{request.user.pk}"):
                verbs.place(found, form.work())
        except ValidationError as error:
            form.refuse(error)
        else:
            said = f"{found.name} takes {', '.join(found.roles)}." if found.roles else "No work is placed on it."
            messages.success(request, said)
            return redirect("server", pk=pk)
    return _page(request, found, form)


def _acting(verb: Callable[[Server, TeamRequest], str]) -> Callable[..., HttpResponseBase]:
    """A view that does something with a server, says what came of it, and shows the server."""

    @require_POST
    @requires(Permission.ENROL)
    def view(request: TeamRequest, pk: UUID) -> HttpResponse:
        found = get_object_or_404(Server, pk=pk)
        try:
            with acting(f"user:{request.user.pk}"):
                messages.success(request, verb(found, request))
        except ValidationError as error:
            messages.error(request, " ".join(error.messages))
        return redirect("server", pk=pk)

    return view


def _credentials(request: TeamRequest) -> dict[str, str]:
    form = PasswordForm(request.POST)
    if not form.is_valid():
        raise ValidationError(fields.told(form))
    return {"username": form.cleaned_data["username"], "password": form.cleaned_data["password"]}


def _state(found: Server, moved: bool, done: str) -> str:
    return done if moved else f"{found.name} is {found.state}: nothing was changed."


@_acting
def enrol(found: Server, request: TeamRequest) -> str:
    """A member trusts it."""
    moved = verbs.enrol(found, because=f"enrolled by {request.user}", **_credentials(request))
    return _state(found, moved, f"{found.name} is trusted now.")


@_acting
def password(found: Server, request: TeamRequest) -> str:
    """Other credentials, or none."""
    given = _credentials(request)
    verbs.change_password(found, **given)
    return "The password is changed." if given["password"] else "The password is forgotten."


@_acting
def drain(found: Server, request: TeamRequest) -> str:
    """No new work is placed on it."""
    moved = verbs.drain(found, because=f"by {request.user}")
    return _state(found, moved, f"{found.name} gets no new work; what it has goes on.")


@_acting
def enable(found: Server, request: TeamRequest) -> str:
    """Work is placed on it again, or it is asked again."""
    moved = verbs.enable(found, because=f"by {request.user}")
    return _state(found, moved, f"{found.name} is {found.state}.")


@_acting
def quarantine(found: Server, request: TeamRequest) -> str:
    """It is not trusted any more, or looked at again."""
    moved = verbs.quarantine(found, because=f"by {request.user}")
    return _state(found, moved, f"{found.name} is in quarantine; a password that it had is forgotten.")


@_acting
def disable(found: Server, request: TeamRequest) -> str:
    """It is not asked any more."""
    moved = verbs.disable(found, because=f"by {request.user}")
    return _state(found, moved, f"{found.name} is not asked any more.")


@_acting
def probe(found: Server, request: TeamRequest) -> str:
    """Ask it now."""
    answer = verbs.probe(found)
    if isinstance(answer, NoServer):
        raise ValidationError(f"{found.name}: {answer}.")
    return f"{found.name} answered within {answer.latency_ms} ms."


@require_POST
@requires(Permission.ENROL)
def remove(request: TeamRequest, pk: UUID) -> HttpResponse:
    """It is gone from the list."""
    found = get_object_or_404(Server, pk=pk)
    try:
        with acting(f"user:{request.user.pk}"):
            verbs.remove(found)
    except ValidationError as error:
        messages.error(request, " ".join(error.messages))
        return redirect("server", pk=pk)
    messages.success(request, f"{found.name} is gone from the list.")
    return redirect("servers")
