"""Before a tool does something: the team's rules are asked, and where these say so, a person."""

import asyncio
import hashlib
import posixpath
import time
from collections.abc import Mapping
from typing import Any

import structlog

from agents.runner.reports import Faults, Refused, Reports
from agents.runtimes.asking import ALIVE_SECONDS
from agents.runtimes.recording import Transcript
from sessions import storable
from tenants.ids import uuid7

log = structlog.get_logger(__name__)
CONTENT = frozenset({"content", "old", "new", "diff"})
"""Arguments that say what is written. Rules do not look at them; people do, at their beginning."""
SHOWN = 4_000
"""Characters of such an argument that are sent; after them follows what the whole of it is bound by."""
FIRST_PAUSE, LONGEST_PAUSE = 0.25, 2.0
"""Seconds between two looks at whether a person has decided."""


class Policy:
    """The questions of one execution. Every runtime asks here, before a tool has any effect."""

    def __init__(self, reports: Reports, transcript: Transcript) -> None:
        self._reports = reports
        self._transcript = transcript
        self._unasked = frozenset(reports.assignment.unasked)

    async def refusal(self, tool: str, arguments: Mapping[str, Any], *, call: str = "") -> str:
        """Why it may not do that, for the agent; empty: it may. Waits for a person where one must decide.

        `tool` and `arguments` as in agents.contracts.PermissionAsked. `call` names it where the runtime has a name that
        is never given twice: then who asks again, because a connection broke, is not a second question. Raises Stale.
        """
        if tool in self._unasked and all(_is_inside(path) for path in _paths(arguments)):
            return ""
        asked = storable.tree({name: _shown(name, value) for name, value in arguments.items()})
        try:
            return await self._asked(call or str(uuid7()), tool, asked)
        except (Faults, Refused) as error:
            # What cannot be asked is not allowed.
            log.warning("a permission could not be asked for", tool=tool, because=str(error))
            return f"Not allowed: nobody could be asked. {error}"

    async def _asked(self, call: str, tool: str, arguments: Mapping[str, Any]) -> str:
        pause, said_at = FIRST_PAUSE, -ALIVE_SECONDS
        while True:
            given = await self._reports.permission(call, tool, arguments)
            if given.verdict != "ask":
                return "" if given.verdict == "allow" else given.why or "Not allowed."
            # Who waits for a person is no stall: so often it says so.
            if time.monotonic() - said_at >= ALIVE_SECONDS:
                self._transcript.doing(f"waits for permission to use {tool}")
                said_at = time.monotonic()
            await asyncio.sleep(pause)
            pause = min(1.5 * pause, LONGEST_PAUSE)


def in_workspace(path: str, root: str) -> str:
    """A path as rules see it: relative to the workspace where it is in it, else as it is."""
    found = posixpath.normpath(path)
    return posixpath.relpath(found, root) if found == root or found.startswith(f"{root.rstrip('/')}/") else path


def _paths(arguments: Mapping[str, Any]) -> list[Any]:
    found = arguments.get("path", [])
    return found if isinstance(found, list) else [found]


def _is_inside(path: Any) -> bool:
    if not isinstance(path, str) or path.startswith(("/", "~")):
        return False
    return posixpath.normpath(path).split("/")[0] != ".."


def _shown(name: str, value: Any) -> Any:
    """An argument as it is sent. Never shortened is what rules look at, such as a command."""
    if name not in CONTENT or not isinstance(value, str) or len(value) <= SHOWN:
        return value
    whole = hashlib.sha256(value.encode("utf-8", "replace")).hexdigest()
    return f"{value[:SHOWN]}\n[… {len(value)} characters in all, SHA-256 {whole}]"
