"""OpenCode's HTTP API, version 1.18, as far as it is used here. Answers are taken as they come."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import structlog

from agents.opencode.shapes import mapping, words
from agents.runner.trust import trusted
from agents.runtimes.restarts import Lost

log = structlog.get_logger(__name__)

Json = dict[str, Any]
USER = "opencode"
SECONDS = 60.0
"""Its one event loop may be busy for many seconds while an instance boots."""
STOP_SECONDS, STOP_HOST_SECONDS = 1.0, 10.0
"""How long an end in good order may take: a server of ours is killed then, one that others use goes on."""
MOST_LINE = 32 << 20
"""Bytes of one event."""
SILENCE = 30.0
"""Its stream of events has a heartbeat every 10 s."""


class Rejected(Exception):
    """The server said no to a request."""


class Client:
    """One server and one directory on it: a server of ours, reached through a Unix socket, or one `at` an address."""

    def __init__(self, socket: str, password: str, directory: str, *, url: str = "", username: str = USER) -> None:
        self.directory = directory
        self._is_ours = not url
        self._http = httpx.AsyncClient(
            base_url=url or "http://opencode",
            transport=httpx.AsyncHTTPTransport(verify=trusted(as_told=True), uds=socket or None),
            auth=(username, password) if password else None,
            params={"directory": directory},
            timeout=httpx.Timeout(SECONDS, connect=5),
        )

    @classmethod
    def at(cls, url: str, username: str, password: str, directory: str) -> "Client":
        """A server that others use, too: nothing of it is touched but what belongs to this directory."""
        return cls("", password, directory, url=url, username=username or USER)

    async def close(self) -> None:
        """Closes the connections."""
        await self._http.aclose()

    async def version(self, seconds: float) -> str:
        """The server's version, if it answers within so many seconds. Raises Lost."""
        return str((await self._call("GET", "/global/health", seconds=seconds)).get("version", ""))

    async def agents(self) -> list[str]:
        """Names of the agents that are configured for the directory."""
        return list(mapping((await self._call("GET", "/config")).get("agent")))

    async def mcp(self, name: str) -> str:
        """How a connection to an MCP server of the directory stands; empty: it is not known."""
        return words(mapping((await self._call("GET", "/mcp")).get(name)).get("status"))

    async def create(self, title: str, metadata: Json) -> str:
        """A new session's id."""
        return str((await self._call("POST", "/session", {"title": title, "metadata": metadata}))["id"])

    async def prompt(self, session: str, message: str, part: str, text: str, **more: Any) -> None:
        """Says something in a session. With the same ids a second time, nothing happens."""
        body = {"messageID": message, "parts": [{"id": part, "type": "text", "text": text}], **more}
        await self._call("POST", f"/session/{session}/prompt_async", body)

    async def turn(self, session: str, text: str, **more: Any) -> None:
        """Says something in a session, and waits until the agent has done what it does about that."""
        await self._call("POST", f"/session/{session}/message", {"parts": [{"type": "text", "text": text}], **more})

    async def messages(self, session: str) -> list[Json]:
        """All messages of a session: info and parts of each.

        Made from the log of its events: asked for messages, 1.18 refuses those that want a structured answer.
        """
        return messages_of(_rows(await self._call("POST", "/sync/history", {session: 0})), session)

    async def is_busy(self, session: str) -> bool:
        """Whether a turn goes on in a session."""
        status = (await self._call("GET", "/session/status")).get(session)
        return isinstance(status, dict) and status.get("type") in ("busy", "retry")

    async def permissions(self) -> list[Json]:
        """Requests for permission that wait for an answer."""
        return _rows(await self._call("GET", "/permission"))

    async def questions(self) -> list[Json]:
        """Questions that wait for an answer."""
        return _rows(await self._call("GET", "/question"))

    async def permit(self, request: str, reply: str, message: str = "") -> None:
        """Answers a request for permission: once, always or reject; a rejected agent goes on when told why."""
        body = {"reply": reply} | ({"message": message} if message else {})
        await self._call("POST", f"/permission/{request}/reply", body)

    async def answer(self, request: str, answers: list[list[str]]) -> None:
        """Answers each question of a request."""
        await self._call("POST", f"/question/{request}/reply", {"answers": answers})

    async def abort(self, session: str) -> None:
        """Stops the turn of a session."""
        await self._call("POST", f"/session/{session}/abort")

    async def revert(self, session: str, message: str) -> None:
        """Takes back what was said since a message, and that itself. What is said next makes that final."""
        await self._call("POST", f"/session/{session}/revert", {"messageID": message})

    async def unrevert(self, session: str) -> None:
        """What was taken back counts again."""
        await self._call("POST", f"/session/{session}/unrevert")

    async def forget(self, session: str) -> None:
        """Removes a session with all that was said in it."""
        await self._call("DELETE", f"/session/{session}")

    async def begin_anew(self) -> None:
        """Forgets what it holds of the directory: with the next request it reads its configuration anew."""
        await self._call("POST", "/instance/dispose")

    async def stop(self, session: str) -> None:
        """Ends all work on the server in good order, if that can be had at once; the rest is killed with it.

        On a server that others use, too: all work of the session and in its directory.
        """
        try:
            async with asyncio.timeout(STOP_SECONDS if self._is_ours else STOP_HOST_SECONDS):
                await self.abort(session)
                await self._call("POST", "/global/dispose" if self._is_ours else "/instance/dispose")
        except (TimeoutError, Lost, Rejected) as error:
            log.info("opencode was not stopped in good order", because=str(error))

    async def events(self) -> AsyncIterator[Json]:
        """Events of the directory as they come, the first says that the stream has begun. Raises Lost at its end."""
        timeout = httpx.Timeout(SECONDS, read=SILENCE)
        try:
            async with self._http.stream("GET", "/event", timeout=timeout) as response:
                response.raise_for_status()
                async for line in _lines(response.aiter_bytes()):
                    if line.startswith(b"data:") and isinstance(event := json.loads(line[5:]), dict):
                        yield event
        except (httpx.TransportError, httpx.HTTPStatusError, ValueError) as error:
            raise Lost(f"its stream of events broke off ({type(error).__name__})") from error
        raise Lost("its stream of events ended")

    async def _call(self, method: str, path: str, body: Json | None = None, seconds: float = SECONDS) -> Any:
        try:
            response = await self._http.request(method, path, json=body, timeout=seconds)
        except httpx.TransportError as error:
            timed_out = isinstance(error, httpx.TimeoutException)
            raise Lost(f"{path} was not answered ({type(error).__name__})", timed_out=timed_out) from error
        if response.is_error:
            raise Rejected(f"OpenCode answered {method} {path} with HTTP {response.status_code}: {response.text[:500]}")
        try:
            return response.json() if response.content else {}
        except ValueError as error:
            raise Rejected(f"OpenCode does not know {method} {path}.") from error


async def _lines(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Lines by their newlines alone: JSON may have the other characters that end one in text. Raises ValueError."""
    rest = b""
    async for piece in pieces:
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            yield line
        if len(rest) > MOST_LINE:
            raise ValueError(f"a line of more than {MOST_LINE >> 20} MB")


def messages_of(log: list[Json], session: str) -> list[Json]:
    """The messages that a log of events leaves, oldest first."""
    found: dict[str, Json] = {}
    parts: dict[str, dict[str, Json]] = {}
    for event in log:
        data = event.get("data")
        if event.get("aggregate_id") != session or not isinstance(data, dict):
            continue
        match str(event.get("type")).rsplit(".", 1)[0]:
            case "message.updated":
                found[data["info"]["id"]] = data["info"]
            case "message.removed":
                found.pop(data["messageID"], None)
            case "message.part.updated":
                parts.setdefault(data["part"]["messageID"], {})[data["part"]["id"]] = data["part"]
            case "message.part.removed":
                parts.get(data["messageID"], {}).pop(data["partID"], None)
    return [{"info": found[key], "parts": list(parts.get(key, {}).values())} for key in sorted(found)]


def is_whole(info: Json) -> bool:
    """Whether a message of the agent is at its end."""
    return bool(mapping(info.get("time")).get("completed")) or bool(info.get("error"))


def _rows(value: Any) -> list[Json]:
    return [row for row in value if isinstance(row, dict)] if isinstance(value, list) else []
