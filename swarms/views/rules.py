"""Rules for agents' tools: of a project, and those that hold in all."""

from collections.abc import Callable
from functools import wraps
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.db.models import Q
from django.http import HttpResponse, HttpResponseBase
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_http_methods, require_POST

from swarms import exposure, rulebook, toolrules
from swarms.models import Project, ToolRule
from swarms.policy.rules import DEFAULTS
from swarms.rule_forms import ExposureForm, RuleForm, TryForm
from swarms.views.found import back, project_of
from tenants.access import TeamRequest, ensure, requires
from tenants.roles import Permission

MOST_PAST = 50
"""Rules that hold no longer, and are shown."""


@require_http_methods(["GET", "HEAD", "POST"])
def team(request: TeamRequest) -> HttpResponse:
    """The rules that hold in all projects."""
    return _rules(request, None)


@require_http_methods(["GET", "HEAD", "POST"])
def project(request: TeamRequest, slug: str) -> HttpResponse:
    """The rules that may decide in a project, in their order."""
    return _rules(request, project_of(slug))


def _rules(request: TeamRequest, found: Project | None) -> HttpResponse:
    form = RuleForm(request.POST if request.method == "POST" else None)
    if request.method == "POST":
        ensure(request, Permission.POLICY)
        if form.is_valid() and _make(request, form, found):
            return redirect(request.path)
    trial = TryForm(request.GET if "tool" in request.GET else None, auto_id="try_%s")
    context = _listed(found) | {"form": form, "trial": trial, "judged": _tried(trial, found)}
    return render(request, "swarms/rules.html", context, status=422 if form.errors else 200)


def _make(request: TeamRequest, form: RuleForm, found: Project | None) -> bool:
    try:
        toolrules.make(by=request.user, project=found, **form.cleaned_data)
    except ValidationError as error:
        form.add_error(None, error.messages)
        return False
    messages.success(request, "The rule holds from the next call on.")
    return True


def _listed(found: Project | None) -> dict[str, Any]:
    related = ("project", "swarm__project", "made_by", "revoked_by", "approval")
    rows = list(rulebook.of_project(found).exclude(life="once").select_related(*related))
    own = ToolRule.objects.filter(Q(project=None) | Q(project=found) if found else Q(project=None))
    past = own.filter(Q(revoked_at__isnull=False) | Q(life="once")).order_by("-made_at").select_related(*related)
    exposed = {"untrusted_input": found.untrusted_input, "has_secrets": found.has_secrets} if found else {}
    return {
        "project": found,
        "rules": rows,
        "past": past[:MOST_PAST],
        "defaults": DEFAULTS,
        "exposure": ExposureForm(initial=exposed) if found else None,
    }


def _tried(trial: TryForm, found: Project | None) -> dict[str, Any] | None:
    """What would be decided, and by which rule."""
    if not trial.is_bound or not trial.is_valid():
        return None
    given = trial.cleaned_data
    judged = rulebook.try_out(found, given["role"], given["tool"], given["arguments"])
    row = ToolRule.objects.filter(pk=judged.rule.key).first() if judged.rule.key else None
    return {"verdict": judged.verdict, "rule": judged.rule, "row": row}


def _acting(verb: Callable[[ToolRule, TeamRequest], str]) -> Callable[..., HttpResponseBase]:
    """A view that does something with a rule, says what came of it, and goes back to the list."""

    @require_POST
    @requires(Permission.POLICY)
    @wraps(verb)
    def view(request: TeamRequest, pk: UUID) -> HttpResponse:
        rule = get_object_or_404(ToolRule.objects.select_related("project"), pk=pk)
        try:
            messages.success(request, verb(rule, request))
        except ValidationError as error:
            messages.error(request, " ".join(error.messages))
        return back(request, "/settings/rules/")

    return view


@_acting
def revoke(rule: ToolRule, request: TeamRequest) -> str:
    """It holds no longer."""
    toolrules.revoke(rule, by=request.user)
    return "The rule is revoked; the next call is decided without it."


@_acting
def up(rule: ToolRule, request: TeamRequest) -> str:
    """It is asked before the one above it."""
    return _shift(rule, request, up=True)


@_acting
def down(rule: ToolRule, request: TeamRequest) -> str:
    """It is asked after the one below it."""
    return _shift(rule, request, up=False)


def _shift(rule: ToolRule, request: TeamRequest, *, up: bool) -> str:
    slug = request.POST.get("project", "")
    seen = rulebook.of_project(project_of(slug) if slug else None).exclude(life="once")
    toolrules.shift(rule, up=up, among=seen, by=request.user)
    return "Moved: the first rule that fits decides."


@require_POST
@requires(Permission.POLICY)
def declare(request: TeamRequest, slug: str) -> HttpResponse:
    """What the project's agents are exposed to."""
    found, form = project_of(slug), ExposureForm(request.POST)
    if form.is_valid():
        exposure.declare(found, **form.cleaned_data, by=request.user)
        messages.success(request, "It counts from the next start of a node on.")
    return redirect("project-rules", slug=slug)
