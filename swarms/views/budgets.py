"""Budgets: what may be spent on the team, a project, a swarm or a node, seen by all and set by owners and admins."""

from decimal import Decimal
from typing import Any

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods

from swarms import allowances, budgets, purses
from swarms.forms import BudgetForm
from swarms.purses import DOLLAR
from swarms.views.found import node_of, project_of, swarm_of
from tenants.access import TeamRequest, ensure
from tenants.roles import Permission


@require_http_methods(["GET", "POST"])
def team(request: TeamRequest) -> HttpResponse:
    """The team's budget, and all others of the team."""
    return _budget(request, budgets.TEAM, rows=purses.purses())


@require_http_methods(["GET", "POST"])
def project(request: TeamRequest, slug: str) -> HttpResponse:
    """A project's budget."""
    found = project_of(slug)
    return _budget(request, budgets.subject_of(found), project=found)


@require_http_methods(["GET", "POST"])
def swarm(request: TeamRequest, slug: str, number: int) -> HttpResponse:
    """A swarm's budget."""
    found = swarm_of(slug, number)
    return _budget(request, budgets.subject_of(found), project=found.project, swarm=found)


@require_http_methods(["GET", "POST"])
def node(request: TeamRequest, slug: str, number: int, key: str) -> HttpResponse:
    """A node's budget."""
    found = node_of(swarm_of(slug, number), key)
    return _budget(request, budgets.subject_of(found), project=found.swarm.project, swarm=found.swarm, node=found)


def _budget(request: TeamRequest, subject: str, **context: Any) -> HttpResponse:
    purse = purses.purse(subject)
    initial = {"limit": _dollars(purse.limit), "soft_percent": purse.soft_percent} if purse else {}
    form = BudgetForm(request.POST if request.method == "POST" else None, initial=initial)
    if request.method == "POST":
        ensure(request, Permission.SPEND)
        if form.is_valid() and _set(request, subject, form):
            return redirect(request.path)
    context |= {"purse": purse, "title": budgets.title(subject), "form": form}
    return render(request, "swarms/budget.html", context, status=422 if form.errors else 200)


def _set(request: TeamRequest, subject: str, form: BudgetForm) -> bool:
    limit: Decimal | None = form.cleaned_data["limit"]
    microusd = None if limit is None else int(limit * DOLLAR)
    try:
        allowances.set_budget(subject, microusd, form.cleaned_data["soft_percent"], by=request.user)
    except ValidationError as error:
        for name, texts in error.message_dict.items():
            form.add_error(name, texts)
        return False
    messages.success(request, "There is no limit any more." if limit is None else "The budget is set.")
    return True


def _dollars(microusd: int) -> Decimal:
    return (Decimal(microusd) / DOLLAR).quantize(Decimal("0.01") if microusd % 10_000 == 0 else Decimal("0.000001"))
