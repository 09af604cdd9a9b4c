"""What a shell command runs, as far as one can tell by looking. Pure.

Two questions with two answers, both on the safe side: a permission holds for commands that are surely one plain command
(`is_plain`), a prohibition for all that may run what it names (`may_run`).
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from swarms.overlap import name_fits

LONGEST = 8_192
"""Characters of a command that is looked into; a longer one is never plain, and may run anything."""
_DEEPEST = 4
_CONTROL = frozenset(map(chr, (*range(32), 127)))
_LIVE = frozenset(";&|<>()$`\\{}#*?[]")
"""Outside quotes these end a command, begin another, or become something else than they are."""
_LIVE_IN_DOUBLE_QUOTES = frozenset("$`\\!")
_ENDS = frozenset(";&|<>()`\n")
_BECOMES = frozenset("$*?[{")
_SHELLS = frozenset({"sh", "bash", "dash", "zsh", "ksh", "ash", "fish", "busybox", "eval", "source", "."})
"""What these run is not in their first word."""
_WRAPPERS = frozenset(
    {
        "command",
        "builtin",
        "env",
        "exec",
        "find",
        "nice",
        "nohup",
        "parallel",
        "setsid",
        "sudo",
        "time",
        "timeout",
        "xargs",
    }
)


def is_plain(command: str) -> bool:
    """Whether it is one command whose words are what they look like: nothing joined on, substituted or expanded."""
    if len(command) > LONGEST or _CONTROL & set(command):
        return False
    quote, begins = "", True
    for letter in command:
        if quote:
            if letter == quote:
                quote = ""
            elif quote == '"' and letter in _LIVE_IN_DOUBLE_QUOTES:
                return False
        elif letter in "'\"":
            quote, begins = letter, False
        elif letter in _LIVE or (letter == "~" and begins):
            return False
        else:
            begins = letter == " "
    return not quote and "=" not in command.strip().partition(" ")[0]


def may_run(command: str, pattern: str) -> bool:
    """Whether it may run something that matches the pattern, as a whole or as a part of it.

    What one cannot see through counts as a match: a command's name out of a variable, shells that are given text.
    """
    if name_fits(pattern, command) or len(command) > LONGEST:
        return True
    wanted = {pattern, pattern.removesuffix(" *")}
    return any(part.is_opaque or any(_runs(part.words, one) for one in wanted) for part in _parts(command, 0))


def _runs(words: list[str], pattern: str) -> bool:
    """Whether a command's words, from any of them on, match; with and without the folder in which a program lies."""
    named = [word.rpartition("/")[2] or word for word in words]
    return any(name_fits(f"* {pattern}", " " + " ".join(some)) for some in (words, named))


@dataclass
class _Part:
    """One simple command."""

    words: list[str] = field(default_factory=list)
    is_opaque: bool = False


def _parts(command: str, depth: int) -> Iterator[_Part]:
    """The simple commands in a text, also those inside quotes and substitutions."""
    if depth > _DEEPEST:
        yield _Part(is_opaque=True)
        return
    for words, is_closed in _split(command):
        part = _Part([text for text, _ in words], not is_closed)
        names = [text.rpartition("/")[2] for text, _ in words if "=" not in text] or [""]
        becomes = [live for text, live in words if "=" not in text]
        part.is_opaque |= names[0] in _SHELLS or bool(becomes and becomes[0])
        part.is_opaque |= names[0] in _WRAPPERS and (any(becomes) or bool(_SHELLS & set(names)))
        yield part
        for text in part.words:
            if text != command and (_ENDS | {" ", "\t"}) & set(text):
                yield from _parts(text, depth + 1)


_Word = tuple[str, bool]
"""Its text without quotes, and whether the shell makes something else of it."""


def _split(command: str) -> Iterator[tuple[list[_Word], bool]]:
    """Simple commands as lists of words, and whether their quotes are closed."""
    words: list[_Word] = []
    text, live, begun, quote, at = "", False, False, "", 0
    while at < len(command):
        letter = command[at]
        at += 1
        if quote:
            if letter == quote:
                quote = ""
            elif letter == "\\" and quote == '"' and at < len(command):
                text += command[at]
                at += 1
            else:
                text += letter
                live |= quote == '"' and letter in "$`"
        elif letter in "'\"":
            quote, begun = letter, True
        elif letter == "\\" and at < len(command):
            if command[at] != "\n":
                text, begun = text + command[at], True
            at += 1
        elif letter in _ENDS or letter in " \t":
            if begun:
                words.append((text, live))
            text, live, begun = "", False, False
            if letter in _ENDS and words:
                yield words, True
                words = []
        else:
            text, begun = text + letter, True
            live |= letter in _BECOMES
    if begun:
        words.append((text, live))
    if words or quote:
        yield words, not quote
