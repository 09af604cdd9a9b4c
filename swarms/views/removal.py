"""Deleting the team."""

from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods

from swarms import removal
from swarms.forms import RemovalForm
from swarms.refusals import NotNow
from tenants.access import TeamRequest, requires
from tenants.hosts import public_url
from tenants.roles import Permission


@require_http_methods(["GET", "POST"])
@requires(Permission.ADMINISTER)
def remove(request: TeamRequest) -> HttpResponse:
    """What would be deleted and what stands in the way; and, once the address is typed, do it."""
    team = request.team
    form = RemovalForm(request.POST if request.method == "POST" else None, address=team.slug)
    if form.is_bound and form.is_valid():
        try:
            removal.ask(team, by=request.user.email)
        except NotNow as error:
            form.add_error(None, error)
        else:
            return redirect(public_url())
    context = {"form": form, "held": removal.held(team), "at_work": removal.at_work(team)}
    return render(request, "swarms/removal.html", context, status=422 if form.errors else 200)
