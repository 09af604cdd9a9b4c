"""Turns what an agent says and does into records of its transcript, while it happens."""

import json
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Literal
from uuid import UUID

from pydantic import TypeAdapter, ValidationError
from pydantic_ai.messages import (
    AgentStreamEvent,
    ModelResponse,
    PartDeltaEvent,
    PartEndEvent,
    PartStartEvent,
    TextPart,
    TextPartDelta,
    ThinkingPart,
    ThinkingPartDelta,
    ToolCallEvent,
    ToolCallPart,
    ToolResultEvent,
)

from agents.contracts import Delta, Doing, MessageRecord, PartKind, PartRecord, Usage
from agents.runner.reports import Reports
from agents.runtimes.todo import Plan, Step
from sessions import storable
from tenants.ids import uuid7

_STEPS: TypeAdapter[list[Step]] = TypeAdapter(list[Step])

OUTPUT_CHARS = 65_536
TEXT_CHARS, CUT = 1_000_000, "\n[… the rest of this text is not kept …]"
"""Of one text of an agent."""
KEEP_SECONDS, KEEP_CHARS = 1.0, 20_000
"""Text that grows is sent whole once in a second, so that who comes later sees it too; the longer it is the more
rarely: a second more for so many characters."""


class Transcript:
    """The transcript of one execution, written through its reports."""

    def __init__(self, reports: Reports) -> None:
        self.reports = reports
        self._message: UUID | None = None
        self._model = ""
        self._count = 0
        self._parts: dict[int, PartRecord] = {}
        """Parts of the present answer, by the model's index."""
        self._calls: dict[str, PartRecord] = {}
        """Tool parts by the id of their call."""
        self._kept_at: dict[UUID, float] = {}
        """When the text of an open part was last sent whole, by the monotonic clock."""

    def say(self, role: Literal["system", "user"], text: str) -> None:
        """Records a whole message that the agent is given."""
        message = MessageRecord(id=uuid7(), role=role)
        self.reports.record(message, PartRecord(id=uuid7(), message=message.id, index=0, kind="text", text=text))

    def doing(self, text: str) -> None:
        """Says in one line what the agent does now."""
        self.reports.record(doing(text))

    def begin_answer(self) -> None:
        """The next part begins a new message of the agent."""
        self._message = None
        self._parts = {}

    def note(self, kind: PartKind, *, state: Literal["open", "done", "failed"] = "done", **fields: Any) -> PartRecord:
        """Adds a part to the present message, or to a new one; gives it, to be replaced by `put`."""
        if self._message is None:
            self._message = uuid7()
            self._count = 0
            self.reports.record(MessageRecord(id=self._message, role="assistant", model=self._model))
        if "text" in fields:
            fields["text"] = bounded(fields["text"])
        part = PartRecord(id=uuid7(), message=self._message, index=self._count, kind=kind, state=state, **fields)
        self._count += 1
        self.reports.record(part)
        return part

    def put(self, part: PartRecord, **fields: Any) -> PartRecord:
        """Records a later state of a part."""
        part = part.model_copy(update=fields)
        self.reports.record(part)
        return part

    def more(self, part: PartRecord, text: str) -> PartRecord:
        """Adds text to an open part; gives it as it is then."""
        if len(part.text) > TEXT_CHARS:
            return part
        text = bounded(part.text + text)[len(part.text) :]
        self.reports.record(Delta(part=part.id, offset=len(part.text), text=text))
        part = part.model_copy(update={"text": part.text + text})
        since = self._kept_at.setdefault(part.id, time.monotonic())
        if time.monotonic() - since > KEEP_SECONDS + len(part.text) / KEEP_CHARS:
            self._kept_at[part.id] = time.monotonic()
            self.reports.record(part)
        return part

    def take(self, event: AgentStreamEvent, model: str) -> None:
        """Records one event of an agent's run; `model` is the name under which the provider answers."""
        self._model = model
        match event:
            case PartStartEvent(index=index, part=TextPart(content=text)):
                self._more(index, "text", text)
            case PartStartEvent(index=index, part=ThinkingPart(content=text)):
                self._more(index, "reasoning", text)
            case PartStartEvent(index=index, part=ToolCallPart(tool_name=tool)):
                self._parts[index] = self.note("tool", state="open", tool=tool)
                self.doing(f"calls {tool}")
            case PartDeltaEvent(index=index, delta=TextPartDelta(content_delta=text)):
                self._more(index, "text", text)
            case PartDeltaEvent(index=index, delta=ThinkingPartDelta(content_delta=text)):
                self._more(index, "reasoning", text or "")
            case PartEndEvent(index=index, part=part) if index in self._parts:
                self._complete(index, part)
            case ToolCallEvent(part=part):
                if call := self._calls.get(part.tool_call_id):
                    self._calls[part.tool_call_id] = self.put(call, started_at=now())
                if sentence := describe(part):
                    self.doing(sentence)
            case ToolResultEvent(part=part) if call := self._calls.get(part.tool_call_id):
                state = "done" if part.outcome == "success" else "failed"
                text = clip(part.model_response_str(wrap_if_error=False))
                self._calls[part.tool_call_id] = self.put(call, state=state, output=text, ended_at=now())

    def show(self, call: str, output: str) -> None:
        """What an open call has printed so far."""
        if (part := self._calls.get(call)) is not None and part.state == "open":
            self._calls[call] = self.put(part, output=output)

    def end_answer(self, response: ModelResponse) -> None:
        """Records what the model call cost."""
        usage = Usage(
            input_tokens=response.usage.input_tokens,
            output_tokens=response.usage.output_tokens,
            cached_tokens=response.usage.cache_read_tokens,
        )
        self._model = response.model_name or self._model
        self.note("step", usage=usage)

    def settle(self, tool: str = "", why: str = "") -> None:
        """Closes what is still open: calls of `tool` as done, all else as failed, because of `why`."""
        calls = {part.id: key for key, part in self._calls.items()}
        for part in [*self._calls.values(), *(p for p in self._parts.values() if p.id not in calls)]:
            if part.state != "open":
                continue
            ended_at = now() if part.started_at else None
            if part.tool == tool:
                closed = self.put(part, state="done", ended_at=ended_at)
            else:
                closed = self.put(part, state="failed", output=why, ended_at=ended_at)
            if part.id in calls:
                self._calls[calls[part.id]] = closed

    def _more(self, index: int, kind: PartKind, text: str) -> None:
        if not text:
            return
        if (part := self._parts.get(index)) is None:
            part = self._parts[index] = self.note(kind, state="open", text=text)
            self._kept_at[part.id] = time.monotonic()
            return
        self._parts[index] = self.more(part, text)

    def _complete(self, index: int, part: object) -> None:
        record = self._parts.pop(index)
        self._kept_at.pop(record.id, None)
        if isinstance(part, ToolCallPart):
            self._calls[part.tool_call_id] = self.put(record, input=arguments(part))
        else:
            self.put(record, state="done")


def now() -> datetime:
    """This moment, for the times of parts."""
    return datetime.now(UTC)


def arguments(call: ToolCallPart) -> dict[str, Any]:
    """The arguments of a call as the model gave them, also when they are no JSON object."""
    if isinstance(call.args, dict):
        return call.args
    try:
        value = json.loads(call.args or "{}")
    except (ValueError, RecursionError):
        return {"arguments": call.args}
    return value if isinstance(value, dict) else {"arguments": value}


def describe(call: ToolCallPart) -> str:
    """What a call does, for people, in a few words."""
    given = arguments(call)
    path = str(given.get("path", "."))
    match call.tool_name:
        case "list_files":
            return f"looking at the files in {path}"
        case "read_file":
            return f"reading {path}"
        case "search":
            return f"searching for {given.get('pattern', '')}"
        case "write_file":
            return f"writing {path}"
        case "edit_file":
            return f"editing {path}"
        case "read_context":
            return "asking who works beside it"
        case "report_progress":
            return str(given.get("text", ""))
        case "run_command":
            return f"running {given.get('command', '')}"
        case "update_plan":
            return planned(given.get("steps"))
        case "ask_person":
            return f"asking {given.get('question', '')}"
    return ""


def planned(steps: object) -> str:
    """How far a list of things to do is; empty when it is none."""
    try:
        return Plan(_STEPS.validate_python(steps)).in_short()
    except ValidationError:
        return ""


def doing(text: str) -> Doing:
    """What an agent does now, in one line."""
    return Doing(text=storable.text(text if len(text) <= 200 else text[:199] + "…"))


def bounded(text: str) -> str:
    """The beginning of a text that is too long to be kept."""
    return text if len(text) <= TEXT_CHARS else text[:TEXT_CHARS] + CUT


def clip(text: str) -> str:
    """At most OUTPUT_CHARS characters: the beginning and the end."""
    if len(text) <= OUTPUT_CHARS:
        return text
    half = OUTPUT_CHARS // 2
    return f"{text[:half]}\n[… {len(text) - 2 * half} characters left out …]\n{text[-half:]}"


def listed(lines: Sequence[str]) -> str:
    """A list in Markdown."""
    return "\n".join(f"- {line}" for line in lines)
