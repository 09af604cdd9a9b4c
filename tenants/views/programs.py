"""A member's tokens for programs."""

from uuid import UUID

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_POST, require_safe

from tenants import programs
from tenants.access import TeamRequest, requires
from tenants.forms import ProgramForm
from tenants.hosts import public_url
from tenants.roles import Permission


@require_safe
@requires(Permission.VIEW)
def tokens(request: TeamRequest) -> HttpResponse:
    """The member's tokens, and the form for another one."""
    return _page(request, ProgramForm())


def _page(request: TeamRequest, form: ProgramForm, secret: str = "", status: int = 200) -> HttpResponse:
    rows = [(token, token.subject.partition(":")[2]) for token in programs.of(request.membership)]
    context = {"tokens": rows, "form": form, "secret": secret, "root": public_url(f"/t/{request.team.slug}/api/v1/")}
    return render(request, "tenants/programs.html", context, status=status)


@require_POST
@requires(Permission.VIEW)
def issue(request: TeamRequest) -> HttpResponse:
    """Make a token; it is shown in this answer only."""
    form = ProgramForm(request.POST)
    if not form.is_valid():
        return _page(request, form, status=422)
    _, secret = programs.issue(request.membership, **form.cleaned_data)
    return _page(request, ProgramForm(), secret=secret)


@require_POST
@requires(Permission.VIEW)
def revoke(request: TeamRequest, token: UUID) -> HttpResponse:
    """End a token of one's own."""
    if programs.revoke(get_object_or_404(programs.of(request.membership), pk=token)):
        messages.success(request, "The token works no more.")
    return redirect("programs")
