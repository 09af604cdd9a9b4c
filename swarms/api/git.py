"""Smart HTTP for one project, with an attempt token."""

from uuid import UUID

from django.http import HttpResponse, HttpResponseBase, JsonResponse
from django.views.decorators.csrf import csrf_exempt

from agents import rescue
from swarms.api.access import execution_of, secret_of
from swarms.workspace import http_backend, repos
from tenants.access import TeamRequest


@csrf_exempt
def git(request: TeamRequest, team: str, project: UUID, rest: str) -> HttpResponseBase:
    """Fetch, and push the one branch that the token allows; with that of a rescue, push alone."""
    service = request.GET.get("service", "")
    execution = execution_of(request)
    is_rescue = execution is None and "git-receive-pack" in (rest, service)
    if is_rescue:
        execution = rescue.execution_of(secret_of(request), request.team)
    if execution is None:
        # As for a team that does not exist: strangers learn nothing. Runners show their token unasked.
        return _not_found()
    repository = execution.assignment.get("repository") or {}
    if repository.get("url") != str(project) or not http_backend.is_served(request.method or "", rest, service):
        return _not_found()
    branch = repository.get("branch")
    may_push = f"refs/heads/{branch}" if branch and (is_rescue or execution.cancel_at is None) else ""
    return http_backend.serve(request, repos.path_of(project), rest, may_push=may_push)


def _not_found() -> HttpResponse:
    return JsonResponse({"error": "not found"}, status=404)
