"""Sessions of other programs in a project."""

from django.core.paginator import Paginator
from django.http import HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_GET

from sessions import history
from swarms import board
from swarms.views.found import project_of
from tenants.access import TeamRequest

ROWS = 50


@require_GET
def sessions(request: TeamRequest, slug: str) -> HttpResponse:
    """The imported sessions of a project, the latest first: ?page=2."""
    position = board.position()
    found = project_of(slug)
    pages = Paginator(history.imported(found.topic).order_by("-created_at", "-pk"), ROWS)
    context = {
        "project": found,
        "sessions": pages.get_page(request.GET.get("page")),
        "command": f"manage.py import_opencode ~/.local/share/opencode --team {request.team.slug} --project {slug}",
        "position": position,
    }
    template = "swarms/_imported_rows.html" if request.headers.get("HX-Request") else "swarms/imported.html"
    return render(request, template, context)
