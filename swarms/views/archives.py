"""Swarms that came as files: bring one in, look at it, delete it."""

from typing import Any
from uuid import UUID

from django.contrib import messages
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from swarms.forms import ArchiveForm
from swarms.models import Archive
from swarms.replay import archives as verbs
from swarms.replay import kept, stories
from swarms.views import replay
from tenants.access import TeamRequest, ensure, requires
from tenants.roles import Permission

MOST = 200
WHOLE = "-"
"""In the place of a node's key: what belongs to no node."""


def _all() -> QuerySet[Archive]:
    return Archive.objects.select_related("imported_by").order_by("-imported_at")


@require_http_methods(["GET", "POST"])
def archives(request: TeamRequest) -> HttpResponse:
    """All of them, and the form to bring in another one."""
    form = ArchiveForm()
    if request.method == "POST":
        ensure(request, Permission.IMPORT)
        form = ArchiveForm(request.POST, request.FILES)
        if form.is_valid():
            try:
                made = verbs.bring_in(form.cleaned_data["file"], by=request.user)
            except verbs.AlreadyImported as error:
                messages.info(request, str(error))
                return redirect("archive", pk=error.archive.pk)
            except verbs.BundleFault as error:
                form.add_error("file", str(error))
            else:
                messages.success(request, f"Imported: {made}, {made.last_seq} events.")
                return redirect("archive", pk=made.pk)
    context = {"archives": _all()[:MOST], "form": form}
    return render(request, "swarms/archives.html", context, status=422 if form.errors else 200)


def _found(pk: UUID) -> Archive:
    return get_object_or_404(_all(), pk=pk)


def _page(request: HttpRequest, pk: UUID, **words: Any) -> HttpResponse:
    found, base = _found(pk), reverse("archive", args=[pk])
    return replay.page(request, stories.of_archive(found), base, base, archive=found, **words)


@require_GET
def archive(request: HttpRequest, pk: UUID) -> HttpResponse:
    """Its replay; ?at=340 opens it at that event."""
    return _page(request, pk, template="swarms/archive.html")


@require_GET
def now(request: HttpRequest, pk: UUID) -> HttpResponse:
    """One position of the slider."""
    return _page(request, pk)


@require_GET
def times(request: HttpRequest, pk: UUID) -> HttpResponse:
    """For playing: when things happened."""
    return replay.times(request, stories.of_archive(_found(pk)))


@require_GET
def jump(request: HttpRequest, pk: UUID) -> HttpResponse:
    """To the next decision, approval, merge or failure, or to the one before."""
    return replay.jump(request, stories.of_archive(_found(pk)), reverse("archive", args=[pk]))


@require_GET
def plan(request: HttpRequest, pk: UUID) -> HttpResponse:
    """The rest of the plan at an event, for a goal of one's own."""
    found = _found(pk)
    base = reverse("archive", args=[pk])
    return replay.plan_at(request, stories.of_archive(found), base, f"archive-{found.number}")


@require_GET
def node(request: HttpRequest, pk: UUID, key: str) -> HttpResponse:
    """What was said, changed and proven for one node; and, with `-` for a key, for the whole swarm."""
    found = _found(pk)
    after = replay.number(request, "after", 0)
    context = kept.of_node(found, "" if key == WHOLE else key, request.GET.get("session"), after)
    if context["node"] is None and key != WHOLE:
        raise Http404(key)
    context |= {"archive": found}
    return render(request, "swarms/archive_node.html", context)


@require_POST
@requires(Permission.IMPORT)
def delete(request: TeamRequest, pk: UUID) -> HttpResponse:
    """Take it out again."""
    found = _found(pk)
    verbs.take_out(found, by=request.user)
    messages.success(request, f"Deleted: {found}")
    return redirect("archives")
