"""Text as it is written, put together by the browser: whatever order the pieces come in, the text is the same."""

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from playwright.sync_api import Page, sync_playwright

from tests.test_browser import CHROMIUM
from tests.web import ROOT

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: apt-get install chromium"),
    pytest.mark.timeout(300),
]
PUT_TOGETHER = """
([begin, stored, pieces]) => {
  const text = new window.Growing();
  let shown = "";
  const known = [];
  pieces.forEach(([offset, piece], place) => {
    if (place === begin) shown += stored + text.begin(stored);
    shown += text.take(offset, piece);
    known.push(shown);
  });
  if (begin >= pieces.length) shown += stored + text.begin(stored);
  return [shown, text.hasGap, known];
}
"""


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page()
        module = (ROOT / "static" / "js" / "pieces.js").read_text()
        page.add_script_tag(content=module.replace("export class Growing", "window.Growing = class Growing"))
        yield page
        browser.close()


LETTERS = st.text(st.sampled_from("abc é漢🐝\n👩🏽‍💻"), min_size=1, max_size=40)


@st.composite
def deliveries(draw: st.DrawFn) -> tuple[str, int, str, list[tuple[int, str]]]:
    """A text; when the page gets to know what the server has of it, and how much that is; pieces in any order."""
    text = draw(LETTERS)
    cuts = sorted({0, len(text), *draw(st.lists(st.integers(0, len(text)), max_size=8))})
    whole = [(start, text[start:end]) for start, end in pairwise(cuts)]
    overlapping = draw(st.lists(st.tuples(st.integers(0, len(text)), st.integers(0, len(text))), max_size=5))
    again = [(min(one), text[min(one) : max(one)]) for one in overlapping]
    pieces = draw(st.permutations(whole + again + draw(st.lists(st.sampled_from(whole), max_size=3))))
    return text, draw(st.integers(0, len(pieces))), text[: draw(st.integers(0, len(text)))], list(pieces)


@hypothesis_settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(delivery=deliveries())
def test_pieces_in_any_order_and_as_often_as_they_come_make_the_same_text(page: Page, delivery: Any) -> None:
    text, begin, stored, pieces = delivery
    shown, has_gap, known = page.evaluate(PUT_TOGETHER, [begin, stored, pieces])
    assert shown == text
    assert not has_gap
    # Never anything but a beginning of the text, before all of it is there.
    assert all(text.startswith(part) for part in known)


def test_what_is_missing_is_seen(page: Page) -> None:
    shown, has_gap, _ = page.evaluate(PUT_TOGETHER, [0, "ab", [(0, "ab"), (4, "ef")]])
    assert (shown, has_gap) == ("ab", True)
    shown, has_gap, _ = page.evaluate(PUT_TOGETHER, [0, "ab", [(4, "ef"), (1, "bcd")]])
    assert (shown, has_gap) == ("abcdef", False)
