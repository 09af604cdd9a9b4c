"""Rules for agents' tools for members' programs."""

from typing import Any
from uuid import UUID

from django.http import Http404, JsonResponse
from django.shortcuts import get_object_or_404
from pydantic import Field

from swarms import rulebook, toolrules
from swarms.api.programs import Given, body_of, program
from swarms.models import Project, ToolRule
from swarms.policy.rules import DEFAULTS, Rule, Verdict
from tenants.access import TeamRequest
from tenants.roles import Permission


class NewRule(Given):
    """A rule that holds until it is revoked."""

    tool: str = Field(min_length=1, max_length=80)
    verdict: Verdict
    project: str = ""
    role: str = Field(default="", max_length=20)
    arguments: dict[str, str] = {}
    sandboxed: bool = False
    why: str = Field(default="", max_length=500)
    last: bool = False


class Tried(Given):
    """A call, to see what would be decided of it."""

    tool: str = Field(min_length=1, max_length=80)
    project: str = ""
    role: str = "developer"
    arguments: dict[str, Any] = {}
    sandboxed: bool = True


class Shown(Given):
    """In which list a rule is moved."""

    project: str = ""


@program("GET", Permission.VIEW)
def rules(request: TeamRequest) -> JsonResponse:
    """The rules that may decide in a project, in their order, or without ?project=slug those that hold in all."""
    found = rulebook.of_project(_project(request.GET.get("project", "")))
    rows = [_told(row) for row in found.select_related("project", "made_by")]
    return JsonResponse({"rules": rows, "builtin": [_pure(rule) for rule in DEFAULTS]})


@program("POST", Permission.POLICY)
def add(request: TeamRequest) -> JsonResponse:
    """Make a rule, before all others or with `last` after them."""
    given = body_of(request, NewRule)
    words = given.model_dump() | {"verdict": str(given.verdict), "project": _project(given.project)}
    return JsonResponse(_told(toolrules.make(by=request.user, **words)), status=201)


@program("POST", Permission.VIEW)
def attempt(request: TeamRequest) -> JsonResponse:
    """What would be decided of a call, and by which rule; nobody is asked."""
    given = body_of(request, Tried)
    project = _project(given.project)
    judged = rulebook.try_out(project, given.role, given.tool, given.arguments, sandboxed=given.sandboxed)
    return JsonResponse({"verdict": judged.verdict, "rule": _pure(judged.rule)})


@program("POST", Permission.POLICY)
def act(request: TeamRequest, rule: UUID, verb: str) -> JsonResponse:
    """Revoke a rule, or ask it earlier (`up`) or later (`down`); the answer is the rule as it is then."""
    found = get_object_or_404(ToolRule.objects.select_related("project", "made_by"), pk=rule)
    if verb == "revoke":
        toolrules.revoke(found, by=request.user)
    elif verb in ("up", "down"):
        seen = rulebook.of_project(_project(body_of(request, Shown).project))
        toolrules.shift(found, up=verb == "up", among=seen, by=request.user)
    else:
        raise Http404(verb)
    found.refresh_from_db()
    return JsonResponse(_told(found))


def _project(slug: str) -> Project | None:
    return get_object_or_404(Project, slug=slug) if slug else None


def _pure(rule: Rule) -> dict[str, Any]:
    return {
        "id": rule.key or None,
        "verdict": rule.verdict,
        "tool": rule.tool,
        "arguments": dict(rule.arguments),
        "exact": rule.exact,
        "role": rule.role,
        "sandboxed": rule.sandboxed,
        "hosted": rule.hosted,
        "why": rule.why,
    }


def _told(row: ToolRule) -> dict[str, Any]:
    return _pure(row.pure) | {
        "project": row.project.slug if row.project else None,
        "swarm": row.swarm_id,
        "life": row.life,
        "approval": row.approval_id,
        "by": str(row.made_by),
        "at": row.made_at,
        "revoked_at": row.revoked_at,
    }
