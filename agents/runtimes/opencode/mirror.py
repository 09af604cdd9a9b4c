"""An OpenCode session as records of our transcript: from its events, and from its messages as a whole.

Ids follow from OpenCode's, and a state that is known already is no news: whatever comes twice is recorded once.
"""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid5

from agents.contracts import Delta, MessageRecord, PartRecord, Record
from agents.opencode.shapes import RULES, UNFINISHED, Shape, Unfit, mapping, unknown, words
from agents.runtimes.output import SHOWN_CHARS
from agents.runtimes.recording import KEEP_CHARS, KEEP_SECONDS, TEXT_CHARS, bounded, clip, doing

Json = dict[str, Any]
GROWING = ("text", "reasoning")
SENTENCES = {
    "read": ("reading {}", "filePath"),
    "list": ("looking at the files in {}", "path"),
    "glob": ("looking for {}", "pattern"),
    "grep": ("searching for {}", "pattern"),
    "write": ("writing {}", "filePath"),
    "edit": ("editing {}", "filePath"),
    "bash": ("running {}", "command"),
    "task": ("has a part done: {}", "description"),
}
"""What a call does, for people, and which argument says on what."""


@dataclass
class _Message:
    id: UUID
    model: str
    count: int = 0
    """Places given to its parts."""


class Mirror:
    """What is known of one session. Only what the agent says: what it is told is in the transcript already."""

    def __init__(self, execution: UUID, session: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._space = execution
        self._session = session
        self._clock = clock
        self._messages: dict[str, _Message] = {}
        self._parts: dict[str, PartRecord] = {}
        self._sent_at: dict[str, float] = {}
        """When the text of a growing part was last sent whole."""
        self._empty: dict[str, Json] = {}
        """Growing parts that have said nothing yet."""

    def take(self, event: Json) -> list[Record]:
        """What an event adds. Events of other sessions, and unknown ones, add nothing."""
        about = mapping(event.get("properties"))
        match event.get("type"):
            case "message.updated":
                return self._message(mapping(about.get("info")))
            case "message.part.updated":
                return self._part(mapping(about.get("part")))
            case "message.part.delta":
                return self._delta(words(about.get("partID")), words(about.get("delta")))
            case "message.part.removed":
                return self._removed(words(about.get("partID")))
            case "todo.updated" if about.get("sessionID") == self._session:
                return self._todo(about.get("todos"))
        return []

    def catch_up(self, messages: Iterable[Json]) -> list[Record]:
        """What the session's messages as a whole add to what is known."""
        found: list[Record] = []
        for message in messages:
            found += self._message(mapping(message.get("info")))
            for part in message.get("parts") or ():
                found += self._part(mapping(part))
        return found

    def settle(self, why: str) -> list[Record]:
        """Closes what is still open as failed."""
        found: list[Record] = []
        for key, part in self._parts.items():
            if part.state == "open":
                ended = datetime.now(UTC) if part.started_at else None
                fields = {"state": "failed", "output": part.output or why, "ended_at": ended}
                self._parts[key] = part.model_copy(update=fields)
                found.append(self._parts[key])
        return found

    @property
    def calls(self) -> int:
        """Model calls so far."""
        return sum(part.kind == "step" for part in self._parts.values())

    def _message(self, info: Json) -> list[Record]:
        key = words(info.get("id"))
        if info.get("role") != "assistant" or info.get("sessionID") != self._session or key in self._messages:
            return []
        message = self._messages[key] = _Message(uuid5(self._space, key), words(info.get("modelID")))
        return [MessageRecord(id=message.id, role="assistant", model=message.model)]

    def _part(self, part: Json) -> list[Record]:
        message = self._messages.get(words(part.get("messageID")))
        key, kind = words(part.get("id")), words(part.get("type"))
        if message is None or not key or (kind in RULES and RULES[kind].shape is None):
            return []
        before = self._parts.get(key)
        shape = _shape(part, kind)
        if kind in GROWING and not shape.text and before is None:
            self._empty[key] = part
            return []  # it is there when it says something
        if before is None:
            record = PartRecord(id=uuid5(self._space, key), message=message.id, index=message.count, kind=shape.kind)
            message.count += 1
        else:
            record = before
        begun, ended = _times(part) if kind in (*GROWING, "tool") else (None, None)
        if kind in GROWING and ended is None and before is not None and len(shape.text) < len(before.text):
            return []  # the server keeps a text only when it is whole
        state = _state(kind, shape, ended)
        record = record.model_copy(
            update={
                "state": state,
                "text": bounded(shape.text),
                "tool": shape.tool,
                "input": shape.input,
                # While a command runs, it is sent anew with each piece: its end must do.
                "output": shape.output[-SHOWN_CHARS:] if state == "open" else clip(shape.output),
                "usage": shape.usage,
                "started_at": begun if kind == "tool" else None,
                "ended_at": ended if kind == "tool" else None,
            }
        )
        if record == before or (before is not None and before.state != "open" and record.state == "open"):
            return []  # known already; after a break older states may come once more
        self._parts[key] = record
        self._sent_at[key] = self._clock()
        is_new = kind == "tool" and record.input and (before is None or not before.input)
        return [record, *(_doing(record) if is_new else ())]

    def _delta(self, key: str, text: str) -> list[Record]:
        part = self._parts.get(key)
        if part is None or not text:
            return self._begin(key, text) if text else []
        if part.state != "open":
            return []  # the text is whole already
        if len(part.text) > TEXT_CHARS:
            return []
        text = bounded(part.text + text)[len(part.text) :]
        record: Record = Delta(part=part.id, offset=len(part.text), text=text)
        part = self._parts[key] = part.model_copy(update={"text": part.text + text})
        if self._clock() - self._sent_at.get(key, 0) > KEEP_SECONDS + len(part.text) / KEEP_CHARS:
            self._sent_at[key] = self._clock()
            return [record, part]
        return [record]

    def _begin(self, key: str, text: str) -> list[Record]:
        """The first piece of a text of which only the empty beginning was seen."""
        began = self._empty.get(key)
        return self._part(began | {"text": text}) if began else []

    def _removed(self, key: str) -> list[Record]:
        part = self._parts.get(key)
        if part is None or part.state != "open":
            return []
        self._parts[key] = part.model_copy(update={"state": "failed"})
        return [self._parts[key]]

    def _todo(self, todos: Any) -> list[Record]:
        rows = [mapping(row) for row in todos] if isinstance(todos, list) else []
        now = next((words(row.get("content")) for row in rows if row.get("status") == "in_progress"), "")
        done = sum(row.get("status") == "completed" for row in rows)
        return [doing(f"{done} of {len(rows)} done: {now}")] if now else []


def _shape(part: Json, kind: str) -> Shape:
    rule = RULES.get(kind)
    try:
        shape = rule.shape(part) if rule and rule.shape else unknown(part)
    except Unfit:
        return unknown(part)
    if kind == "step-finish":
        return replace(shape, text="")
    # The importer's word on what had not ended; here it goes on.
    if shape.output.endswith(UNFINISHED):
        return replace(shape, output=shape.output.removesuffix(UNFINISHED).rstrip("\n"))
    return shape


def _state(kind: str, shape: Shape, ended: datetime | None) -> Any:
    return "open" if kind in GROWING and ended is None else shape.state


def _times(part: Json) -> tuple[datetime | None, datetime | None]:
    times = mapping(mapping(part.get("state")).get("time")) or mapping(part.get("time"))
    return _moment(times.get("start")), _moment(times.get("end"))


def _moment(ms: Any) -> datetime | None:
    if isinstance(ms, bool) or not isinstance(ms, int | float) or not 0 < ms < 10**14:
        return None
    return datetime.fromtimestamp(ms / 1000, UTC)


def _doing(part: PartRecord) -> list[Record]:
    sentence, argument = SENTENCES.get(part.tool, ("", ""))
    if not sentence:
        return [doing(f"calls {part.tool}")]
    return [doing(sentence.format(words(part.input.get(argument)) or "."))]
