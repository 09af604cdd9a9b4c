"""The first page, and the list of all swarms."""

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_GET

from swarms import board
from swarms.forms import GoalForm
from swarms.models import Approval, Project, Swarm
from swarms.states import SWARM_ENDED, SwarmState

MOST_ROWS = 200


@require_GET
def home(request: HttpRequest) -> HttpResponse:
    """What needs a person, what runs, and a box for a new goal."""
    position = board.position()
    here = {"position": position, "projects": Project.objects.order_by("name"), "form": GoalForm()}
    context = now_context() | lately_context() | here
    return render(request, "swarms/home.html", context)


def now_context() -> dict[str, object]:
    """What the live part of the first page shows."""
    pending = Approval.objects.filter(state="pending").select_related("swarm__project").order_by("requested_at")
    return {"pending": pending, "live": board.rows(board.live_swarms())}


def lately_context() -> dict[str, object]:
    """The swarms that were over last."""
    return {"recent": board.rows(Swarm.objects.filter(state__in=SWARM_ENDED))[:5]}


@require_GET
def home_now(request: HttpRequest) -> HttpResponse:
    """The live part of the first page."""
    return render(request, "swarms/_home_now.html", now_context())


@require_GET
def home_lately(request: HttpRequest) -> HttpResponse:
    """Swarms that are over, of the first page."""
    return render(request, "swarms/_home_lately.html", lately_context())


def _filtered(request: HttpRequest) -> tuple[str, str, list[board.Row]]:
    state, slug = request.GET.get("state", ""), request.GET.get("project", "")
    swarms = Swarm.objects.all()
    if state == "live":
        swarms = board.live_swarms()
    elif state:
        swarms = swarms.filter(state=state)
    if slug:
        swarms = swarms.filter(project__slug=slug)
    return state, slug, board.rows(swarms)[:MOST_ROWS]


@require_GET
def swarms(request: HttpRequest) -> HttpResponse:
    """All swarms, filtered by the address: ?state=running&project=textkit."""
    position = board.position()
    state, slug, rows = _filtered(request)
    context = {
        "position": position,
        "rows": rows,
        "state": state,
        "slug": slug,
        "states": [s.value for s in SwarmState],
        "projects": Project.objects.order_by("name"),
    }
    template = "swarms/_swarm_rows.html" if request.headers.get("HX-Request") else "swarms/swarms.html"
    return render(request, template, context)
