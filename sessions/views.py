"""Transcripts of sessions."""

from uuid import UUID

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.views.decorators.http import require_GET

from sessions import fragments
from sessions.fragments import Page, Place
from sessions.models import Session


@require_GET
def parts(request: HttpRequest, pk: UUID) -> HttpResponse:
    """Parts of a transcript: ?id=… by their ids, ?before=12.0 or ?after=12.0 a place, else the last ones.

    The browser puts them in their places (transcript.js).
    """
    found = get_object_or_404(Session, pk=pk)
    asked = request.GET
    try:
        if ids := [UUID(value) for value in asked.getlist("id")[: fragments.PAGE]]:
            page = Page(fragments.turns(found, ids))
        elif "after" in asked:
            page = fragments.page(found, after=Place.read(asked["after"]))
        else:
            page = fragments.page(found, before=Place.read(asked["before"]) if "before" in asked else None)
    except ValueError:
        raise Http404("no part and no place") from None
    return render(request, "sessions/_chunk.html", {"page": page})


@require_GET
def figures(request: HttpRequest, pk: UUID) -> HttpResponse:
    """What a session used so far, and whether it is over: for pages that have not heard it."""
    return render(request, "sessions/_figures.html", {"session": get_object_or_404(Session, pk=pk)})
