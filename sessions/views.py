"""Transcripts of sessions."""

from uuid import UUID

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.views.decorators.http import require_GET

from sessions import fragments
from sessions.models import Session, Stream

MOST_PARTS = 200


@require_GET
def session(request: HttpRequest, pk: UUID) -> HttpResponse:
    """One talk of an agent with its model, live."""
    position = Stream.objects.values_list("last_position", flat=True).first() or 0
    found = get_object_or_404(Session, pk=pk)
    return render(
        request,
        "sessions/session.html",
        {"session": found, "turns": fragments.turns(found), "position": position},
    )


@require_GET
def parts(request: HttpRequest, pk: UUID) -> HttpResponse:
    """Parts of a transcript by their ids, or all of them; stream.js puts them in their places."""
    found = get_object_or_404(Session, pk=pk)
    try:
        ids = [UUID(value) for value in request.GET.getlist("id")[:MOST_PARTS]]
    except ValueError:
        raise Http404("not the id of a part") from None
    return render(request, "sessions/_turns.html", {"turns": fragments.turns(found, ids or None)})
