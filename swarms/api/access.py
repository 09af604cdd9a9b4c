"""Attempt tokens: whose execution a program speaks for."""

import base64
import binascii
from uuid import UUID

import structlog
from django.http import HttpRequest

from agents.models import Execution
from tenants import tokens
from tenants.access import TeamRequest
from tenants.trace import begin_trace


def secret_of(request: HttpRequest) -> str:
    """The token of a request: Bearer, or the password of HTTP Basic (git)."""
    shown = request.headers.get("Authorization", "")
    scheme, _, value = shown.partition(" ")
    if scheme.lower() == "basic":
        try:
            return base64.b64decode(value, validate=True).decode().partition(":")[2]
        except (binascii.Error, UnicodeDecodeError):
            return ""
    return tokens.bearer(shown)


def execution_of(request: TeamRequest) -> Execution | None:
    """The live execution whose attempt token the request shows, in this team; None otherwise."""
    token = tokens.find(secret_of(request), "attempt")
    if token is None or token.team_id != request.team.pk or not token.subject.startswith("execution:"):
        return None
    execution = Execution.objects.select_related("session").filter(pk=UUID(token.subject.partition(":")[2])).first()
    if execution is None or not execution.is_live:
        return None
    begin_trace(execution.trace)
    structlog.contextvars.bind_contextvars(
        swarm=str(execution.swarm), node=execution.subject, attempt=str(execution.id), trace=execution.trace
    )
    return execution
