"""Beginning anew from an event of a swarm."""

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods

from swarms.forms import ForkForm
from swarms.models import Swarm
from swarms.plan_yaml import PlanFaults
from swarms.replay import fork as forks
from swarms.views.found import swarm_of
from tenants.access import TeamRequest, requires
from tenants.roles import Permission


@require_http_methods(["GET", "POST"])
@requires(Permission.STATE_GOAL)
def fork(request: TeamRequest, slug: str, number: int) -> HttpResponse:
    """The rest of the plan at ?at=340, to be edited; nothing typed is lost when it has faults."""
    found = swarm_of(slug, number)
    text = request.GET.get("at", "")
    at = int(text) if text.isascii() and text.isdigit() and len(text) < 19 else 0
    try:
        proposal = forks.proposal(found, at)
    except ValidationError as error:
        messages.error(request, " ".join(error.messages))
        return redirect("swarm-replay", slug=slug, number=number)
    if request.method != "POST":
        return _page(request, found, proposal, ForkForm(initial={"text": proposal.goal, "yaml": proposal.yaml}))
    form, faults = ForkForm(request.POST), []
    if form.is_valid():
        try:
            given = form.cleaned_data
            made = forks.fork(found, at, plan=given["yaml"], goal=given["text"], by=request.user)
        except PlanFaults as error:
            faults = error.faults
        except ValidationError as error:
            faults = error.messages
        else:
            return redirect("swarm", slug=slug, number=made.number)
    return _page(request, found, proposal, form, faults, status=422)


def _page(
    request: HttpRequest,
    swarm: Swarm,
    proposal: forks.Proposal,
    form: ForkForm,
    faults: list[str] | None = None,
    status: int = 200,
) -> HttpResponse:
    context = {"swarm": swarm, "proposal": proposal, "form": form, "faults": faults or []}
    return render(request, "swarms/fork.html", context, status=status)
