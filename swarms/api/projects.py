"""Projects for members' programs: the same forms as on the pages, and the same rights."""

from typing import Any

from django.db import transaction
from django.forms import BaseForm
from django.http import Http404, JsonResponse
from django.shortcuts import get_object_or_404

from agents.contracts import Check
from swarms import projects as verbs
from swarms.api.programs import Given, Refused, body_of, by_method, program
from swarms.forms import ProjectForm
from swarms.models import Project
from swarms.project_forms import POLICIES, LimitsForm, ProjectChangeForm, limits_as_typed
from tenants.access import TeamRequest, refusal
from tenants.roles import Permission, may


class Changed(Given):
    """What shall be different; what is not named stays."""

    name: str | None = None
    source: str | None = None
    target_branch: str | None = None
    checks: list[Check] | None = None
    acceptance: list[Check] | None = None
    approve_plan: bool | None = None
    approve_landing: bool | None = None
    four_eyes: bool | None = None
    attempt_minutes: int | None = None
    attempt_calls: int | None = None
    stall_minutes: int | None = None
    start_minutes: int | None = None
    max_attempts: int | None = None
    max_nodes: int | None = None
    max_depth: int | None = None


class New(Given):
    """A repository with its checks and policies."""

    name: str
    slug: str
    source: str
    target_branch: str = "main"
    checks: list[Check] = []
    acceptance: list[Check] = []
    approve_plan: bool = True
    approve_landing: bool = True
    four_eyes: bool = False


class Why(Given):
    """Why, for those who read it later."""

    because: str = ""


def told(project: Project) -> dict[str, Any]:
    """What programs are told of a project."""
    names = ("slug", "name", "target_branch", "state", "because", "head", "checks", "acceptance")
    limits = {name: getattr(project, name) for name in LimitsForm.Meta.fields}
    policies = {name: getattr(project, name) for name in POLICIES}
    return (
        {"id": project.pk, "source": project.shown_source, "goals": project.last_number}
        | {name: getattr(project, name) for name in names}
        | policies
        | limits
        | {"created_at": project.created_at}
    )


def _project(slug: str) -> Project:
    return get_object_or_404(Project, slug=slug)


def _cleaned(*forms: BaseForm) -> list[dict[str, Any]]:
    """What the forms hold. Raises Refused with all that is wrong, each with the name of its field."""
    faults: list[str] = []
    for form in forms:
        faults += map(str, form.non_field_errors())
        for field in form:
            faults += [f"{field.name}: {str(text).removeprefix(f'{field.label}: ')}" for text in field.errors]
    if faults:
        raise Refused(422, " ".join(faults), faults=faults)
    return [dict(form.cleaned_data) for form in forms]


@program("GET", Permission.VIEW)
def listed(request: TeamRequest) -> JsonResponse:
    """All projects, the archived ones, too."""
    return JsonResponse({"projects": [told(one) for one in Project.objects.order_by("name")]})


@program("POST", Permission.EDIT_PROJECT)
def add(request: TeamRequest) -> JsonResponse:
    """Add a repository, and begin to copy it."""
    form = ProjectForm(dict(body_of(request, New)))
    [given] = _cleaned(form)
    project = verbs.add_project(**given, by=request.user)
    return JsonResponse(told(project), status=201)


@program("GET", Permission.VIEW)
def shown(request: TeamRequest, slug: str) -> JsonResponse:
    """One project."""
    return JsonResponse(told(_project(slug)))


@program("PATCH", Permission.EDIT_PROJECT)
def change(request: TeamRequest, slug: str) -> JsonResponse:
    """Change what is named: all of it, or nothing."""
    body = body_of(request, Changed)
    given = {name: getattr(body, name) for name in body.model_fields_set}
    if empty := sorted(name for name, value in given.items() if value is None):
        raise Refused(422, f"{empty[0]}: null says nothing. Leave the field out, and it stays as it is.")
    role = request.membership.role
    may_decide = may(role, Permission.APPROVE)
    if (closed := sorted(given.keys() & set(POLICIES))) and not may_decide:
        raise Refused(403, f"{', '.join(closed)}: {refusal(role, Permission.APPROVE)}")
    limits = {name: given.pop(name) for name in LimitsForm.Meta.fields if name in given}
    # Forms write into the instance that they are given; the verb must see what was before.
    form = ProjectChangeForm.as_typed(_project(slug), given, may_decide=may_decide)
    wanted, within = _cleaned(form, limits_as_typed(_project(slug), limits))
    with transaction.atomic():
        verbs.change(_project(slug), **wanted, by=request.user)
        if limits:
            verbs.set_limits(_project(slug), within, by=request.user)
    return JsonResponse(told(_project(slug)))


VERBS = {"archive": verbs.archive, "restore": verbs.restore}


@program("POST", Permission.EDIT_PROJECT)
def act(request: TeamRequest, slug: str, verb: str) -> JsonResponse:
    """Archive a project, or restore it; the answer is the project as it is then."""
    found = _project(slug)
    if verb not in VERBS:
        raise Http404(verb)
    VERBS[verb](found, by=request.user, because=body_of(request, Why).because)
    return JsonResponse(told(_project(slug)))


all_of_team = by_method(GET=listed, POST=add)
one = by_method(GET=shown, PATCH=change)
