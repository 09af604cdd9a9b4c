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
_MOST_STEPS = 1_000_000
_CONTROL = frozenset(map(chr, (*range(32), 127)))
_LIVE = frozenset(";&|<>()$`\\{}#*?[]")
"""Outside quotes these end a command, begin another, or become something else than they are."""
_LIVE_IN_DOUBLE_QUOTES = frozenset("$`\\!")
_ENDS = frozenset(";&|<>()`\n")
_BECOMES = frozenset("$*?[{")
_SHELLS = frozenset({"sh", "bash", "dash", "zsh", "ksh", "ash", "fish", "busybox", "eval", "source", ".", "alias"})
"""What these run, or let others run, is not in their first word."""
_BEFORE = frozenset({"if", "then", "elif", "else", "while", "until", "do", "!", "{"})
"""Words after which a command begins."""
_FEEDS = frozenset({"parallel", "xargs"})
"""They add words that are nowhere to be seen."""
_WRAPPERS = frozenset(
    {
        "command",
        "builtin",
        "chroot",
        "chrt",
        "doas",
        "env",
        "exec",
        "find",
        "flock",
        "ionice",
        "nice",
        "nohup",
        "parallel",
        "runuser",
        "script",
        "setpriv",
        "setsid",
        "stdbuf",
        "strace",
        "su",
        "sudo",
        "taskset",
        "time",
        "timeout",
        "unshare",
        "watch",
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

    What one cannot see through counts as a match: a command's name out of a variable, shells that are given text, words
    out of a variable behind those with which a match begins.
    """
    if name_fits(pattern, command) or len(command) > LONGEST:
        return True
    wanted = {pattern, pattern.removesuffix(" *")}
    return any(part.is_opaque or any(_runs(part, one) for one in wanted) for part in _parts(command, 0))


def _runs(part: "_Part", pattern: str) -> bool:
    """Whether a command's words, from any of them on, match; with and without the folder in which a program lies."""
    named = [word.rpartition("/")[2] or word for word in part.words]
    for some in (part.words, named):
        if name_fits(f"* {pattern}", " " + " ".join(some)):
            return True
        if part.seen is not None and _begins(pattern, "".join(f" {word}" for word in some[: part.seen]) + " "):
            return True
    return False


def _begins(pattern: str, text: str) -> bool:
    """Whether a match of the pattern may begin in a text, at one of its words, and end behind it."""
    whole = f"* {pattern}"
    if len(whole) * len(text) > _MOST_STEPS:
        return True
    begun = len(whole) - len(pattern.lstrip("*"))
    places = {0, 1}
    for letter in text:
        places = {
            next_one
            for place in places
            if place < len(whole) and (whole[place] in ("*", "?", letter))
            for next_one in _on(whole, place if whole[place] == "*" else place + 1)
        }
    return any(place > begun for place in places)


def _on(pattern: str, place: int) -> Iterator[int]:
    """A place in a pattern, and those behind it that need no letter."""
    yield place
    while place < len(pattern) and pattern[place] == "*":
        place += 1
        yield place


@dataclass
class _Part:
    """One simple command."""

    words: list[str] = field(default_factory=list)
    is_opaque: bool = False
    seen: int | None = None
    """How many words there are before the first of which the shell makes something else; None: there is none."""


def _parts(command: str, depth: int) -> Iterator[_Part]:
    """The simple commands in a text, also those inside quotes and substitutions."""
    if depth > _DEEPEST:
        yield _Part(is_opaque=True)
        return
    for words, is_closed, is_redirected in _split(command):
        part = _Part([text for text, _ in words], not is_closed or _is_opaque(words[is_redirected:]))
        lives = [at for at, (_, live) in enumerate(words) if live]
        if _FEEDS & {text.rpartition("/")[2] for text in part.words}:
            lives += [*(at for at, text in enumerate(part.words) if text.startswith(":::")), len(words)]
        part.seen = min(lives, default=None)
        yield part
        for text in part.words:
            if text != command and (_ENDS | {" ", "\t"}) & set(text):
                yield from _parts(text, depth + 1)


_Word = tuple[str, bool]
"""Its text without quotes, and whether the shell makes something else of it."""


def _is_opaque(words: list[_Word]) -> bool:
    """Whether nobody sees what a simple command runs."""
    named = [(text.rpartition("/")[2], live) for text, live in words if "=" not in text]
    while named and named[0][0] in _BEFORE:
        named = named[1:]
    if not named:
        return False
    (name, becomes), names = named[0], {each for each, _ in named}
    if name in _WRAPPERS and (any(live for _, live in named) or _SHELLS & names):
        return True
    return becomes or name in _SHELLS


def _split(command: str) -> Iterator[tuple[list[_Word], bool, bool]]:
    """Simple commands as lists of words, whether their quotes are closed, and whether their first word is a file."""
    words: list[_Word] = []
    text, live, begun, quote, at = "", False, False, "", 0
    redirects = False
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
            if letter == "`":
                words.append((letter, True))
            if letter in _ENDS and words:
                yield words, True, redirects
                words, redirects = [], False
            redirects = letter in "<>" or (redirects and letter in "& \t|")
        else:
            text, begun = text + letter, True
            live |= letter in _BECOMES
    if begun:
        words.append((text, live))
    if words or quote:
        yield words, not quote, redirects
