"""Unified diffs as the dashboard shows them: files, hunks, numbered and coloured lines."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from django.utils.html import escape
from django.utils.safestring import SafeString
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexer import Lexer
from pygments.lexers import TextLexer, get_lexer_for_filename
from pygments.util import ClassNotFound

LONGEST = 3000
"""Lines of a file's diff that are shown."""
MOST_COLOURED, WIDEST = 100_000, 20_000
"""Characters of a hunk that is coloured, and of a line of one that is longer: colouring takes its time."""
_HUNK = re.compile(r"^@@ -(\d+)(?:,(\d+))? \+(\d+)(?:,(\d+))? @@(.*)$")
_SIGNS = {"add": "+", "del": "−", "same": " ", "hunk": ""}


@dataclass(frozen=True)
class Line:
    """One row of a diff."""

    kind: str
    """add, del, same or hunk"""
    html: SafeString
    old: int | None = None
    new: int | None = None

    @property
    def sign(self) -> str:
        return _SIGNS[self.kind]


@dataclass
class FileDiff:
    """What happens to one file."""

    path: str
    was: str = ""
    """Its path before, when it was renamed."""
    note: str = ""
    """'new file', 'deleted', 'binary' or nothing."""
    lines: list[Line] = field(default_factory=list)
    added: int = 0
    removed: int = 0
    is_cut: bool = False


def parse(text: str) -> list[FileDiff]:
    """The files of `git diff`'s output."""
    files = []
    for block in re.split(r"(?m)^(?=diff --git )", text):
        if block.startswith("diff --git "):
            files.append(_file(block.removesuffix("\n").split("\n")))
    return files


def _file(rows: list[str]) -> FileDiff:
    file = FileDiff(path=rows[0].rpartition(" b/")[2].strip('"'))
    body = next((i for i, row in enumerate(rows) if row.startswith("@@ ")), len(rows))
    for row in rows[1:body]:
        if row.startswith("new file"):
            file.note = "new file"
        elif row.startswith("deleted file"):
            file.note = "deleted"
        elif row.startswith(("Binary files", "GIT binary")):
            file.note = "binary"
        elif row.startswith("rename from "):
            file.was = row.removeprefix("rename from ")
        elif row.startswith("rename to "):
            file.path = row.removeprefix("rename to ")
    file.added = sum(row.startswith("+") for row in rows[body:])
    file.removed = sum(row.startswith("-") for row in rows[body:])
    file.is_cut = len(rows) - body > LONGEST
    file.lines = list(_lines(rows[body : body + LONGEST], _lexer(file.path)))
    return file


def _lexer(path: str) -> Lexer:
    try:
        return get_lexer_for_filename(path, stripnl=False, ensurenl=False)
    except ClassNotFound:
        return TextLexer(stripnl=False, ensurenl=False)


def _lines(rows: list[str], lexer: Lexer) -> Iterator[Line]:
    """The rows of a file's hunks; each hunk is coloured as a whole, so that strings over lines come out right."""
    old = new = 0
    hunk: list[str] = []
    for row in [*rows, "@@"]:
        if row.startswith("@@"):
            yield from _hunk(hunk, old, new, lexer)
            hunk = []
            if match := _HUNK.match(row):
                old, new = int(match[1]), int(match[3])
                yield Line("hunk", escape(row))
        elif not row.startswith("\\"):
            hunk.append(row)


def _hunk(rows: list[str], old: int, new: int, lexer: Lexer) -> Iterator[Line]:
    before = iter(_coloured([row[1:] for row in rows if row[:1] != "+"], lexer))
    after = iter(_coloured([row[1:] for row in rows if row[:1] != "-"], lexer))
    for row in rows:
        if row.startswith("+"):
            yield Line("add", next(after), new=new)
            new += 1
        elif row.startswith("-"):
            yield Line("del", next(before), old=old)
            old += 1
        else:
            next(before)
            yield Line("same", next(after), old, new)
            old, new = old + 1, new + 1


def _coloured(lines: list[str], lexer: Lexer) -> list[SafeString]:
    if not lines:
        return []
    # Form feeds and the like would count as line ends to some and not to others.
    plain = [re.sub(r"[\x00-\x08\x0b-\x1f\x85\u2028\u2029]", " ", line) for line in lines]
    if sum(map(len, plain)) > MOST_COLOURED:
        return [escape(line[:WIDEST]) for line in lines]
    html = highlight("\n".join(plain), lexer, HtmlFormatter(nowrap=True)).split("\n")
    if len(html) - 1 == len(lines) and not html[-1]:
        html.pop()
    if len(html) != len(lines):
        return [escape(line) for line in lines]
    return [SafeString(line) for line in html]
