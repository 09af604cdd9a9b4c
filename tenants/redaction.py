"""Secrets in text: what they look like, and what stands in their place."""

import math
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, NamedTuple

from tenants.logs import REDACTED, SECRET_NAME, SECRET_TEXT

_KEY = r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----"


class Form(NamedTuple):
    """What is a secret by how it looks."""

    name: str
    """Under which it is counted."""
    pattern: re.Pattern[str]
    instead: str
    """What stands there then."""
    words: tuple[str, ...]
    """What it cannot do without, in lower case: words are found far faster than patterns."""
    begins: bool = True
    """With one of the words begins every match; or, if the word has a ? in front, one letter before it."""


_FORMS: tuple[Form, ...] = (
    Form(
        "private key",
        re.compile(rf"{_KEY}.*?(?:-----END [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----|\Z)", re.DOTALL),
        REDACTED,
        ("private key",),
        begins=False,
    ),
    Form(
        "authorization",
        re.compile(r"(?i)\b((?:proxy-)?authorization[\"']?\s*[:=]\s*[\"']?)[^\r\n\"']+"),
        r"\1" + REDACTED,
        ("authorization",),
        begins=False,
    ),
    Form(
        "cookie",
        re.compile(r"(?i)\b((?:set-)?cookie[\"']?\s*:\s*[\"']?)[^\r\n\"']*=[^\r\n\"']*"),
        r"\1" + REDACTED,
        ("cookie",),
        begins=False,
    ),
    Form("jwt", re.compile(r"\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*"), REDACTED, ("eyj",)),
    *(
        Form("token", pattern, replacement, words)
        for (pattern, replacement), words in zip(
            SECRET_TEXT,
            (("wg_",), ("bearer", "basic"), ("whsec_",), ("sk-",), ("://",), ("session", "csrf")),
            strict=True,
        )
    ),
    Form(
        "provider key",
        re.compile(
            r"\b(?:gh[pousr]_[A-Za-z0-9]{20,}|github_pat_[A-Za-z0-9_]{20,}|glpat-[A-Za-z0-9_-]{16,}"
            r"|xox[abeoprs]-[A-Za-z0-9-]{10,}|(?:AKIA|ASIA)[A-Z0-9]{16}|AIza[A-Za-z0-9_-]{30,}|hf_[A-Za-z0-9]{20,}"
            r"|npm_[A-Za-z0-9]{30,}|pypi-[A-Za-z0-9_-]{30,}|(?:r|s|p)k_(?:live|test)_[A-Za-z0-9]{16,}"
            r"|gsk_[A-Za-z0-9]{20,}|xai-[A-Za-z0-9]{20,}|dop_v1_[a-f0-9]{40,}|SG\.[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,})"
        ),
        REDACTED,
        (
            *("ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_", "glpat-", "xox", "akia", "asia", "aiza"),
            *("hf_", "npm_", "pypi-", "?k_live_", "?k_test_", "gsk_", "xai-", "dop_v1_", "sg."),
        ),
    ),
    Form(
        "password in an address",
        re.compile(r"(\b[a-z][a-z0-9+.-]*://)[^/\s@\"'<>]+@"),
        rf"\1{REDACTED}@",
        ("://",),
        begins=False,
    ),
)

_ASSIGNED = re.compile(
    # What stands before the word belongs to the name, too, but is not matched: that would take quadratic time.
    r"(?P<name>(?:api[_-]?key|access[_-]?key|secret|token|passw(?:or)?d|passwd|pwd|passphrase|credential|[_-]key|(?<=\b)key)s?)"
    r"(?P<is>[\"']?\s*(?:=>|[:=])\s*[\"']?)(?P<value>[^\s\"'`,;<>(){}\[\]]{6,})(?P<after>[(\[]?)",
    re.IGNORECASE,
)
_BEGINNINGS = ("api", "access", "secret", "token", "pass", "pwd", "credential", "key", "?key")
"""With one of these begins every match of _ASSIGNED, as with the words of a form."""
_BEFORE = re.compile(r"[A-Za-z0-9_.-]*\Z")
_LONGEST_NAME = 100
_PASSWORD = re.compile(r"(?i)pass|pwd")
_RUN = re.compile(rb"[\t\n\r -~]{6,}")
"""Text amid bytes that are none."""
_WORDS = re.compile(r"[A-Za-z]+(?:[._-][A-Za-z]+)*\.?")
"""Words, attributes and modules, as code and prose have them."""
BITS = 3.0
"""Shannon entropy a character from which on a value is no word."""
_STANDS_FOR = re.compile(r"(?i)^(?:\$|%|\*+$|x+$|none$|null$|true$|false$|undefined$|example|changeme|redacted|\.\.\.)")


def _is_secret(name: str, value: str) -> bool:
    """Whether what is assigned to a name like a secret's is one, and no word, reference or placeholder."""
    if _STANDS_FOR.match(value) or REDACTED in value:
        return False
    if _PASSWORD.search(name):
        return not _WORDS.fullmatch(value) or len(set(value)) > 9
    return len(value) >= 12 and not _WORDS.fullmatch(value) and entropy(value) >= BITS


def entropy(text: str) -> float:
    """Shannon entropy in bits a character."""
    counts = Counter(text).values()
    return -sum(n / len(text) * math.log2(n / len(text)) for n in counts)


class Redaction:
    """Takes secrets out of values, and counts what it took, by name."""

    def __init__(self, *, people: Mapping[str, str] | None = None, exact: Collection[str] = ()) -> None:
        """`people` maps addresses and ids of people to what they are called; `exact` are secrets that are known."""
        self.counts: Counter[str] = Counter()
        self._people = {known.lower(): name for known, name in (people or {}).items()}
        self._exact = _any_of(secret for secret in exact if len(secret) >= 8)
        self._known = _any_of(self._people, flags=re.IGNORECASE)

    def value(self, value: Any, name: str = "") -> Any:
        """A copy of something made of dicts, lists and text without secrets; what is called like one goes whole."""
        if name and SECRET_NAME.search(name) and isinstance(value, str | list | dict) and value:
            self.counts["named like a secret"] += 1
            return REDACTED
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, Mapping):
            return {self.text(key): self.value(item, key) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self.value(item) for item in value]
        return value

    def text(self, text: str) -> str:
        """Text without secrets."""
        if self._exact:
            text = self._take("known secret", self._exact, REDACTED, text)
        lower = text.lower()
        for form in _FORMS:
            found = self._without(form, text, lower)
            if found is not text:
                text, lower = found, found.lower()
        text = self._without_assigned(text, lower)
        return self._known.sub(self._person, text) if self._known else text

    def kinds_in(self, data: bytes) -> list[str]:
        """What would be taken out of bytes that are no text, by name; nothing is counted. Empty: nothing is known.

        Wide characters (UTF-16) are seen, too. What is compressed or encrypted is not.
        """
        before, self.counts = self.counts, Counter()
        try:
            for each in (data, data.replace(b"\0", b"")):
                if self._exact:
                    self._take("known secret", self._exact, REDACTED, each.decode("utf-8", "surrogateescape"))
                self.text("\0".join(run.decode() for run in _RUN.findall(each)))
            return sorted(self.counts)
        finally:
            self.counts = before

    def _take(self, name: str, pattern: re.Pattern[str], instead: str, text: str) -> str:
        found, count = pattern.subn(instead, text)
        if count and found != text:
            self.counts[name] += count
        return found

    def _without(self, form: Form, text: str, lower: str) -> str:
        if not text.isascii():
            # Lower case may have another length there, and some letters are like others but for it.
            return self._take(form.name, form.pattern, form.instead, text)
        if not form.begins:
            is_there = any(word in lower for word in form.words)
            return self._take(form.name, form.pattern, form.instead, text) if is_there else text
        count = 0

        def instead(match: re.Match[str]) -> str:
            nonlocal count
            count += 1
            return match.expand(form.instead)

        found = _replaced(form.pattern, _starts(lower, form.words), instead, text)
        if found != text:
            self.counts[form.name] += count
        return found

    def _without_assigned(self, text: str, lower: str) -> str:
        if not text.isascii():
            # Lower case may have another length there, and some letters are like others but for it.
            return _ASSIGNED.sub(self._assigned, text)
        return _replaced(_ASSIGNED, _starts(lower, _BEGINNINGS), self._assigned, text)

    def _assigned(self, found: re.Match[str]) -> str:
        start = found.start()
        before = _BEFORE.search(found.string[max(0, start - _LONGEST_NAME) : start])
        if found["after"] or not _is_secret((before[0] if before else "") + found["name"], found["value"]):
            return found[0]
        self.counts["assigned to a name like a secret's"] += 1
        return f"{found['name']}{found['is']}{REDACTED}"

    def _person(self, found: re.Match[str]) -> str:
        self.counts["person by name"] += 1
        return self._people[found[0].lower()]


def _starts(lower: str, words: Collection[str]) -> list[int]:
    """Where a match may begin, in order."""
    # Words are found much faster one by one than all at each letter: most of a long text has none.
    found: set[int] = set()
    for word in words:
        before = word[0] == "?"
        word = word.lstrip("?")
        at = lower.find(word, before)
        while at >= 0:
            found.add(at - before)
            at = lower.find(word, at + 1)
    return sorted(found)


def _replaced(
    pattern: re.Pattern[str], starts: Iterable[int], instead: Callable[[re.Match[str]], str], text: str
) -> str:
    """Like `pattern.sub`, for a pattern that matches nowhere but at these places."""
    pieces, end = [], 0
    for start in starts:
        if start >= end and (match := pattern.match(text, start)):
            pieces += [text[end:start], instead(match)]
            end = match.end()
    return "".join([*pieces, text[end:]]) if pieces else text


def _any_of(words: Collection[str] | Any, flags: int = 0) -> re.Pattern[str] | None:
    longest_first = sorted({word for word in words if word}, key=lambda word: (-len(word), word))
    return re.compile("|".join(map(re.escape, longest_first)), flags) if longest_first else None
