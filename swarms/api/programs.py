"""What every address for members' programs shares: whose token it is, what the body says, and plain errors as JSON."""

import json
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

from django.core.exceptions import NON_FIELD_ERRORS, ValidationError
from django.http import Http404, HttpRequest, HttpResponseBase, JsonResponse
from django.views.decorators.csrf import csrf_exempt
from pydantic import BaseModel, ConfigDict
from pydantic import ValidationError as BodyError

from agents import steering
from swarms import approvals
from swarms.admission import AdmissionRefused
from swarms.api.access import secret_of
from swarms.plan_yaml import PlanFaults
from swarms.refusals import NotNow
from tenants import programs
from tenants.access import TeamRequest, refusal
from tenants.problems import not_allowed, problem
from tenants.roles import Permission, may

Body = TypeVar("Body", bound="Given")
View = Callable[..., HttpResponseBase]
_UNDECIDED = {approvals.NotTheirs: 403, approvals.NoAnswer: 422}


class Given(BaseModel):
    """The JSON body of a request; what it does not know is refused."""

    model_config = ConfigDict(extra="forbid")


class Refused(Exception):
    """The request gets this answer."""

    def __init__(self, status: int, error: str, **more: Any) -> None:
        super().__init__(error)
        self.answer = problem(status, error, **more)


def program(method: str, permission: Permission) -> Callable[[View], View]:
    """A view for programs: with the token of a member who may, else 404 (as for strangers) or 403.

    What a verb refuses becomes 409 when the state is in the way, 429 when the team has too much under way, 422 when
    what was given is wrong.
    """

    def decorate(view: View) -> View:
        @csrf_exempt
        @wraps(view)
        def answer(request: TeamRequest, team: str, **words: Any) -> HttpResponseBase:
            try:
                _enter(request, permission)
                if request.method != method:
                    return not_allowed(request, method)
                return view(request, **words)
            except Refused as error:
                return error.answer
            except Http404:
                return _error(404, ["not found"])
            except AdmissionRefused as error:
                refused = _error(429, error.messages)
                refused.headers["Retry-After"] = str(error.retry_after)
                return refused
            except (NotNow, steering.NotNow) as error:
                return _error(409, error.messages)
            except approvals.NotDecidable as error:
                return _error(_UNDECIDED.get(type(error), 409), [str(error)])
            except PlanFaults as error:
                return problem(422, "The plan has faults.", faults=error.faults)
            except ValidationError as error:
                return _error(422, _named(error))

        return answer

    return decorate


def by_method(**views: View) -> View:
    """One address with a view for each method, all made by `program`."""

    @csrf_exempt
    def answer(request: HttpRequest, team: str, **words: Any) -> HttpResponseBase:
        # Another method is refused by any of them, strangers like everywhere; only what is possible is said here.
        view = views.get(request.method or "") or next(iter(views.values()))
        given = view(request, team, **words)
        return not_allowed(request, *views) if given.status_code == 405 else given

    return answer


def _named(error: ValidationError) -> list[str]:
    """What is wrong, each with the field that it is about, where there is one."""
    if not hasattr(error, "error_dict"):
        return error.messages
    fields = error.message_dict.items()
    return [text if field == NON_FIELD_ERRORS else f"{field}: {text}" for field, texts in fields for text in texts]


def _error(status: int, texts: list[str]) -> JsonResponse:
    return problem(status, " ".join(texts))


def _enter(request: TeamRequest, permission: Permission) -> None:
    member = programs.member_of(secret_of(request), request.team)
    if member is None:
        raise Http404
    if not may(member.role, permission):
        raise Refused(403, refusal(member.role, permission))
    request.membership, request.user = member, member.user


def body_of(request: HttpRequest, model: type[Body]) -> Body:
    """The body, checked. Raises Refused with one line for each fault."""
    try:
        found = json.loads(request.body or b"{}")
        if _has_nul(found):
            raise Refused(422, "A text has a NUL character (\\0). Take it out.")
        return model.model_validate(found)
    except BodyError as error:
        faults = [
            f"{'.'.join(str(part) for part in fault['loc']) or 'body'}: {fault['msg']}" for fault in error.errors()
        ]
        raise Refused(422, "The body is not what is asked for here.", faults=faults) from error
    except (ValueError, RecursionError) as error:  # no text, no JSON, too deep, or a number of thousands of digits
        raise Refused(422, f"The body is not JSON: {error}") from error


def _has_nul(value: Any) -> bool:
    match value:
        case str():
            return "\0" in value
        case list():
            return any(map(_has_nul, value))
        case dict():
            return any(_has_nul(part) for pair in value.items() for part in pair)
    return False
