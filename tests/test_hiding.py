"""A provider's key is taken out of a stream, however it is spread over bytes and over pieces of a text."""

import json
from collections import defaultdict
from collections.abc import Callable, Iterable
from itertools import combinations
from typing import Any
from urllib.parse import quote

import pytest

from agents.hiding import Hidden, HiddenStream, hide

KEY = "sk-sk-abc"
TEXT = f"say {KEY}, {KEY[:4]}{KEY} s"
EXPECTED = TEXT.replace(KEY, "[redacted]")
Delta = Callable[[str], dict[str, Any]]
FIELDS: dict[str, Delta] = {
    "content": lambda text: {"content": text},
    "reasoning": lambda text: {"reasoning_content": text},
    "tool": lambda text: {"tool_calls": [{"index": 1, "function": {"arguments": text}}]},
}


def event(delta: dict[str, Any], *, index: int = 0, finish: str | None = None) -> bytes:
    choice = {"index": index, "delta": delta, "finish_reason": finish}
    return b"data: " + json.dumps({"model": "m", "choices": [choice]}).encode() + b"\n\n"


DONE = b"data: [DONE]\n\n"


def passed(chunks: Iterable[bytes]) -> bytes:
    stream = HiddenStream(KEY)
    return b"".join([*map(stream.feed, chunks), stream.end()])


def read(data: bytes) -> dict[tuple[int, str], str]:
    """The texts as a client puts them together."""
    found: dict[tuple[int, str], str] = defaultdict(str)
    for line in data.splitlines():
        if line.startswith(b"data: {"):
            for choice in json.loads(line[6:])["choices"]:
                delta = choice["delta"]
                for name in ("content", "reasoning_content"):
                    found[choice["index"], name] += delta.get(name) or ""
                for one in delta.get("tool_calls", ()):
                    found[choice["index"], f"tool {one['index']}"] += one["function"].get("arguments") or ""
    return {place: text for place, text in found.items() if text}


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize("end", ["finish", "done", "nothing", "all in one"])
def test_a_key_is_hidden_wherever_its_text_is_cut(field: str, end: str) -> None:
    delta = FIELDS[field]
    for cuts in combinations(range(len(TEXT) + 1), 2):
        pieces = [TEXT[a:b] for a, b in zip((0, *cuts), (*cuts, len(TEXT)), strict=True)]
        chunks = [event(delta(piece)) for piece in pieces]
        if end == "all in one":
            chunks[-1] = event(delta(pieces[-1]), finish="stop")
        chunks += [event({}, finish="stop")] * (end == "finish") + [DONE] * (end != "nothing")
        said = passed(chunks)
        assert list(read(said).values()) == [EXPECTED], (pieces, said)
        assert KEY.encode() not in said
        if end != "nothing":
            assert said.endswith(DONE)


def test_each_text_has_its_own_rest_however_they_are_mixed() -> None:
    chunks = []
    for letter in TEXT:
        chunks += [event(delta(letter), index=index) for index in (0, 1) for delta in FIELDS.values()]
        chunks += [b": ping\n\n", b"data: no JSON\n\n"]
    said = read(passed([*chunks, event({}, finish="stop"), event({}, index=1, finish="stop"), DONE]))
    assert said == {(index, name): EXPECTED for index in (0, 1) for name in ("content", "reasoning_content", "tool 1")}


def test_a_key_is_hidden_wherever_the_bytes_are_cut() -> None:
    whole = b"".join(event({"content": TEXT[n : n + 2]}) for n in range(0, len(TEXT), 2)) + DONE
    for cut in range(len(whole) + 1):
        assert read(passed([whole[:cut], whole[cut:]])) == {(0, "content"): EXPECTED}


def test_half_a_letter_is_no_obstacle() -> None:
    said = passed([event({"content": f"\ud83d {KEY[:4]}"}), event({"content": KEY[4:]}), DONE])
    assert read(said) == {(0, "content"): "? [redacted]"}


SPELLED: tuple[Callable[[str], str], ...] = (
    json.dumps,
    lambda key: json.dumps(key).replace("/", "\\/"),
    quote,
    lambda key: quote(key, safe=""),
)


@pytest.mark.parametrize("spelled", SPELLED)
def test_a_key_is_hidden_however_it_is_spelled(spelled: Callable[[str], str]) -> None:
    key = 'sk/"ab"+c\\d/'
    said = f"a {spelled(key)}{spelled(key)} b {spelled(key)[:-4]}".encode()
    assert Hidden(key).whole(said).count(b"[redacted]") == 2
    for cut in range(len(said) + 1):
        hidden = Hidden(key)
        assert hidden.feed(said[:cut]) + hidden.feed(said[cut:]) + hidden.end() == Hidden(key).whole(said)


def test_what_holds_no_key_passes_as_it_came() -> None:
    said = b"".join([event({"role": "assistant"}), event({"content": "nothing to hide"}), DONE])
    assert passed([said]) == said
    assert passed([b'data: {"choices": [1, {"delta": null}, {"index": [], "delta": [2]}]}\n\n', b"data: [3]\n"])
    without = HiddenStream("")
    assert without.feed(said[:7]) + without.end() == said[:7]


def test_what_waits_is_shorter_than_the_key() -> None:
    for size in range(len(TEXT)):
        shown, rest = hide(TEXT[:size], KEY, "[redacted]")
        assert KEY.startswith(rest)
        assert len(rest) < len(KEY)
        assert KEY not in shown + rest
