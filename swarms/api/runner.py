"""What a runner reports of an execution: its transcript as it streams, and its outcome."""

import re
from typing import TypeVar
from uuid import UUID

from django.db import DataError
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.csrf import csrf_exempt
from pydantic import BaseModel, ValidationError

from agents import executions, ingest
from agents.contracts import OutcomeReport, PermissionAsked, RecordBatch
from agents.models import Execution
from sessions import transcript
from swarms import permissions
from swarms.api.access import execution_of, secret_of
from tenants import tokens
from tenants.access import TeamRequest
from tenants.faults import crash_point
from tenants.problems import not_allowed, problem

Body = TypeVar("Body", bound=BaseModel)
STALE_STATUS = 409
_NUL = re.compile(rb"(?<!\\)((?:\\\\)*)\\u0000")
"""In JSON; Postgres takes none in text. Behind another backslash it is the text of somebody's source."""
STALE = {"error": "the lease is gone: stop, and push nothing more"}


def _parse(model: type[Body], request: HttpRequest) -> Body | JsonResponse:
    try:
        return model.model_validate_json(_NUL.sub(rb"\1\\ufffd", request.body))
    except ValidationError as error:
        faults = [f"{'.'.join(str(part) for part in fault['loc'])}: {fault['msg']}" for fault in error.errors()]
        return JsonResponse({"faults": faults}, status=422)


def find(request: TeamRequest, execution_id: UUID) -> Execution | HttpResponse:
    """The live execution that a POST speaks for, or the answer to whoever does not."""
    execution = execution_of(request)
    if execution is not None and execution.pk == execution_id:
        return execution if request.method == "POST" else not_allowed(request, "POST")
    return JsonResponse(STALE, status=STALE_STATUS) if _was_ours(request, execution_id) else _not_found()


def _was_ours(request: TeamRequest, execution_id: UUID) -> bool:
    """Whether the token was once right: then its holder is stale, not a stranger."""
    return tokens.was_issued(secret_of(request), team=request.team, subject=f"execution:{execution_id}")


def _not_found() -> JsonResponse:
    return problem(404, "not found")


@csrf_exempt
def records(request: TeamRequest, team: str, execution: UUID) -> HttpResponse:
    """Messages, parts and deltas, in order."""
    found = find(request, execution)
    if isinstance(found, HttpResponse):
        return found
    batch = _parse(RecordBatch, request)
    if isinstance(batch, JsonResponse):
        return batch
    if batch.fence != found.fence:
        return JsonResponse(STALE, status=STALE_STATUS)
    try:
        count = ingest.take(found, batch.records)
    except transcript.SessionOver:
        return JsonResponse(STALE, status=STALE_STATUS)
    except (transcript.RecordFault, DataError) as error:
        return JsonResponse({"faults": [str(error)]}, status=422)
    return JsonResponse({"accepted": count})


@csrf_exempt
def permission(request: TeamRequest, team: str, execution: UUID) -> HttpResponse:
    """Whether its agent may use a tool in exactly this way; who must wait for a person asks again."""
    found = find(request, execution)
    if isinstance(found, HttpResponse):
        return found
    asked = _parse(PermissionAsked, request)
    if isinstance(asked, JsonResponse):
        return asked
    if asked.fence != found.fence:
        return JsonResponse(STALE, status=STALE_STATUS)
    try:
        given = permissions.ask(found, asked)
    except permissions.Stale:
        return JsonResponse(STALE, status=STALE_STATUS)
    except (permissions.Faults, DataError) as error:
        return JsonResponse({"faults": [str(error)]}, status=422)
    return JsonResponse(given.model_dump())


@csrf_exempt
def outcome(request: TeamRequest, team: str, execution: UUID) -> HttpResponse:
    """How it ended. A report that comes twice is answered in the same way, without what came next."""
    found = find(request, execution)
    if isinstance(found, HttpResponse) and found.status_code != STALE_STATUS:
        return found
    report = _parse(OutcomeReport, request)
    if isinstance(report, JsonResponse):
        return report
    try:
        receipt = executions.receive(execution, report.fence, report.outcome, takes_next=report.takes_next)
    except executions.Stale:
        return JsonResponse(STALE, status=STALE_STATUS)
    except DataError as error:
        receipt = executions.Receipt([f"this cannot be stored: {error}"])
    if receipt.faults:
        return JsonResponse({"faults": receipt.faults}, status=422)
    crash_point("outcome.accepted")
    follows = {"next": receipt.next.model_dump(mode="json")} if receipt.next else {}
    return JsonResponse({"accepted": True} | follows)
