"""What an agent may ask of us over the protocol: permissions, and files of its workspace. Not terminals: it runs its
commands itself, in the sandbox with it. Whatever it asks is put to the team's rules first."""

import asyncio
import hashlib
import os
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, Any

from acp import RequestError
from acp.interfaces import Agent
from acp.schema import (
    AllowedOutcome,
    CreateTerminalResponse,
    DeniedOutcome,
    FileEditToolCallContent,
    PermissionOption,
    ReadTextFileResponse,
    RequestPermissionResponse,
    ToolCallUpdate,
    WriteTextFileResponse,
)

from agents.runtimes.acp.mirror import Mirror
from agents.runtimes.files import MAX_FILE_BYTES
from agents.runtimes.policy import in_workspace

TOOLS = {
    "read": "read",
    "edit": "edit",
    "delete": "edit",
    "move": "edit",
    "search": "search",
    "execute": "shell",
    "fetch": "web",
    "think": "todo",
}
"""The tools as rules know them, by the protocol's kinds."""
PATHS = ("path", "filePath", "file_path", "filepath")
Refusal = Callable[[str, dict[str, Any]], Awaitable[str]]
"""Why a tool may not be used with these arguments; empty: it may."""


class Desk:
    """Our end of the protocol, for one program of an agent."""

    def __init__(self, work: Path, directory: str, may_write: bool, mirror: Mirror, refusal: Refusal) -> None:
        """`directory`: how the agent knows the work tree `work`."""
        self._work = work
        self._directory = PurePosixPath(directory)
        self._may_write = may_write
        self._mirror = mirror
        self._refusal = refusal
        self._asking: set[asyncio.Task[str]] = set()
        self._permitted: list[tuple[str, bytes]] = []
        """Files and what may be written to each, once, in this turn: the agent was permitted just that."""
        self.session = ""
        """Updates of this session are recorded, and of no other; while one is loaded, which tells all that was said
        before once more, of none."""
        self.refused: list[str] = []
        """Why permissions were refused, to be told to the agent: its protocol has no words for that."""

    def on_connect(self, conn: Agent) -> None:
        """The library's word that it is set up."""

    async def session_update(self, session_id: str, update: Any, **_: Any) -> None:
        """Something happened."""
        if session_id == self.session:
            self._mirror.take(update)

    async def request_permission(
        self, session_id: str, tool_call: ToolCallUpdate, options: list[PermissionOption], **_: Any
    ) -> RequestPermissionResponse:
        """The agent wants to do something that it may not do by itself."""
        offered = {option.kind: option.option_id for option in options}
        root = str(self._directory)
        tool, arguments = asked_of(tool_call, self._mirror.tool_of(tool_call), root)
        try:
            why = await self._why_not(tool, arguments)
        except asyncio.CancelledError:
            return RequestPermissionResponse(outcome=DeniedOutcome(outcome="cancelled"))
        if why:
            self.refused.append(why)
        elif tool == "edit":
            self._permitted += [_change(in_workspace(edit.path, root), edit.new_text) for edit in edits_of(tool_call)]
        kinds = ("reject_once", "reject_always") if why else ("allow_once", "allow_always")
        chosen = next((offered[kind] for kind in kinds if kind in offered), None)
        if chosen is None:
            return RequestPermissionResponse(outcome=DeniedOutcome(outcome="cancelled"))
        return RequestPermissionResponse(outcome=AllowedOutcome(outcome="selected", option_id=chosen))

    async def _why_not(self, tool: str, arguments: dict[str, Any]) -> str:
        """What the rules say, or a person does. Raises CancelledError when the turn is stopped meanwhile."""
        task = asyncio.ensure_future(self._refusal(tool, arguments))
        self._asking.add(task)
        try:
            return await task
        finally:
            self._asking.discard(task)

    async def _permit(self, tool: str, path: str, **arguments: Any) -> None:
        """Goes on when a file may be used in this way. Raises RequestError."""
        try:
            why = await self._why_not(tool, {"path": path, **arguments})
        except asyncio.CancelledError as error:
            raise _no(path, "is left alone: the turn was stopped") from error
        if why:
            raise _no(path, f"is left alone. {why}")

    def begin_turn(self) -> None:
        """The agent was told something: what it was permitted before, and did not do, it asks for again."""
        self._permitted.clear()

    def stop_asking(self) -> None:
        """Nobody waits for permissions any more: the turn is stopped."""
        for task in self._asking:
            task.cancel()

    async def read_text_file(
        self, session_id: str, path: str, line: int | None = None, limit: int | None = None, **_: Any
    ) -> ReadTextFileResponse:
        """A file of the workspace, or lines of it."""
        inner = self._inner(path)
        await self._permit("read", str(inner))
        with self._opened(inner, os.O_RDONLY) as file:
            data = file.read(MAX_FILE_BYTES + 1)
        if len(data) > MAX_FILE_BYTES:
            raise _no(path, f"has more than {MAX_FILE_BYTES} bytes")
        lines = data.decode("utf-8", "replace").splitlines(keepends=True)
        first = max((line or 1) - 1, 0)
        return ReadTextFileResponse(content="".join(lines[first : None if limit is None else first + max(limit, 0)]))

    async def write_text_file(self, session_id: str, path: str, content: str, **_: Any) -> WriteTextFileResponse:
        """Writes a whole file of the workspace."""
        if not self._may_write:
            raise _no(path, "cannot be written: this agent only reads")
        data = content.encode("utf-8", "replace")
        if len(data) > MAX_FILE_BYTES:
            raise _no(path, f"would have {len(data)} bytes, more than {MAX_FILE_BYTES}")
        inner = self._inner(path)
        if (change := _change(str(inner), content)) in self._permitted:
            self._permitted.remove(change)
        else:
            await self._permit("edit", str(inner), content=content)
        with self._opened(inner, os.O_WRONLY | os.O_CREAT) as file:
            file.truncate()
            file.write(data)
        return WriteTextFileResponse()

    async def create_terminal(self, session_id: str, command: str, **_: Any) -> CreateTerminalResponse:
        """Not offered, so that nobody may ask for it."""
        raise RequestError.method_not_found("terminal/create")

    async def ext_method(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        """There are no extensions."""
        raise RequestError.method_not_found(f"_{method}")

    async def ext_notification(self, method: str, params: dict[str, Any]) -> None:
        """There are no extensions; what is told by one is nobody's loss."""

    def _inner(self, path: str) -> PurePosixPath:
        """A file as it is called in the workspace. Raises RequestError."""
        named = PurePosixPath(path)
        inner = named.relative_to(self._directory) if named.is_relative_to(self._directory) else named
        if inner.is_absolute() or ".." in inner.parts or not inner.parts or "\0" in path:
            raise _no(path, "is not a file of the workspace")
        if ".git" in inner.parts:
            raise _no(path, "belongs to the platform")
        return inner

    @contextmanager
    def _opened(self, inner: PurePosixPath, flags: int) -> Iterator[IO[bytes]]:
        """A regular file of the workspace, reached without one symbolic link, so that what the agent does to folders
        meanwhile leads nowhere else. Raises RequestError."""
        path, makes = str(inner), bool(flags & os.O_CREAT)
        folder = os.open(self._work, os.O_PATH | os.O_DIRECTORY)
        try:
            for part in inner.parts[:-1]:
                if makes:
                    with _there_already():
                        os.mkdir(part, dir_fd=folder)
                below = os.open(part, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=folder)
                os.close(folder)
                folder = below
            descriptor = os.open(inner.name, flags | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666, dir_fd=folder)
        except OSError as error:
            raise _no(path, f"cannot be opened: {error.strerror}") from error
        finally:
            os.close(folder)
        try:
            file = os.fdopen(descriptor, "wb" if makes else "rb")
        except OSError as error:  # a folder
            os.close(descriptor)
            raise _no(path, f"cannot be opened: {error.strerror}") from error
        with file:
            yield file


@contextmanager
def _there_already() -> Iterator[None]:
    try:
        yield
    except FileExistsError:
        return


def _no(path: str, why: str) -> RequestError:
    return RequestError(-32602, f"{path!r} {why}.", {"path": path})


def _change(path: str, text: str) -> tuple[str, bytes]:
    return path, hashlib.sha256(text.encode("utf-8", "replace")).digest()


def edits_of(call: ToolCallUpdate) -> list[FileEditToolCallContent]:
    """The changes of files that a call shows."""
    return [one for one in call.content or () if isinstance(one, FileEditToolCallContent)]


def asked_of(call: ToolCallUpdate, name: str, root: str) -> tuple[str, dict[str, Any]]:
    """A call as rules know it: the tool, and its arguments. `name`: what the agent calls the tool.

    Files whose change it shows count among its paths: what it is permitted, it may have us write.
    """
    given = dict(call.raw_input) if isinstance(call.raw_input, dict) else {}
    paths = [str(given.pop(key)) for key in PATHS if isinstance(given.get(key), str)]
    shown = [edit.path for edit in edits_of(call)]
    paths = (paths or ([] if shown else [place.path for place in call.locations or ()])) + shown
    paths = list(dict.fromkeys(in_workspace(path, root) for path in paths))
    if paths:
        given["path"] = paths[0] if len(paths) == 1 else paths
    if not given:
        given["title"] = call.title or ""  # all that it tells
    return TOOLS.get(call.kind or "", name), given
