"""A provider's key, taken out of what the provider answers: it may say it again, in an error or on purpose. Pure."""

import json
from collections.abc import Iterator
from typing import Any, AnyStr
from urllib.parse import quote

INSTEAD = "[redacted]"
TEXTS = frozenset({"content", "reasoning", "reasoning_content", "refusal", "arguments", "text", "thinking"})
"""Fields of a stream's deltas that are pieces of one text."""
Place = tuple[str | int, ...]
"""Where a text is in an event: names, and the `index` of what is numbered."""


def hide(text: AnyStr, key: AnyStr, instead: AnyStr) -> tuple[AnyStr, AnyStr]:
    """What can be shown of a text that goes on, with the key taken out; and what must wait, as it may be the beginning
    of the key."""
    shown = text.replace(key, instead)
    longest = min(len(key) - 1, len(shown))
    held = next((n for n in range(longest, 0, -1) if key.startswith(shown[-n:])), 0)
    return shown[: len(shown) - held], shown[len(shown) - held :]


def _spellings(key: str) -> list[str]:
    """A key as it stands in texts, in JSON, in JSON of those who are careful with slashes, and in addresses."""
    inside = json.dumps(key)[1:-1]
    quoted = (quote(key), quote(key, safe=""))
    return sorted({key, inside, inside.replace("/", "\\/"), *quoted} - {""}, key=len, reverse=True)


class Hidden:
    """Bytes as they pass, with the key taken out."""

    def __init__(self, key: str) -> None:
        self._rests = dict.fromkeys(map(str.encode, _spellings(key)), b"")
        """What waits, of each way in which the key is spelled: what one of them lets through, the next one sees."""

    def feed(self, data: bytes) -> bytes:
        """What can be shown so far; what may be the beginning of the key waits."""
        for key, rest in self._rests.items():
            data, self._rests[key] = hide(rest + data, key, INSTEAD.encode())
        return data

    def end(self) -> bytes:
        """What was held back."""
        last = b""
        for key, rest in self._rests.items():
            last, self._rests[key] = (rest + last).replace(key, INSTEAD.encode()), b""
        return last

    def whole(self, data: bytes) -> bytes:
        """All of it at once."""
        return self.feed(data) + self.end()


class HiddenStream:
    """Server-sent chunks of an answer, with the key taken out of their bytes and of the texts that they carry."""

    def __init__(self, key: str) -> None:
        self._key = key
        self._bytes = Hidden(key)
        self._line = bytearray()
        self._rests: dict[Place, str] = {}
        """What waits, by where it goes on."""

    def feed(self, data: bytes) -> bytes:
        """Whole lines, as far as they can be shown."""
        if not self._key:
            return data
        found = self._bytes.feed(data)
        self._line += found
        if b"\n" not in found:
            return b""
        *lines, self._line = self._line.split(b"\n")
        return b"".join(self._shown(bytes(line)) + b"\n" for line in lines)

    def end(self) -> bytes:
        """What was held back."""
        line, self._line = bytes(self._line) + self._bytes.end(), bytearray()
        return (self._shown(line) if line else b"") + self._late()

    def _shown(self, line: bytes) -> bytes:
        if line.strip() == b"data: [DONE]":
            return self._late() + line
        if not line.startswith(b"data:"):
            return line
        try:
            event = json.loads(line[len(b"data:") :])
        except (ValueError, RecursionError):  # nothing that we know
            return line
        changed, late = False, b""
        for choice in _dicts(event, "choices"):
            index, ends = _index(choice, 0), bool(choice.get("finish_reason"))
            for place, name, found in _texts(choice.get("delta"), (index,)):
                before = self._rests.pop((*place, name), "")
                shown, rest = hide(before + found[name], self._key, INSTEAD)
                if rest and not ends:
                    self._rests[*place, name] = rest
                elif rest:
                    shown += rest
                changed |= shown != found[name]
                found[name] = shown
            late += self._late(index) if ends else b""
        return late + (_line(event) if changed else line)

    def _late(self, index: int | None = None) -> bytes:
        """Events for what waits and is not gone on with, of one choice or of all."""
        ended = [place for place in self._rests if index in (None, place[0])]
        return b"".join(_line(_event(place, self._rests.pop(place))) + b"\n\n" for place in ended)


def _texts(found: Any, place: Place) -> Iterator[tuple[Place, str, dict[str, Any]]]:
    """Each text in a delta: where, under which name, and in what."""
    if isinstance(found, dict):
        for name, value in found.items():
            if isinstance(value, str) and name in TEXTS:
                yield place, name, found
            elif isinstance(value, dict):
                yield from _texts(value, (*place, name))
            elif isinstance(value, list):
                for number, each in enumerate(value):
                    yield from _texts(each, (*place, name, _index(each, number)))


def _event(place: Place, text: str) -> dict[str, Any]:
    """A chunk with one piece of a text."""
    inner: Any = text
    for step in reversed(place[1:]):
        inner = [{"index": step, **inner}] if isinstance(step, int) else {step: inner}
    return {"object": "chat.completion.chunk", "choices": [{"index": place[0], "delta": inner, "finish_reason": None}]}


def _index(found: Any, otherwise: int) -> int:
    index = found.get("index") if isinstance(found, dict) else None
    return index if isinstance(index, int) else otherwise


def _dicts(event: Any, name: str) -> list[dict[str, Any]]:
    found = event.get(name) if isinstance(event, dict) else None
    return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []


def _line(event: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(event, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
