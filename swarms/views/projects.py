"""Projects: list, add, look at, state goals."""

from urllib.parse import urlencode

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.forms import BaseForm as Form
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from agents.routes import who_answers
from sessions import history
from swarms import board, goals, listing
from swarms import projects as verbs
from swarms.forms import BecauseForm, GoalForm, ProjectForm
from swarms.models import Project
from swarms.project_forms import LimitsForm, ProjectChangeForm
from swarms.refusals import NotNow
from swarms.states import ProjectState
from swarms.views.found import project_of
from tenants.access import TeamRequest, requires
from tenants.roles import Permission, may

MOST_GOALS = 50
"""Goals on a project's page; the list of swarms has the rest."""


@require_GET
def projects(request: HttpRequest) -> HttpResponse:
    """All projects of the team."""
    position = board.position()
    found = list(Project.objects.order_by("name"))
    live = set(listing.live_swarms().values_list("project_id", flat=True))
    context = {
        "projects": [(one, one.pk in live) for one in found if one.state != ProjectState.ARCHIVED],
        "archived": [one for one in found if one.state == ProjectState.ARCHIVED],
        "position": position,
    }
    return render(request, "swarms/projects.html", context)


@require_http_methods(["GET", "POST"])
@requires(Permission.EDIT_PROJECT)
def new_project(request: TeamRequest) -> HttpResponse:
    """Add a repository."""
    given = request.POST if request.method == "POST" else None
    form = ProjectForm(given, initial={"approve_plan": True, "approve_landing": True})
    if request.method == "POST" and form.is_valid():
        try:
            project = verbs.add_project(**form.cleaned_data, by=request.user)
        except ValidationError as error:
            _show(form, error)
        else:
            return redirect("project", slug=project.slug)
    return render(request, "swarms/project_new.html", {"form": form}, status=422 if form.errors else 200)


def _show(form: Form, error: ValidationError) -> None:
    """A verb's complaint at the field that it names, or above the form."""
    for name, texts in getattr(error, "message_dict", {None: error.messages}).items():
        for text in texts:
            form.add_error(name if name in form.fields else None, text)


@require_GET
def project(request: HttpRequest, slug: str) -> HttpResponse:
    """One project: its repository, checks, goals."""
    return render(request, "swarms/project.html", _context(project_of(slug), GoalForm()))


def _context(found: Project, form: GoalForm) -> dict[str, object]:
    """What a project's page shows."""
    position = board.position()
    return _rows(found) | {
        "imported": history.imported(found.topic).count(),
        "form": form,
        "answers": who_answers(),
        "position": position,
    }


@require_GET
def project_state(request: HttpRequest, slug: str) -> HttpResponse:
    """The live part of a project's page."""
    found = project_of(slug)
    return render(request, "swarms/_project_state.html", {"project": found, "form": GoalForm()})


@require_GET
def project_rows(request: HttpRequest, slug: str) -> HttpResponse:
    """The goals of a project."""
    return render(request, "swarms/_swarm_rows.html", _rows(project_of(slug)))


def _rows(found: Project) -> dict[str, object]:
    page = listing.page(found.swarms.all(), most=MOST_GOALS)
    older = f"/swarms/?{urlencode({'project': found.slug, 'before': page.older})}" if page.older else ""
    return {"project": found, "rows": page.rows, "older": older}


@require_http_methods(["GET", "POST"])
@requires(Permission.EDIT_PROJECT)
def change(request: TeamRequest, slug: str) -> HttpResponse:
    """Its name, checks and policies."""
    found = project_of(slug)
    may_decide = may(request.membership.role, Permission.APPROVE)
    # The form writes into the instance that it is given; the verb must see what was before.
    given = request.POST if request.method == "POST" else None
    form = ProjectChangeForm(given, instance=project_of(slug), may_decide=may_decide)
    if request.method == "POST" and form.is_valid():
        try:
            verbs.change(found, **form.cleaned_data, by=request.user)
        except ValidationError as error:
            _show(form, error)
        else:
            messages.success(request, "Saved. What begins now goes by it; what runs keeps the checks it began with.")
            return redirect("project", slug=slug)
    context = {"project": found, "form": form}
    return render(request, "swarms/project_change.html", context, status=422 if form.errors else 200)


@require_http_methods(["GET", "POST"])
@requires(Permission.EDIT_PROJECT)
def limits(request: TeamRequest, slug: str) -> HttpResponse:
    """How long, how often and how much."""
    found = project_of(slug)
    form = LimitsForm(request.POST if request.method == "POST" else None, instance=found)
    if request.method == "POST" and form.is_valid():
        try:
            verbs.set_limits(found, form.cleaned_data, by=request.user)
        except NotNow as error:
            _show(form, error)
        else:
            return redirect("project", slug=slug)
    context = {"project": found, "form": form}
    return render(request, "swarms/project_limits.html", context, status=422 if form.errors else 200)


@require_POST
@requires(Permission.EDIT_PROJECT)
def refetch(request: TeamRequest, slug: str) -> HttpResponse:
    """Copy the repository again."""
    found = project_of(slug)
    try:
        if not verbs.refetch(found, by=request.user):
            messages.info(request, "The repository is being copied already.")
    except NotNow as error:
        messages.error(request, " ".join(error.messages))
    return redirect("project", slug=slug)


@require_http_methods(["GET", "POST"])
@requires(Permission.EDIT_PROJECT)
def archive(request: TeamRequest, slug: str) -> HttpResponse:
    """What goes and what stays; a POST archives it."""
    found = project_of(slug)
    form = BecauseForm(request.POST if request.method == "POST" else None)
    if request.method == "POST" and form.is_valid():
        try:
            verbs.archive(found, **form.cleaned_data, by=request.user)
        except ValidationError as error:
            _show(form, error)
        else:
            messages.success(request, f"{found.name} is archived. Restore it whenever you like.")
            return redirect("project", slug=slug)
    context = {"project": found, "form": form, "at_work": verbs.at_work(found)}
    return render(request, "swarms/project_archive.html", context, status=422 if form.errors else 200)


@require_POST
@requires(Permission.EDIT_PROJECT)
def restore(request: TeamRequest, slug: str) -> HttpResponse:
    """Take it back from the archive."""
    try:
        verbs.restore(project_of(slug), by=request.user)
    except NotNow as error:
        messages.error(request, " ".join(error.messages))
    return redirect("project", slug=slug)


@require_POST
@requires(Permission.STATE_GOAL)
def state_goal(request: TeamRequest, slug: str) -> HttpResponse:
    """State a goal; then its swarm's page."""
    found = project_of(slug)
    form = GoalForm(request.POST)
    if form.is_valid():
        try:
            swarm = goals.state_goal(found, form.cleaned_data["text"], by=request.user)
        except ValidationError as error:
            _show(form, error)
        else:
            return redirect("swarm", slug=slug, number=swarm.number)
    return render(request, "swarms/project.html", _context(found, form), status=422)
