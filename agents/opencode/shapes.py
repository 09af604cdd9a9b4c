"""OpenCode's parts as parts of a transcript: one table, one function for each type. Pure."""

import base64
import binascii
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal, NamedTuple
from urllib.parse import unquote_to_bytes

from agents.contracts import PartKind, Usage
from agents.opencode.found import Data

State = Literal["open", "done", "failed"]
TOOL_STATES: Mapping[str, State] = {"pending": "open", "running": "open", "completed": "done", "error": "failed"}
ATTACHMENT = "contents of an attached file"
OUTPUT = "full output of a tool"
UNFINISHED = "[not finished when it was imported]"


class Fit(StrEnum):
    """How well a type of OpenCode's fits into a transcript."""

    OWN = "own"
    """The transcript has a kind for it."""
    AS_TEXT = "as_text"
    """It is kept as readable text that names its type."""
    LEFT_OUT = "left_out"
    """It says nothing that the rest does not."""
    UNKNOWN = "unknown"
    """Nobody here knows the type, or its shape: its JSON is kept as text."""


@dataclass(frozen=True)
class Shape:
    """What a part says, without its name and place."""

    kind: PartKind
    state: State = "done"
    text: str = ""
    tool: str = ""
    input: Data = field(default_factory=dict)
    output: str = ""
    usage: Usage | None = None
    left_out: tuple[str, ...] = ()
    """What of it is not kept, by kind."""


class Unfit(ValueError):
    """A part is not shaped as its type says."""


def words(value: Any) -> str:
    """A value as text, whatever it is."""
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def block(value: Any, language: str = "") -> str:
    """Text as a code block in Markdown, with a fence that it does not hold itself."""
    text = value if isinstance(value, str) else json.dumps(value, indent=2, ensure_ascii=False, default=str)
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text}\n{fence}"


def code(value: Any) -> str:
    """A short text as code in Markdown, in one line."""
    return f"`{' '.join(words(value).replace('`', chr(39)).split())}`"


def mapping(value: Any) -> Data:
    """The value if it is an object of JSON, or an empty one."""
    return value if isinstance(value, dict) else {}


def _text(part: Data) -> Shape:
    # What OpenCode adds to a person's words, or says in their place, is told from these.
    added = "**Added by OpenCode**\n\n" if part.get("synthetic") else ""
    return Shape("text", text=added + words(part.get("text")))


def _reasoning(part: Data) -> Shape:
    return Shape("reasoning", text=words(part.get("text")))


def _tool(part: Data) -> Shape:
    state = mapping(part.get("state"))
    status = TOOL_STATES.get(words(state.get("status")))
    if status is None:
        raise Unfit(f"state {state.get('status')}")
    given, about = state.get("input"), mapping(state.get("metadata"))
    given = given if isinstance(given, dict) else {} if given is None else {"input": given}
    if not given and state.get("raw"):
        given = {"raw": state["raw"]}
    output = words(state.get("error") if status == "failed" else state.get("output"))
    if status != "done" and not output:
        output = words(about.get("output"))
    if status == "open":
        output = f"{output}\n{UNFINISHED}".lstrip()
    # The answer of an edit says no more than that it worked.
    if isinstance(about.get("diff"), str) and about["diff"] not in output:
        output = f"{output}\n\n{about['diff']}".strip("\n")
    attached = [mapping(each) for each in state.get("attachments") or () if isinstance(each, dict)]
    files = [_file(each) for each in attached]
    output = "\n\n".join([output, *map(_attached, files)]).strip("\n") if files else output
    left_out = tuple(what for shape in files for what in shape.left_out)
    # Of a long one OpenCode keeps the end, and the whole in a file that it removes after some days.
    left_out += (OUTPUT,) if about.get("outputPath") else ()
    return Shape("tool", status, tool=words(part.get("tool")), input=given, output=output, left_out=left_out)


def _step(part: Data) -> Shape:
    tokens, cost = mapping(part.get("tokens")), part.get("cost")
    # OpenCode writes 0 where it knows no price.
    micros = round(cost * 1_000_000) if isinstance(cost, int | float) and 0 < cost < 10**9 else None
    usage = _usage(tokens).model_copy(update={"cost_microusd": micros}) if tokens or micros else None
    return Shape("step", text=words(part.get("reason")), usage=usage)


def _usage(tokens: Data) -> Usage:
    cache = mapping(tokens.get("cache"))
    fresh, output, cached, kept = map(
        _count, (tokens.get("input"), tokens.get("output"), cache.get("read"), cache.get("write"))
    )
    # Older versions count reasoning as output, later ones beside it; the total, where it is given, knows.
    rest = _count(tokens.get("total")) - fresh - cached - kept
    return Usage(input_tokens=fresh + cached + kept, output_tokens=max(output, rest), cached_tokens=cached)


def _count(value: Any) -> int:
    return int(value) if isinstance(value, int | float) and 0 < value < 10**12 else 0


def _patch(part: Data) -> Shape:
    files = part.get("files")
    if not isinstance(files, list):
        raise Unfit("no list of files")
    lines = [words(file) for file in files]
    return Shape("patch", text="\n".join([*lines, "", f"Snapshot {words(part.get('hash'))}"]))


def _file(part: Data) -> Shape:
    url, mime, name = (words(part.get(key)) for key in ("url", "mime", "filename"))
    about = {key: value for key, value in (("name", name), ("mime", mime)) if value}
    if not url.startswith("data:"):
        return Shape("file", input=about, output=url)
    meta, _, body = url[5:].partition(",")
    raw = _decoded(body, is_base64=meta.endswith(";base64"))
    if raw is not None and (mime.startswith("text/") or mime == "application/json"):
        return Shape("file", input=about, text=raw.decode("utf-8", "replace"))
    size = f"{len(raw):,} bytes" if raw is not None else f"{len(body):,} characters that cannot be decoded"
    return Shape("file", input=about, output=f"{size}, not imported", left_out=(ATTACHMENT,))


def _attached(shape: Shape) -> str:
    """A file in the answer of a tool, in words."""
    names = " ".join(f"{value}" for value in shape.input.values())
    return f"[attached: {names}]\n{shape.text or shape.output}"


def _decoded(body: str, *, is_base64: bool) -> bytes | None:
    try:
        return base64.b64decode(body) if is_base64 else unquote_to_bytes(body)
    except (binascii.Error, ValueError):
        return None


def _subtask(part: Data) -> Shape:
    head = f"**Subtask** for agent {code(part.get('agent'))}: {words(part.get('description'))}".removesuffix(": ")
    command = f"Command {code(part['command'])}" if part.get("command") else ""
    return Shape("text", text="\n\n".join(filter(None, [head, command, words(part.get("prompt"))])))


def _agent(part: Data) -> Shape:
    return Shape("text", text=f"**Agent** {code(part.get('name'))}")


def _compaction(part: Data) -> Shape:
    why = "by itself" if part.get("auto") else "as asked"
    return Shape("text", text=f"**Compaction**: what was said before was summed up, {why}.")


def _snapshot(part: Data) -> Shape:
    return Shape("text", text=f"**Snapshot** {code(part.get('snapshot'))}")


def _retry(part: Data) -> Shape:
    shape = error(part.get("error"))
    return Shape("error", text=f"Attempt {words(part.get('attempt'))} failed. {shape.text}", output=shape.output)


def error(given: Any) -> Shape:
    """An error of OpenCode's, as messages and retries carry it."""
    about = mapping(given)
    data = mapping(about.get("data"))
    text = ": ".join(filter(None, [words(about.get("name")), words(data.get("message"))])) or words(given)
    return Shape("error", text=text, output=words(data.get("responseBody")))


def unknown(part: Data) -> Shape:
    """A part of a type that nobody here knows."""
    content = {name: value for name, value in part.items() if name not in ("id", "sessionID", "messageID")}
    return Shape("text", text=f"**OpenCode's part of type** {code(part.get('type'))}\n\n{block(content, 'json')}")


class Rule(NamedTuple):
    """What becomes of a type of part."""

    shape: Callable[[Data], Shape] | None
    fit: Fit = Fit.OWN


RULES: Mapping[str, Rule] = {
    "text": Rule(_text),
    "reasoning": Rule(_reasoning),
    "tool": Rule(_tool),
    "step-finish": Rule(_step),
    "step-start": Rule(None, Fit.LEFT_OUT),
    "patch": Rule(_patch),
    "file": Rule(_file),
    "retry": Rule(_retry),
    "subtask": Rule(_subtask, Fit.AS_TEXT),
    "agent": Rule(_agent, Fit.AS_TEXT),
    "compaction": Rule(_compaction, Fit.AS_TEXT),
    "snapshot": Rule(_snapshot, Fit.AS_TEXT),
}
"""Every type of part of OpenCode 1.0 to 1.18. A type that is not here is kept as its JSON and reported."""
