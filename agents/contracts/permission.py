"""What an agent may do: a question of its runtime before a tool does something, and the answer."""

from typing import Any, Literal
from uuid import UUID

from pydantic import Field

from agents.contracts.assignment import Frozen


class PermissionAsked(Frozen):
    """Body of POST {url}/permission.

    Answers: 200 with PermissionGiven; 409: the fence is stale; 422 {"faults": ["…"]}: the call was asked about before,
    with other arguments, or it cannot be read.
    """

    fence: UUID
    call: str = Field(min_length=1, max_length=120)
    """Names this call in its execution: who asks again, after a lost connection or to hear more, uses the same."""
    tool: str = Field(min_length=1, max_length=80)
    """As rules know it: read, list, search, edit, shell, web, ask, todo, delegate, stuck; else the tool's own name."""
    arguments: dict[str, Any] = {}
    """All of them; paths relative to the workspace where they are in it."""


class PermissionGiven(Frozen):
    """The answer. With `ask` a person has been asked: ask again with the same call until the answer is another."""

    verdict: Literal["allow", "ask", "deny"]
    why: str = ""
    """For the agent."""
