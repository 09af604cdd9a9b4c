"""A server of OpenCode that a team has enrolled, as one attempt sees it: a session of its own in its own workspace.

The server reads this disk and reaches this machine, is used by others at the same time, and may die and come back. It
is told about this attempt by files beside the workspace alone, and reaches model and MCP by a proxy of this attempt.
"""

import asyncio
import os
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from agents.contracts import Assignment
from agents.runner.settings import address
from agents.runtimes.opencode.client import Client, Rejected
from agents.runtimes.opencode.configuration import AGENT, MCP, files_at_host, routes
from agents.runtimes.opencode.proxy import Proxy
from agents.runtimes.opencode.server import SUPPORTED
from agents.runtimes.restarts import Lost

BACK_SECONDS = 60.0
"""How long a server that is gone is waited for."""
ASK_SECONDS, LOOK_SECONDS = 15.0, 0.5
"""The longest that an answer may take (a busy server answers late), and the time between two looks at who is gone."""


class Unfit(Exception):
    """No agent of ours can work on that server; the message says why."""


@dataclass
class Visited:
    """A server that answers."""

    client: Client

    async def gone(self, seconds: float) -> str:
        """How it ended, in words; empty when it is there after so many seconds."""
        await asyncio.sleep(seconds)
        try:
            await self.client.version(ASK_SECONDS)
        except Lost as error:
            return "" if error.timed_out else str(error)
        except Rejected as error:
            return str(error)
        return ""


class Enrolled:
    """An enrolled server, before and after whatever befalls it."""

    def __init__(self, assignment: Assignment, client: Client, proxy: Proxy) -> None:
        self._assignment, self._client, self._proxy = assignment, client, proxy

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Visited]:
        """The server, as soon as it answers. Raises Lost when it does not for too long, and Unfit."""
        await self._until_back()
        try:
            if AGENT not in await self._client.agents():
                raise Unfit(
                    "it does not read the configuration beside the workspace: it sees another disk, or was started"
                    " with OPENCODE_DISABLE_PROJECT_CONFIG"
                )
            if self._assignment.mcp and await self._client.mcp(MCP) == "failed" and not self._proxy.heard:
                raise Unfit(f"it does not reach the runner at {address(os.environ)}: set WAGGLE_RUNNER_ADDRESS")
        except Rejected as error:
            raise Unfit(str(error)) from error
        yield Visited(self._client)

    async def _until_back(self) -> None:
        until = time.monotonic() + BACK_SECONDS
        while True:
            try:
                version = await self._client.version(ASK_SECONDS)
            except Rejected as error:
                raise Unfit(str(error)) from error
            except Lost:
                if time.monotonic() > until:
                    raise
                await asyncio.sleep(LOOK_SECONDS)
                continue
            if not version.startswith(SUPPORTED):
                raise Unfit(f"it is OpenCode {version}; only {SUPPORTED}x is driven")
            return


@asynccontextmanager
async def visiting(assignment: Assignment, folder: Path, work: Path) -> AsyncIterator[Enrolled]:
    """The server that an assignment names, while the block lasts. What goes on there ends with the conversation; the
    session that is left is removed by the control plane, which knows of it also when this process dies.

    `folder` is the execution's, `work` the workspace in it.
    """
    host = assignment.host
    assert host is not None
    client = Client.at(host.url, host.username, host.password, str(work))
    proxy, key = Proxy(routes(assignment), assignment.token), secrets.token_urlsafe(24)
    async with proxy.at(address(os.environ), key) as url:
        for name, text in files_at_host(assignment, url, key).items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
                file.write(text)
        try:
            yield Enrolled(assignment, client, proxy)
        finally:
            await client.close()
