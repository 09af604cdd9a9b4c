"""Errors at addresses for programs: JSON with one sentence, on every host; people get a page."""

import re
from typing import Any

from django.core.exceptions import RequestDataTooBig
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views import defaults

_PROGRAMS = re.compile(r"^/(?:api|t/[^/]+)(?:/|$)")
ELSEWHERE = "not found: the API is at /t/<team>/api/v1/ and takes a bearer token"


def is_for_programs(path: str) -> bool:
    """Whether only programs ask for this address."""
    return bool(_PROGRAMS.match(path))


def problem(status: int, text: str, **more: Any) -> JsonResponse:
    """What a program is told; `more` are further fields."""
    return JsonResponse({"error": text} | more, status=status)


def not_allowed(request: HttpRequest, *methods: str) -> JsonResponse:
    """405: the address is right, the method is not."""
    answer = problem(405, f"{request.method} is not possible here: use {' or '.join(methods)}.")
    answer.headers["Allow"] = ", ".join(methods)
    return answer


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """handler400."""
    if not is_for_programs(request.path):
        return defaults.bad_request(request, exception)
    if isinstance(exception, RequestDataTooBig):
        return problem(413, "The body is too long.")
    return problem(400, "The request is malformed: look at its headers, its address and its body.")


def forbidden(request: HttpRequest, exception: Exception) -> HttpResponse:
    """handler403."""
    if is_for_programs(request.path):
        return problem(403, str(exception) or "forbidden")
    return defaults.permission_denied(request, exception)


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """handler404."""
    return problem(404, "not found") if is_for_programs(request.path) else defaults.page_not_found(request, exception)


def failed(request: HttpRequest) -> HttpResponse:
    """handler500."""
    if is_for_programs(request.path):
        return problem(500, "Something went wrong here. What you asked for may or may not have been done: look first.")
    return defaults.server_error(request)
