"""What a request for a model would have its provider fetch or run by itself: a way out that no sandbox sees. Pure.

Agents reach no network, so that what they read cannot be sent away. An image "at https://…/?what=…" would be fetched
for them by the provider, and a search made; whoever steers an agent with strangers' words knows that, too.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

_REACHES = frozenset(
    {
        "enable_search",
        "mcp_servers",
        "plugins",
        "search_parameters",
        "web_search",
        "web_search_options",
    }
)
"""Fields by which providers are asked to search, or to call others."""
_OWN_TOOLS = frozenset({"function", "custom"})
"""Kinds of tools that the agent runs itself."""
_SAID = frozenset({"text", "refusal", "thinking", "reasoning"})
"""What is said in a message: the provider follows nothing in it."""
_ADDRESS = re.compile(r"\s*[a-z][a-z0-9+.-]*://", re.IGNORECASE)


def outreach(asked: Mapping[str, Any]) -> str:
    """What of a request, in words, its provider would fetch or run by itself; empty: nothing."""
    for name in sorted(_REACHES & asked.keys()):
        if asked[name]:
            return name
    for tool in _dicts(asked.get("tools")):
        if (kind := str(tool.get("type", "function"))) not in _OWN_TOOLS:
            return f"a tool of type {kind[:40]}"
    for message in _dicts(asked.get("messages")):
        for part in _dicts(message.get("content")):
            if any(_ADDRESS.match(text) for text in _leaves(part)):
                return f"{str(part.get('type', 'content'))[:40]} with an address"
    return ""


def _dicts(found: Any) -> Iterator[dict[str, Any]]:
    return (each for each in found if isinstance(each, dict)) if isinstance(found, list) else iter(())


def _leaves(part: dict[str, Any]) -> Iterator[str]:
    """All texts in a part of a message but what is said. Without recursion: it may be as deep as it likes."""
    left: list[Any] = [value for name, value in part.items() if name not in _SAID]
    while left:
        match left.pop():
            case str() as text:
                yield text
            case dict() as more:
                left += more.values()
            case list() as more:
                left += more
