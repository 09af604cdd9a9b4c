"""Approvals: what waits for a person, and the answer."""

from uuid import UUID

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.views.decorators.http import require_GET, require_POST

from swarms import approvals as verbs
from swarms import board, decisions
from swarms.forms import DecisionForm
from swarms.models import Approval
from swarms.views.found import back
from tenants.access import TeamRequest, requires
from tenants.roles import Permission

MOST_DECIDED = 100


@require_GET
def approvals(request: HttpRequest) -> HttpResponse:
    """All approvals, the pending ones first."""
    position = board.position()
    found = Approval.objects.select_related("swarm__project", "decided_by", "requested_by", "node")
    context = {
        "pending": found.filter(state="pending").order_by("requested_at"),
        "decided": found.exclude(state="pending").order_by("-requested_at")[:MOST_DECIDED],
        "position": position,
    }
    return render(request, "swarms/approvals.html", context)


@require_GET
def approval(request: HttpRequest, pk: UUID) -> HttpResponse:
    """Exactly what is decided, and the form to decide it."""
    return _page(request, pk, DecisionForm())


def _page(request: HttpRequest, pk: UUID, form: DecisionForm) -> HttpResponse:
    position = board.position()
    context = decisions.describe(_found(pk)) | {"form": form, "position": position}
    return render(request, "swarms/approval.html", context, status=422 if form.errors else 200)


def _found(pk: UUID) -> Approval:
    related = Approval.objects.select_related(
        "swarm__project", "swarm__goal", "plan", "node", "decided_by", "requested_by"
    )
    return get_object_or_404(related, pk=pk)


@require_POST
@requires(Permission.APPROVE)
def decide(request: TeamRequest, pk: UUID) -> HttpResponse:
    """Approve or reject. What cannot be decided (any more) is said, and nothing changes."""
    found = get_object_or_404(Approval, pk=pk)
    form = DecisionForm(request.POST)
    page = f"/approvals/{found.pk}/"
    if not form.is_valid():
        if "verdict" in form.errors:
            messages.error(request, "Choose Approve or Reject.")
        return _page(request, pk, form)
    because = form.cleaned_data["because"].strip()
    try:
        verdict = form.cleaned_data["verdict"]
        if verdict != "reject":
            life = "once" if verdict == "approve" else verdict
            verbs.approve(found, by=request.user, because=because, life=life)
            messages.success(request, f"Approved: {found.title}")
        else:
            verbs.reject(found, by=request.user, because=because)
            messages.success(request, f"Rejected: {found.title}")
    except verbs.NotDecidable as error:
        messages.error(request, str(error))
    return back(request, page)
