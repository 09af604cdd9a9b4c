"""The first page, and the list of all swarms."""

from urllib.parse import urlencode

from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_GET

from agents.routes import who_answers
from swarms import board, listing
from swarms.forms import GoalForm
from swarms.looks import LOOKS
from swarms.models import Approval, Project, Swarm
from swarms.states import SWARM_ENDED, ProjectState
from swarms.views.found import before

PAGE = 50
MOST_LIVE = 20
"""Swarms at work that the first page shows; the list has the rest."""
LATELY = 5


@require_GET
def home(request: HttpRequest) -> HttpResponse:
    """What needs a person, what runs, and a box for a new goal."""
    position = board.position()
    here = {
        "position": position,
        "is_new": not Project.objects.exists(),
        "projects": Project.objects.exclude(state=ProjectState.ARCHIVED).order_by("name"),
        "form": GoalForm(),
        "answers": who_answers(),
    }
    context = now_context() | lately_context() | here
    return render(request, "swarms/home.html", context)


def now_context() -> dict[str, object]:
    """What the live part of the first page shows."""
    pending = Approval.objects.filter(state="pending").select_related("swarm__project").order_by("requested_at")
    live = listing.page(listing.live_swarms(), most=MOST_LIVE)
    return {"pending": pending, "live": live.rows, "has_more_live": live.older is not None}


def lately_context() -> dict[str, object]:
    """The swarms that were over last."""
    return {"recent": listing.page(Swarm.objects.filter(state__in=SWARM_ENDED), most=LATELY).rows}


@require_GET
def home_now(request: HttpRequest) -> HttpResponse:
    """The live part of the first page."""
    return render(request, "swarms/_home_now.html", now_context())


@require_GET
def home_lately(request: HttpRequest) -> HttpResponse:
    """Swarms that are over, of the first page."""
    return render(request, "swarms/_home_lately.html", lately_context())


def _filtered(state: str, slug: str) -> QuerySet[Swarm]:
    swarms = Swarm.objects.all()
    if state == "live":
        swarms = listing.live_swarms()
    elif state:
        swarms = swarms.filter(state=state)
    return swarms.filter(project__slug=slug) if slug else swarms


@require_GET
def swarms(request: HttpRequest) -> HttpResponse:
    """All swarms, filtered by the address: ?state=running&project=textkit&before=<id of the last one that is known>."""
    position = board.position()
    state, slug, known = request.GET.get("state", ""), request.GET.get("project", ""), before(request)
    page = listing.page(_filtered(state, slug), most=PAGE, before=known)
    kept = {name: value for name, value in (("state", state), ("project", slug)) if value}
    context = {
        "position": position,
        "rows": page.rows,
        "older": f"/swarms/?{urlencode(kept | {'before': page.older})}" if page.older else "",
        "newest": f"/swarms/?{urlencode(kept)}" if known else "",
        "state": state,
        "slug": slug,
        "states": [(name, look.word) for name, look in LOOKS["swarm"].items()],
        "projects": Project.objects.order_by("name"),
    }
    template = "swarms/_swarm_rows.html" if request.headers.get("HX-Request") else "swarms/swarms.html"
    return render(request, template, context)
