"""What agents ask the control plane while they work, over the Model Context Protocol: POST /t/<team>/mcp. Bare ASGI.

The attempt token says who asks. No state is kept between requests, so any web process answers any of them.
"""

import json
import re
from collections.abc import Awaitable, Callable
from typing import Any

import structlog
from channels.db import database_sync_to_async
from django.db import Error as DatabaseError
from mcp.server.lowlevel import Server
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp_types import CallToolRequestParams, CallToolResult, ListToolsResult, PaginatedRequestParams, TextContent, Tool
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from agents import ingest
from agents.callers import caller_of
from agents.contracts import Doing
from agents.metering import Caller
from agents.models import Execution
from agents.provider import Refused
from swarms import awareness
from swarms.models import Attempt
from tenants import tokens
from tenants.context import in_schema

logger = structlog.get_logger(__name__)
PATH = re.compile(r"^/t/(?P<team>[^/\0]+)/mcp$")
BODY_LIMIT = 256 * 1024
"""Bytes of a request."""


class Nothing(BaseModel):
    """A tool without arguments."""

    model_config = ConfigDict(extra="forbid")


class Progress(Nothing):
    """What `report_progress` takes."""

    text: str = Field(min_length=1, max_length=200, description="What you do now, in one line for people.")


def read_context(execution: Execution, asked: Nothing) -> str:
    """Who else works in your swarm now, what they do, what they may write and what they have written."""
    attempt = Attempt.objects.select_related("node").filter(execution=execution).first()
    node = attempt.node if attempt else None
    lines = awareness.beside(execution.swarm, node=node.pk if node else None, but=execution.pk)
    yours = f"You, {execution.agent}, work on `{node.key}` {node.title}." if node else f"You are {execution.agent}."
    others = "".join(f"\n- {line}" for line in lines)
    return f"{yours}\nAt work beside you:{others}" if lines else f"{yours}\nNobody works beside you."


def report_progress(execution: Execution, asked: Progress) -> str:
    """Tell people and the agents beside you what you do now."""
    ingest.take(execution, [Doing(text=asked.text)])
    return "Told."


_TOOLS: dict[str, tuple[type[Nothing], Callable[[Execution, Any], str]]] = {
    "read_context": (Nothing, read_context),
    "report_progress": (Progress, report_progress),
}


async def mcp(scope: Any, receive: Any, send: Any) -> None:
    """The ASGI application."""
    path = PATH.match(scope["path"])
    secret = tokens.bearer(dict(scope["headers"]).get(b"authorization", b"").decode("latin-1"))
    try:
        caller = await caller_of(path["team"] if path else "", secret)
    except Refused as refusal:
        await _refuse(send, refusal.status, str(refusal))
        return
    except DatabaseError as error:
        logger.warning("no answer to an agent without the database", error=str(error))
        await _refuse(send, 503, "The control plane's database is away. Try again.")
        return
    manager = StreamableHTTPSessionManager(
        _server(caller), json_response=True, stateless=True, max_request_body_size=BODY_LIMIT
    )
    async with manager.run():
        await manager.handle_request(scope, receive, send)


async def _refuse(send: Any, status: int, why: str) -> None:
    headers = [(b"content-type", b"application/json")]
    if status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": json.dumps({"error": why}).encode()})


def _server(caller: Caller) -> Server[Any]:
    """A server for this caller alone."""

    async def tools(context: Any, asked: PaginatedRequestParams | None) -> ListToolsResult:
        return ListToolsResult(tools=[_tool(name) for name in _TOOLS])

    return Server("waggle", instructions=INSTRUCTIONS, on_list_tools=tools, on_call_tool=_calls(caller))


INSTRUCTIONS = "Ask who works beside you before you change what others may write, and say what you do."


def _tool(name: str) -> Tool:
    takes, does = _TOOLS[name]
    return Tool(name=name, description=does.__doc__, input_schema=takes.model_json_schema())


def _calls(caller: Caller) -> Callable[[Any, CallToolRequestParams], Awaitable[CallToolResult]]:
    def answer(name: str, given: dict[str, Any]) -> str:
        takes, does = _TOOLS[name]
        with in_schema(caller.schema):
            execution = Execution.objects.select_related("session").get(pk=caller.execution)
            return does(execution, takes.model_validate(given))

    in_thread = database_sync_to_async(answer, thread_sensitive=False)

    async def call(context: Any, asked: CallToolRequestParams) -> CallToolResult:
        if asked.name not in _TOOLS:
            return _said(f"There is no tool {asked.name}; there are {', '.join(_TOOLS)}.", is_error=True)
        try:
            return _said(await in_thread(asked.name, asked.arguments or {}))
        except ValidationError as error:
            faults = (f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors())
            return _said("; ".join(faults), is_error=True)

    return call


def _said(text: str, *, is_error: bool = False) -> CallToolResult:
    return CallToolResult(content=[TextContent(type="text", text=text)], is_error=is_error)
