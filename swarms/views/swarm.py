"""A swarm's page and its live regions."""

from typing import Any

from django.core.exceptions import ValidationError
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_GET, require_POST

from swarms import board, goals
from swarms.feed import feed as feed_lines
from swarms.forms import PlanForm
from swarms.models import Swarm
from swarms.plan_yaml import PlanFaults, write_yaml
from swarms.regions import REGIONS
from swarms.views.found import swarm_of
from swarms.views.operations import act
from tenants.access import TeamRequest, requires
from tenants.roles import Permission


def _page(request: HttpRequest, swarm: Swarm, status: int = 200, **more: Any) -> HttpResponse:
    context: dict[str, Any] = {"swarm": swarm, "position": board.position()}
    for read in REGIONS.values():
        context |= read(swarm)
    context |= {"feed": feed_lines(swarm)} | more
    return render(request, "swarms/swarm.html", context, status=status)


@require_GET
def swarm(request: HttpRequest, slug: str, number: int) -> HttpResponse:
    """Everything about a swarm on one page."""
    return _page(request, swarm_of(slug, number))


@require_GET
def region(request: HttpRequest, slug: str, number: int, name: str) -> HttpResponse:
    """One region of the page, as it is now."""
    if name not in REGIONS:
        raise Http404(name)
    found = swarm_of(slug, number)
    return render(request, f"swarms/_swarm_{name}.html", {"swarm": found} | REGIONS[name](found))


@require_GET
def feed(request: HttpRequest, slug: str, number: int) -> HttpResponse:
    """What happened after a line of the feed."""
    after = request.GET.get("after", "0")
    found = swarm_of(slug, number)
    known = int(after) if after.isascii() and after.isdigit() and len(after) < 19 else 0
    return render(request, "swarms/_feed.html", {"swarm": found, "feed": feed_lines(found, known)})


@require_GET
def plan_yaml(request: HttpRequest, slug: str, number: int) -> HttpResponse:
    """The plan as a file."""
    found = swarm_of(slug, number)
    plan = board.last_plan(found)
    if plan is None or not plan.document:
        raise Http404("no plan yet")
    name = f"{found.project.slug}-{found.number}-plan-{plan.version}.yaml"
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return HttpResponse(write_yaml(plan.document), content_type="application/yaml", headers=headers)


@require_POST
@requires(Permission.STATE_GOAL)
def give_plan(request: TeamRequest, slug: str, number: int) -> HttpResponse:
    """Take a person's plan instead of the coordinator's; nothing typed is lost when it has faults."""
    found = swarm_of(slug, number)
    form = PlanForm(request.POST)
    faults: list[str] = []
    if form.is_valid():
        try:
            goals.give_plan(found, form.cleaned_data["yaml"], by=request.user)
        except PlanFaults as error:
            faults = error.faults
        except ValidationError as error:
            faults = error.messages
        else:
            return redirect("swarm", slug=slug, number=number)
    return _page(request, found, status=422, plan_form=form, given_faults=faults)


@require_POST
@requires(Permission.STATE_GOAL)
def plan_again(request: TeamRequest, slug: str, number: int) -> HttpResponse:
    """Ask the coordinator for another plan."""
    note = request.POST.get("note", "").strip()[:4000]
    return act(request, slug, number, lambda swarm, by: goals.plan_again(swarm, by=by, note=note))
