"""Changing the plan of a swarm that runs."""

from typing import Any

from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods, require_POST

from swarms import replan
from swarms.forms import PlanForm
from swarms.models import Swarm
from swarms.plan_yaml import PlanFaults
from swarms.views.found import swarm_of
from tenants.access import TeamRequest, requires
from tenants.roles import Permission


def _page(request: HttpRequest, swarm: Swarm, status: int = 200, **more: Any) -> HttpResponse:
    context = {"swarm": swarm, "form": PlanForm(initial={"yaml": replan.written(swarm)})} | more
    return render(request, "swarms/plan_change.html", context, status=status)


@require_http_methods(["GET", "POST"])
@requires(Permission.STATE_GOAL)
def change(request: TeamRequest, slug: str, number: int) -> HttpResponse:
    """The plan as it is carried out, to be edited; nothing typed is lost when it has faults."""
    found = swarm_of(slug, number)
    if request.method != "POST":
        return _page(request, found)
    form = PlanForm(request.POST)
    if not form.is_valid():
        return _page(request, found, 422, form=form)
    text = form.cleaned_data["yaml"]
    try:
        if request.POST.get("then") == "look":
            return _page(request, found, form=form, **replan.look(found, text)._asdict())
        replan.change(found, text, by=request.user)
    except PlanFaults as error:
        return _page(request, found, 422, form=form, faults=error.faults)
    except ValidationError as error:
        return _page(request, found, 422, form=form, faults=error.messages)
    return redirect("swarm", slug=slug, number=number)


@require_POST
@requires(Permission.STATE_GOAL)
def ask(request: TeamRequest, slug: str, number: int) -> HttpResponse:
    """Have the coordinator change the plan."""
    found = swarm_of(slug, number)
    note = request.POST.get("note", "").strip()[:4000]
    try:
        replan.ask(found, note, by=request.user)
    except ValidationError as error:
        return _page(request, found, 422, note=note, faults=error.messages)
    return redirect("swarm", slug=slug, number=number)
