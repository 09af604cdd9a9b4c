"""A small agent over the Agent Client Protocol, with the official package: a loop of model calls and three tools.

`python acp_agent.py`. Its model is at OPENAI_BASE_URL. It runs its commands itself, asks before each, and keeps its
session below HOME, so that another process can load it. The first argument makes it another one: `forgetful` cannot
load sessions, `stubborn` does not stop when it is told to, `old` speaks another version.
"""

import asyncio
import json
import os
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any
from uuid import uuid4

import acp
from acp import RequestError
from acp.schema import (
    AgentCapabilities,
    AllowedOutcome,
    FileEditToolCallContent,
    InitializeResponse,
    LoadSessionResponse,
    NewSessionResponse,
    PermissionOption,
    PlanEntry,
    PromptResponse,
    ToolCallUpdate,
    Usage,
)

KIND = sys.argv[1] if len(sys.argv) > 1 else ""
OPTIONS = [
    PermissionOption(option_id="1", name="Yes", kind="allow_once"),
    PermissionOption(option_id="2", name="Always", kind="allow_always"),
    PermissionOption(option_id="3", name="No", kind="reject_once"),
]
SHOWN = 20_000
"""Characters of an output that it tells."""


class SmallAgent:
    """One session at a time."""

    def __init__(self) -> None:
        self.client: Any = None
        self.cwd = ""
        self.messages: list[dict[str, Any]] = []
        self.stop = asyncio.Event()
        self.command: asyncio.subprocess.Process | None = None

    def on_connect(self, conn: Any) -> None:
        self.client = conn

    async def initialize(self, protocol_version: int, **_: Any) -> InitializeResponse:
        can = AgentCapabilities(load_session=KIND != "forgetful")
        return InitializeResponse(protocol_version=0 if KIND == "old" else 1, agent_capabilities=can)

    async def new_session(self, cwd: str, **_: Any) -> NewSessionResponse:
        self.cwd = cwd
        return NewSessionResponse(session_id=uuid4().hex)

    async def load_session(self, cwd: str, session_id: str, **_: Any) -> LoadSessionResponse:
        self.cwd = cwd
        self.messages = json.loads(self.kept(session_id).read_text())
        for message in self.messages:
            if message["role"] == "assistant" and message["content"]:
                await self.tell(session_id, acp.update_agent_message_text(message["content"]))
        return LoadSessionResponse()

    async def cancel(self, session_id: str, **_: Any) -> None:
        if KIND == "stubborn":
            return
        self.stop.set()
        if self.command is not None:
            os.killpg(self.command.pid, 9)

    async def prompt(self, session_id: str, prompt: list[Any], **_: Any) -> PromptResponse:
        self.stop.clear()
        self.messages.append({"role": "user", "content": "\n".join(block.text for block in prompt)})
        working = asyncio.create_task(self.work(session_id))
        stopping = asyncio.create_task(self.stop.wait())
        await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if not working.done():
            working.cancel()
            return PromptResponse(stop_reason="cancelled")
        working.result()
        return PromptResponse(stop_reason="end_turn", usage=Usage(total_tokens=18, input_tokens=11, output_tokens=7))

    async def work(self, session: str) -> None:
        while True:
            self.keep(session)
            text, calls = await self.ask(session)
            self.messages.append({"role": "assistant", "content": text, "tool_calls": calls or None})
            self.keep(session)
            if not calls:
                return
            for call in calls:
                given = json.loads(call["function"]["arguments"])
                output = await getattr(self, call["function"]["name"])(session, call["id"], **given)
                self.messages.append({"role": "tool", "tool_call_id": call["id"], "content": output})

    # Tools

    async def write(self, session: str, call: str, path: str, text: str) -> str:
        place = Path(self.cwd, path)
        old = place.read_text() if place.exists() else None
        await self.tell(session, acp.start_tool_call(call, f"Write {path}", kind="edit", status="in_progress"))
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
        diff = FileEditToolCallContent(type="diff", path=str(place), old_text=old, new_text=text)
        await self.tell(session, acp.update_tool_call(call, status="completed", content=[diff]))
        return "done"

    async def client_write(self, session: str, call: str, path: str, text: str) -> str:
        """Writes through the client, as editors want it."""
        try:
            await self.client.write_text_file(session_id=session, path=path, content=text)
            return str((await self.client.read_text_file(session_id=session, path=path)).content)
        except RequestError as error:
            return f"refused: {error}"

    async def asked_write(self, session: str, call: str, path: str, text: str, shown: str = "") -> str:
        """Asks before it writes through the client; `shown`: what it says that it will write."""
        diff = FileEditToolCallContent(type="diff", path=str(Path(self.cwd, path)), new_text=shown or text)
        asked = ToolCallUpdate(tool_call_id=call, title=f"Write {path}", kind="edit", content=[diff])
        await self.tell(session, acp.start_tool_call(call, f"Write {path}", kind="edit", status="pending"))
        answer = await self.client.request_permission(session_id=session, tool_call=asked, options=OPTIONS)
        if not isinstance(answer.outcome, AllowedOutcome) or answer.outcome.option_id == "3":
            return "A person refused."
        return await self.client_write(session, call, str(Path(self.cwd, path)), text)

    async def plan(self, session: str, call: str, entries: list[dict[str, Any]]) -> str:
        await self.tell(session, acp.update_plan([PlanEntry(**entry) for entry in entries]))
        return "done"

    async def run(self, session: str, call: str, command: str) -> str:
        given = {"command": command}
        asked = ToolCallUpdate(tool_call_id=call, title=command, kind="execute", raw_input=given)
        await self.tell(session, acp.start_tool_call(call, "run", kind="execute", status="pending", raw_input=given))
        answer = await self.client.request_permission(session_id=session, tool_call=asked, options=OPTIONS)
        if not isinstance(answer.outcome, AllowedOutcome) or answer.outcome.option_id == "3":
            await self.tell(session, acp.update_tool_call(call, status="failed"))
            return "A person refused."
        await self.tell(session, acp.update_tool_call(call, status="in_progress"))
        self.command = process = await asyncio.create_subprocess_shell(
            command,
            cwd=self.cwd,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
        )
        assert process.stdout is not None
        output = ""
        while data := await process.stdout.read(65_536):
            output = (output + data.decode("utf-8", "replace"))[-SHOWN:]
            content = [acp.tool_content(acp.text_block(output))]
            await self.tell(session, acp.update_tool_call(call, status="in_progress", content=content))
        code = await process.wait()
        content = [acp.tool_content(acp.text_block(f"{output}\n[exit code {code}]"))]
        await self.tell(session, acp.update_tool_call(call, status="completed", content=content))
        return output

    # The model, the client, the disk

    async def tell(self, session: str, update: Any) -> None:
        await self.client.session_update(session_id=session, update=update)

    async def ask(self, session: str) -> tuple[str, list[dict[str, Any]]]:
        loop = asyncio.get_running_loop()
        pieces: asyncio.Queue[dict[str, Any] | Exception | None] = asyncio.Queue()

        def put(piece: Any) -> None:
            loop.call_soon_threadsafe(pieces.put_nowait, piece)

        asking = loop.run_in_executor(None, self.stream, put)
        text, calls = "", list[dict[str, Any]]()
        while (piece := await pieces.get()) is not None:
            if isinstance(piece, Exception):
                raise RequestError(-32603, f"The model cannot be asked: {piece}")
            if thought := piece.get("reasoning_content"):
                await self.tell(session, acp.update_agent_thought_text(thought))
            if more := piece.get("content"):
                text += more
                await self.tell(session, acp.update_agent_message_text(more))
            calls += piece.get("tool_calls") or ()
        await asking
        return text, calls

    def stream(self, put: Any) -> None:
        body = {"model": os.environ["OPENAI_MODEL"], "messages": self.messages, "stream": True}
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {os.environ['OPENAI_API_KEY']}"}
        address = f"{os.environ['OPENAI_BASE_URL']}/chat/completions"
        try:
            with urllib.request.urlopen(urllib.request.Request(address, json.dumps(body).encode(), headers)) as answer:
                for line in answer:
                    data = line.decode().removeprefix("data: ").strip()
                    if data.startswith("{") and (choices := json.loads(data)["choices"]):
                        put(choices[0]["delta"])
            put(None)
        except (OSError, ValueError) as error:
            put(error)

    def kept(self, session: str) -> Path:
        return Path(os.environ["HOME"], f"{session}.json")

    def keep(self, session: str) -> None:
        self.kept(session).write_text(json.dumps(self.messages))


asyncio.run(acp.run_agent(SmallAgent()))  # type: ignore[arg-type]
