"""Transcripts as the dashboard shows them."""

import json
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from functools import cache
from typing import Any, NamedTuple
from uuid import UUID

import nh3
from django.db.models import Q, QuerySet
from django.utils.safestring import SafeString, mark_safe
from markdown_it import MarkdownIt
from markdown_it.rules_inline import StateInline

from sessions.models import Message, Part, Session

_TITLES = ("path", "command", "pattern", "file_path", "filePath", "query", "name", "url", "description")
_TAGS = frozenset(
    "p br hr h1 h2 h3 h4 h5 h6 ul ol li blockquote pre code em strong del a table thead tbody tr th td".split()  # noqa: SIM905
)
_PATHS = re.compile(r"(?m)^diff --git .* b/(.+)$")
LONG = 40
"""Lines of a text from which on it is folded."""
PAGE = 200
"""Parts that are shown at once; the browser asks for more as somebody looks at them."""


@cache
def _renderer() -> MarkdownIt:
    made = MarkdownIt("commonmark", {"html": False, "linkify": False}).enable(["table", "strikethrough"])
    made.inline.ruler.before("emphasis", "underscore", _underscore)
    return made


def _underscore(state: StateInline, silent: bool) -> bool:
    """An underscore is itself: agents write of __init__.py more often than they stress a word with it."""
    if state.src[state.pos] != "_":
        return False
    if not silent:
        state.pending += "_"
    state.pos += 1
    return True


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
    """Of a tool call or a file: what it is about."""
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
    is_continued: bool = False
    """Some of its parts come before these."""

    @property
    def is_prompt(self) -> bool:
        """Whether it was said to the agent, not by it."""
        return self.message.role != "assistant"

    @property
    def is_rehearsal(self) -> bool:
        return self.message.model.startswith("rehearsal")


class Place(NamedTuple):
    """Where a part stands in its session."""

    number: int
    """Of its message."""
    place: int
    """Of the part in its message."""

    @classmethod
    def read(cls, text: str) -> "Place":
        """A place as pages write it, e.g. 12.0. Raises ValueError."""
        number, dot, index = text.partition(".")
        if not dot or not all(word.isascii() and word.isdigit() and len(word) < 10 for word in (number, index)):
            raise ValueError(f"{text!r} is no place of a part")
        return cls(int(number), int(index))


@dataclass(frozen=True)
class Page:
    """Some parts that follow each other."""

    turns: list[Turn]
    has_earlier: bool = False
    has_later: bool = False


def page(session: Session, *, before: Place | None = None, after: Place | None = None) -> Page:
    """PAGE parts of a transcript, in order: the last ones, or those right before or right after a place."""
    if after is not None:
        later = Q(message__number=after.number, index__gt=after.place) | Q(message__number__gt=after.number)
        parts = _parts(session).filter(later, message__number__gte=after.number)
        found = list(parts.order_by("message__number", "index")[: PAGE + 1])
        turns = _grouped(found[:PAGE])
        if turns:
            turns[0].is_continued = turns[0].message.number == after.number
        return Page(turns, has_earlier=True, has_later=len(found) > PAGE)
    parts = _parts(session)
    if before is not None:
        earlier = Q(message__number=before.number, index__lt=before.place) | Q(message__number__lt=before.number)
        parts = parts.filter(earlier, message__number__lte=before.number)
    found = list(parts.order_by("-message__number", "-index")[: PAGE + 1])
    turns = _grouped(reversed(found[:PAGE]))
    has_earlier = len(found) > PAGE
    if has_earlier:
        turns[0].is_continued = found[PAGE].message_id == turns[0].message.pk
    return Page(turns, has_earlier=has_earlier, has_later=before is not None)


def turns(session: Session, ids: Collection[UUID]) -> list[Turn]:
    """These parts of a transcript, in their turns."""
    # Only by their keys: asked for the session's as well, and in order, the database may walk all of a long transcript.
    parts = Part.objects.filter(pk__in=ids).select_related("message")
    own = [part for part in parts if part.message.session_id == session.pk]
    return _grouped(sorted(own, key=lambda part: (part.message.number, part.index)))


def _parts(session: Session) -> QuerySet[Part]:
    return Part.objects.filter(message__session=session).select_related("message")


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
    if part.kind == "file":
        return Shown(part, title=_title(part.input))
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


def in_turns(parts: Iterable[Part]) -> list[Turn]:
    """Parts that come from elsewhere, in their order, under the messages that they are of."""
    return _grouped(parts)
