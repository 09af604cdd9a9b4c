"""Runners of a team's own: added with a token that is shown once."""

from uuid import UUID

from django.conf import settings
from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.debug import sensitive_variables
from django.views.decorators.http import require_GET, require_POST

from tenants import runners
from tenants.access import TeamRequest, requires
from tenants.forms import RunnerForm
from tenants.hosts import public_url
from tenants.models import Runner
from tenants.roles import Permission


@require_GET
@requires(Permission.ENROL)
def own(request: TeamRequest) -> HttpResponse:
    """The team's own runners, and the form for another one."""
    return _page(request, RunnerForm())


@sensitive_variables("secret")
def _page(
    request: TeamRequest, form: RunnerForm, *, made: Runner | None = None, secret: str = "", status: int = 200
) -> HttpResponse:
    rows = runners.of(request.team).select_related("token").order_by("token__revoked_at", "name")
    context = {
        "runners": rows,
        "form": form,
        "made": made,
        "secret": secret,
        "url": public_url("").rstrip("/"),
        "is_local": settings.WAGGLE_HOST.endswith("localhost"),
    }
    answer = render(request, "agents/runners.html", context, status=status)
    if secret:
        answer["Cache-Control"] = "no-store"
    return answer


@require_POST
@requires(Permission.ENROL)
@sensitive_variables("secret")
def add(request: TeamRequest) -> HttpResponse:
    """Another runner; its token is shown in this answer only."""
    form = RunnerForm(request.POST)
    if form.is_valid():
        try:
            made, secret = runners.add(
                form.cleaned_data["name"], team=request.team, trusted=form.cleaned_data["trusted"]
            )
            return _page(request, RunnerForm(), made=made, secret=secret)
        except (runners.Taken, runners.TooMany) as error:
            form.add_error("name", str(error))
    return _page(request, form, status=422)


@require_POST
@requires(Permission.ENROL)
@sensitive_variables("secret")
def renew(request: TeamRequest, pk: UUID) -> HttpResponse:
    """A new token, shown in this answer only; the one before ends."""
    runner = get_object_or_404(runners.of(request.team), pk=pk)
    secret = runners.renew(runner)
    return _page(request, RunnerForm(), made=runner, secret=secret)


@require_POST
@requires(Permission.ENROL)
def end(request: TeamRequest, pk: UUID) -> HttpResponse:
    """The runner may not come again."""
    runner = get_object_or_404(runners.of(request.team), pk=pk)
    runners.end(runner)
    messages.success(
        request, f"{runner.name} gets no more work. What it holds goes to others as soon as its leases run out."
    )
    return redirect("runners")
