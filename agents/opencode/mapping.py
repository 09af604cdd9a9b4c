"""OpenCode's sessions, messages and parts as records of a transcript: names, times, lengths. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, NamedTuple
from uuid import UUID, uuid5

from agents.contracts import PastMessage, PastPart
from agents.opencode.found import Data, Found, created
from agents.opencode.shapes import RULES, Fit, Shape, Unfit, block, error, mapping, unknown, words

SPACE = UUID("6f0c3b1e-8a54-4f0b-9c36-2d1f6a7e5b90")
"""The namespace of all names made here. Another one would import everything a second time."""
PROGRAM = "OpenCode"
SUFFIX = " (imported from OpenCode)"
TITLE_CHARS, MODEL_CHARS = 200, 120
MOST_CHARS = 1_000_000
"""Of a text or an output; of more the beginning and the end are kept."""
MOST_INPUT_CHARS = 100_000
"""Of each text in a tool's arguments."""
SHORTENED = "middle of a long text"
PERSON = "Developer"
"""Who speaks to an agent in OpenCode, unless that is another agent. OpenCode keeps no names."""
ROLES: dict[str, Literal["user", "assistant"]] = {"user": "user", "assistant": "assistant"}
TIMED = frozenset({"tool", "reasoning"})
"""Kinds of parts that take their time."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LAST_MS = 253_402_300_799_000


class Note(NamedTuple):
    """Something to report: how it fits, of which type, which record."""

    fit: Fit
    type: str
    id: str


@dataclass(frozen=True)
class Mapped:
    """Records, and what is to be said of them."""

    records: Sequence[PastMessage | PastPart] = ()
    notes: Sequence[Note] = ()


@dataclass(frozen=True)
class Told:
    """What is known of a session."""

    id: UUID
    title: str
    created_at: datetime
    updated_at: datetime
    origin: dict[str, str]


def name(subject: str, key: str) -> UUID:
    """The id here of what OpenCode calls `key`: for one subject always the same, wherever it is imported from."""
    return uuid5(SPACE, f"{subject}/{key}".encode("utf-8", "replace").decode())


def session(subject: str, found: Found) -> Told:
    """A session. Its title says where it comes from."""
    data = found.data
    begun = _moment(created(data)) or _EPOCH
    title = " ".join(words(data.get("title")).split()) or found.id
    limit = TITLE_CHARS - len(SUFFIX)
    return Told(
        id=name(subject, found.id),
        title=(title if len(title) <= limit else title[: limit - 1] + "…") + SUFFIX,
        created_at=begun,
        updated_at=max(begun, _moment(mapping(data.get("time")).get("updated")) or begun),
        origin={
            "program": PROGRAM,
            "version": words(data.get("version")),
            "key": found.id,
            "parent": words(data.get("parentID")),
            "directory": words(data.get("directory")),
        },
    )


def message(subject: str, found: Found, told: Told) -> Mapped:
    """A message of a session; and what OpenCode keeps in it that is a part here: instructions before all else."""
    said = words(found.data.get("role"))
    role = ROLES.get(said)
    model = "/".join(filter(None, (words(found.data.get(key)) for key in ("providerID", "modelID"))))
    record = PastMessage(
        id=name(subject, found.id),
        role=role or "system",
        author=PERSON if role == "user" and not told.origin["parent"] else "",
        model=model[:MODEL_CHARS] if role == "assistant" else "",
        created_at=_moment(created(found.data)) or told.created_at,
    )
    notes = [] if role else [Note(Fit.UNKNOWN, f"message of {said or 'no role'}", found.id)]
    extra = []
    if system := words(found.data.get("system")):
        extra.append(_extra(record, subject, found, "system", Shape("text", text=f"**Instructions**\n\n{system}")))
    return Mapped([record, *extra], notes)


def ending(subject: str, found: Found, record: PastMessage) -> Mapped:
    """What OpenCode keeps in a message and comes after its parts here: a structured answer, an error."""
    extra = []
    if (answer := found.data.get("structured")) is not None:
        shape = Shape("text", text=f"**Structured answer**\n\n{block(answer, 'json')}")
        extra.append(_extra(record, subject, found, "structured", shape))
    if found.data.get("error"):
        extra.append(_extra(record, subject, found, "error", error(found.data["error"])))
    return Mapped(extra)


def part(subject: str, found: Found, record: PastMessage) -> Mapped:
    """A part of a message; nothing of one that says nothing."""
    kind = words(found.data.get("type"))
    rule = RULES.get(kind)
    fit, shape = (rule.fit, None) if rule else (Fit.UNKNOWN, unknown(found.data))
    if rule and rule.shape:
        try:
            shape = rule.shape(found.data)
        except Unfit as why:
            fit, kind, shape = Fit.UNKNOWN, f"{kind} ({why})", unknown(found.data)
    notes = [] if fit is Fit.OWN else [Note(fit, kind or "no type", found.id)]
    if shape is None:
        return Mapped((), notes)
    notes += [Note(Fit.LEFT_OUT, what, found.id) for what in shape.left_out]
    begun, ended = _times(found.data, record.created_at)
    made = _record(name(subject, found.id), record, shape, begun, ended)
    if _is_shortened(made, shape):
        notes.append(Note(Fit.LEFT_OUT, SHORTENED, found.id))
    return Mapped([made], notes)


def _extra(record: PastMessage, subject: str, found: Found, what: str, shape: Shape) -> PastPart:
    return _record(name(subject, f"{found.id}/{what}"), record, shape, record.created_at, record.created_at)


def _record(key: UUID, message: PastMessage, shape: Shape, begun: datetime, ended: datetime) -> PastPart:
    # What has not ended would be shown as lasting until today.
    is_timed = shape.kind in TIMED and shape.state != "open"
    return PastPart(
        id=key,
        message=message.id,
        index=0,  # its place is known where the message's other parts are
        kind=shape.kind,
        state=shape.state,
        text=clip(shape.text, MOST_CHARS),
        tool=shape.tool,
        input=_clipped(shape.input),
        output=clip(shape.output, MOST_CHARS),
        usage=shape.usage,
        started_at=begun if is_timed else None,
        ended_at=max(begun, ended) if is_timed else None,
        created_at=begun,
        updated_at=max(begun, ended),
    )


def _is_shortened(record: PastPart, shape: Shape) -> bool:
    return (record.text, record.output, record.input) != (shape.text, shape.output, shape.input)


def clip(text: str, most: int) -> str:
    """At most so many characters, and a word on how many are left out: the beginning and the end."""
    if len(text) <= most:
        return text
    half = most // 2
    return f"{text[:half]}\n[… {len(text) - 2 * half:,} characters left out by the import …]\n{text[-half:]}"


def _clipped(value: Any) -> Any:
    match value:
        case str():
            return clip(value, MOST_INPUT_CHARS)
        case dict():
            return {key: _clipped(each) for key, each in value.items()}
        case list():
            return [_clipped(each) for each in value]
    return value


def _times(data: Data, said: datetime) -> tuple[datetime, datetime]:
    """When a part began and ended; the message's time where the part has none."""
    time = mapping(data.get("time")) or mapping(mapping(data.get("state")).get("time"))
    begun = _moment(time.get("start")) or _moment(time.get("created")) or said
    return begun, _moment(time.get("end")) or begun


def _moment(ms: Any) -> datetime | None:
    if isinstance(ms, bool) or not isinstance(ms, int | float) or not 0 < ms < _LAST_MS:
        return None
    return _EPOCH + timedelta(milliseconds=ms)
