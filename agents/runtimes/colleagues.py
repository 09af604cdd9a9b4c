"""What a built-in agent asks the control plane while it works: the tools of its MCP endpoint, which all agents have.

The endpoint keeps no session: one POST is a whole call. The official client would save some ten lines here, and cost
each runner 24 MB and 0.3 s of processor at its start; tests/test_mcp.py holds both against the same endpoint.
"""

import asyncio
from itertools import count
from typing import Any

import httpx
from pydantic_ai import RunContext
from pydantic_ai.exceptions import ToolFailed
from pydantic_ai.tools import ToolDefinition

from agents.contracts import Assignment
from agents.runner.trust import trusted
from agents.runtimes.tools import Ctx, Desk, Function

TRIES, PAUSE_SECONDS = 3, 0.5
_HEADERS = {"Accept": "application/json, text/event-stream"}
_numbers = count(1)


class Endpoint:
    """The MCP endpoint of the control plane, with the token of an attempt. It keeps no state between calls."""

    def __init__(self, assignment: Assignment) -> None:
        self._url = assignment.mcp
        self._headers = _HEADERS | {"Authorization": f"Bearer {assignment.token}"}

    async def call(self, tool: str, **given: Any) -> str:
        """What a tool answers. Raises ToolFailed, with what the agent shall know, also when nobody can be reached."""
        words = {"name": tool, "arguments": given}
        body = {"jsonrpc": "2.0", "id": next(_numbers), "method": "tools/call", "params": words}
        async with httpx.AsyncClient(headers=self._headers, timeout=30, verify=trusted(), trust_env=False) as client:
            for left in reversed(range(TRIES)):
                try:
                    answer = await client.post(self._url, json=body)
                    answer.raise_for_status()
                    told = answer.json()["result"]
                    text = "\n".join(one["text"] for one in told["content"] if one["type"] == "text")
                except (httpx.HTTPError, ValueError, LookupError, TypeError) as error:
                    if not left:
                        raise ToolFailed(f"The control plane does not answer ({error}). Go on without it.") from error
                    await asyncio.sleep(PAUSE_SECONDS)
                else:
                    if told.get("isError"):
                        raise ToolFailed(text)
                    return text
        raise AssertionError("no try was the last")


async def read_context(ctx: Ctx) -> str:
    """Tells who else works in your swarm now, what they do, what they may write and what they have written.
    Ask before you change what others may write."""
    return await _called(ctx, "read_context")


async def report_progress(ctx: Ctx, text: str) -> str:
    """Tells people and the agents beside you what you do now.

    Args:
        text: What you do, in one line of at most 200 characters.
    """
    return await _called(ctx, "report_progress", text=text)


COLLEAGUES: tuple[Function, ...] = (read_context, report_progress)


async def offered(ctx: RunContext[Desk], tool: ToolDefinition) -> ToolDefinition | None:
    """The tool, where there is a control plane to ask."""
    return tool if ctx.deps.platform is not None else None


async def _called(ctx: Ctx, tool: str, **given: Any) -> str:
    if ctx.deps.platform is None:
        raise ToolFailed("Nobody can be asked here.")
    return await ctx.deps.platform(tool, **given)
