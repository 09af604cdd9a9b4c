"""Transcripts as the dashboard shows them."""

import json
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from functools import cache
from typing import Any
from uuid import UUID

import nh3
from django.utils.safestring import SafeString, mark_safe
from markdown_it import MarkdownIt

from sessions.models import Message, Part, Session

_TITLES = ("path", "command", "pattern", "file_path", "query", "url")
_TAGS = frozenset(
    "p br hr h1 h2 h3 h4 h5 h6 ul ol li blockquote pre code em strong del a table thead tbody tr th td".split()  # noqa: SIM905
)
_PATHS = re.compile(r"(?m)^diff --git .* b/(.+)$")
LONG = 40
"""Lines of a text from which on it is folded."""


@cache
def _renderer() -> MarkdownIt:
    return MarkdownIt("commonmark", {"html": False, "linkify": False}).enable(["table", "strikethrough"])


def markdown(text: str) -> SafeString:
    """Text of an agent as HTML without anything that could act: no raw HTML, no images, links marked as foreign."""
    clean = nh3.clean(
        _renderer().render(text),
        tags=set(_TAGS),
        attributes={"a": {"href", "title"}},
        url_schemes={"http", "https", "mailto"},
        link_rel="noopener noreferrer nofollow",
    )
    return mark_safe(clean)


@dataclass(frozen=True)
class Shown:
    """A part, ready for its template."""

    part: Part
    title: str = ""
    """Of a tool call: what it works on."""
    arguments: str = ""
    html: SafeString | None = None
    """Text that is complete, as Markdown."""

    @property
    def is_long(self) -> bool:
        return self.part.text.count("\n") > LONG


@dataclass
class Turn:
    """A message with its parts."""

    message: Message
    parts: list[Shown] = field(default_factory=list)

    @property
    def is_prompt(self) -> bool:
        """Whether it was said to the agent, not by it."""
        return self.message.role != "assistant"

    @property
    def is_rehearsal(self) -> bool:
        return self.message.model.startswith("rehearsal")


def turns(session: Session, parts: Collection[UUID] | None = None) -> list[Turn]:
    """The transcript in order; with `parts` only these, in their turns."""
    found = Part.objects.filter(message__session=session).select_related("message")
    if parts is not None:
        found = found.filter(pk__in=parts)
    return _grouped(found.order_by("message__number", "index"))


def _grouped(parts: Iterable[Part]) -> list[Turn]:
    result: list[Turn] = []
    for part in parts:
        if not result or result[-1].message.pk != part.message_id:
            result.append(Turn(part.message))
        result[-1].parts.append(_shown(part))
    return result


def _shown(part: Part) -> Shown:
    if part.kind == "tool":
        return Shown(part, title=_title(part.input), arguments=_arguments(part.input))
    if part.kind == "patch":
        return Shown(part, title=", ".join(_PATHS.findall(f"{part.text}\n{part.output}")))
    if part.kind in ("text", "reasoning") and part.state != "open":
        return Shown(part, html=markdown(part.text))
    return Shown(part)


def _title(given: dict[str, Any]) -> str:
    for name in _TITLES:
        if isinstance(given.get(name), str) and given[name].strip():
            return str(given[name]).strip().splitlines()[0][:200]
    return ""


def _arguments(given: dict[str, Any]) -> str:
    return json.dumps(given, indent=2, ensure_ascii=False) if given else ""
