"""What an agent says and does over the protocol, as records of our transcript, while it happens."""

import asyncio
import difflib
import json
import re
import time
from collections.abc import Iterable
from typing import Any, Literal

from acp.schema import (
    AgentMessageChunk,
    AgentPlanUpdate,
    AgentThoughtChunk,
    ContentToolCallContent,
    EmbeddedResourceContentBlock,
    FileEditToolCallContent,
    ResourceContentBlock,
    TextContentBlock,
    TextResourceContents,
    ToolCallProgress,
    ToolCallStart,
    ToolCallUpdate,
    Usage,
)

from agents.contracts import PartRecord
from agents.contracts import Usage as Used
from agents.runtimes.output import SHOW_SECONDS, SHOWN_CHARS
from agents.runtimes.recording import TEXT_CHARS, Transcript, clip, now

NAME = re.compile(r"[A-Za-z][\w.:-]{0,59}")
"""Titles that are the name of a tool; others are sentences."""
DIFF_CHARS = 200_000
"""Of longer texts no difference is made: that takes long."""
SENTENCES = {
    "read": "reading {}",
    "edit": "editing {}",
    "delete": "deleting {}",
    "move": "moving {}",
    "search": "searching: {}",
    "execute": "running {}",
    "think": "thinking: {}",
    "fetch": "fetching {}",
}
STATES: dict[str, Literal["open", "done", "failed"]] = {"completed": "done", "failed": "failed"}


class Mirror:
    """The transcript of one session, over as many turns as it has. Only what the agent does: what it is told is there
    already."""

    def __init__(self, transcript: Transcript) -> None:
        self._transcript = transcript
        self._text: PartRecord | None = None
        """The text or thought that grows."""
        self._calls: dict[str, PartRecord] = {}
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._shown_at: dict[str, float] = {}
        """When the output of a call was recorded last."""
        self._titles: dict[str, tuple[str, str]] = {}
        """Kind and title of each call."""
        self._plan: PartRecord | None = None
        self._is_after_call = False
        self.last_said = ""
        """The agent's message so far, since its last call of a tool."""

    def begin_turn(self) -> None:
        """The agent was told something; what it says now is a message of its own."""
        self._close_text()
        self._is_after_call = False
        self.last_said = ""
        self._transcript.begin_answer()

    def end_turn(self, usage: Usage | None) -> None:
        """The agent stopped by itself; what it used, if it says so."""
        self.settle("The agent ended its turn meanwhile.")
        if usage is not None:
            used = Used(
                input_tokens=usage.input_tokens,
                output_tokens=usage.output_tokens,
                cached_tokens=usage.cached_read_tokens or 0,
            )
            self._transcript.note("step", usage=used)

    def settle(self, why: str) -> None:
        """Closes what is open: a text as it is, calls as failed."""
        self._close_text()
        for key, part in self._calls.items():
            if part.state == "open":
                output = f"{part.output}\n{why}" if part.output else why
                self._calls[key] = part.model_copy(update={"state": "failed", "output": output, "ended_at": now()})
                self._show(key)

    def take(self, update: object) -> None:
        """What an update of the session adds; kinds that say nothing about the work add nothing."""
        match update:
            case AgentMessageChunk(content=content):
                self._grow("text", _text_of(content))
            case AgentThoughtChunk(content=content):
                self._grow("reasoning", _text_of(content))
            case ToolCallStart() | ToolCallProgress():
                self._call(update)
            case AgentPlanUpdate(entries=entries):
                self._planned([(entry.content, entry.status) for entry in entries])

    def tool_of(self, call: ToolCallUpdate) -> str:
        """The name of the tool of a call, as the transcript has it."""
        if (part := self._calls.get(call.tool_call_id)) is not None:
            return part.tool
        return _name(call.kind or "", call.title or "")

    def _grow(self, kind: Literal["text", "reasoning"], text: str) -> None:
        if not text:
            return
        if self._is_after_call:
            self.begin_turn()
        if kind == "text":
            self.last_said = (self.last_said + text)[-TEXT_CHARS:]
        if self._text is not None and self._text.kind == kind:
            self._text = self._transcript.more(self._text, text)
            return
        self._close_text()
        self._text = self._transcript.note(kind, state="open", text=text)

    def _close_text(self) -> None:
        if self._text is not None:
            self._transcript.put(self._text, state="done")
            self._text = None

    def _call(self, update: ToolCallStart | ToolCallProgress) -> None:
        self._close_text()
        self._is_after_call, self.last_said = True, ""
        key = update.tool_call_id
        before = self._calls.get(key)
        kind, title = self._titles.get(key, ("", ""))
        self._titles[key] = now_titled = (update.kind or kind, update.title or title)
        if before is None:
            before = self._calls[key] = self._transcript.note("tool", state="open", tool=_name(*now_titled))
        if before.state != "open":
            return
        if now_titled != (kind, title):
            self._transcript.doing(SENTENCES.get(now_titled[0], "calls {}").format(now_titled[1]))
        state = STATES.get(update.status or "", "open")
        fields: dict[str, Any] = {"state": state, "started_at": before.started_at or now()}
        if given := _input(update.raw_input) or ({} if before.input else _places(update, now_titled[1], before.tool)):
            fields["input"] = given
        if output := _output(update.content or (), update.raw_output):
            fields["output"] = output[-SHOWN_CHARS:] if state == "open" else clip(output)
        if state != "open":
            fields["ended_at"] = now()
        changed = {name for name, value in fields.items() if getattr(before, name) != value}
        self._calls[key] = before.model_copy(update=fields)
        if changed == {"output"}:
            self._show_soon(key)
        elif changed:
            self._show(key)

    def _show_soon(self, key: str) -> None:
        """An output grows: not each of its states is worth a record."""
        if key in self._timers:
            return
        wait = self._shown_at.get(key, 0) + SHOW_SECONDS - time.monotonic()
        if wait <= 0:
            self._show(key)
        else:
            self._timers[key] = asyncio.get_running_loop().call_later(wait, self._show, key)

    def _show(self, key: str) -> None:
        if timer := self._timers.pop(key, None):
            timer.cancel()
        if self._calls[key].output:
            self._shown_at[key] = time.monotonic()
        self._transcript.reports.record(self._calls[key])

    def _planned(self, entries: list[tuple[str, str]]) -> None:
        given = {"todos": [{"content": content, "status": status} for content, status in entries]}
        if self._plan is None:
            self._close_text()
            self._plan = self._transcript.note("tool", tool="plan", input=given)
        elif self._plan.input != given:
            self._plan = self._transcript.put(self._plan, input=given)
        done = sum(status == "completed" for _, status in entries)
        if current := next((content for content, status in entries if status == "in_progress"), ""):
            self._transcript.doing(f"{done} of {len(entries)} done: {current}")


def _name(kind: str, title: str) -> str:
    """What a tool is called: by its own name where the agent tells it."""
    return title if NAME.fullmatch(title) else kind or "tool"


def _input(raw: Any) -> dict[str, Any]:
    if raw is None or raw == {}:
        return {}
    return raw if isinstance(raw, dict) else {"arguments": raw}


def _places(update: ToolCallStart | ToolCallProgress, title: str, tool: str) -> dict[str, Any]:
    """What an agent tells of a call's arguments when it does not give them."""
    found: dict[str, Any] = {} if title in ("", tool) else {"title": title}
    if update.locations:
        found["paths"] = [place.path for place in update.locations]
    return found


def _output(content: Iterable[object], raw: Any) -> str:
    """What a call brought: its texts and differences, or else what came as data."""
    found = []
    for one in content:
        match one:
            case ContentToolCallContent(content=block):
                found.append(_text_of(block))
            case FileEditToolCallContent(path=path, old_text=old, new_text=new):
                found.append(_difference(path, old or "", new))
    if text := "\n".join(filter(None, found)):
        return text
    if isinstance(raw, dict) and isinstance(raw.get("output") or raw.get("error"), str):
        return str(raw.get("output") or raw.get("error"))
    if raw is None or isinstance(raw, str):
        return raw or ""
    return json.dumps(raw, ensure_ascii=False)


def _difference(path: str, old: str, new: str) -> str:
    if len(old) + len(new) > DIFF_CHARS:
        return f"{path}: {len(old)} characters became {len(new)}"
    lines = difflib.unified_diff(old.splitlines(), new.splitlines(), path, path, lineterm="")
    return "\n".join(lines)


def _text_of(block: object) -> str:
    """A block of content in words."""
    match block:
        case TextContentBlock(text=text):
            return text
        case ResourceContentBlock(uri=uri):
            return f"[{uri}]"
        case EmbeddedResourceContentBlock(resource=TextResourceContents(text=text)):
            return text
    return f"[{getattr(block, 'type', 'something')}, not shown]"
