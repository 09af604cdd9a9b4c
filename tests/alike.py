"""Whether a page that was open for a while shows what a fresh one shows."""

import re
import time

import pytest
from playwright.sync_api import Page

# What a page shows, without what differs between two visits: ages, tokens, chunks, what htmx notes on elements.
SHOWN = """
() => {
  const passing = /^(open|class|data-htmx-powered|data-sent|aria-pressed|value)$/;
  const other = ".transcript-more, input[type=hidden], [data-said]";
  const walk = (node) => {
    const text = node.nodeType === Node.TEXT_NODE ? node.nodeValue.replace(/\\s+/g, " ").trim() : "";
    if (text) return [text];
    if (node.nodeType !== Node.ELEMENT_NODE || node.matches(other)) return [];
    const inner = node.matches("[data-ago], [data-since]") ? [] : [...node.childNodes].flatMap(walk);
    if (node.matches(".chunk")) return inner;
    if (node.matches("[data-follow], .composer") && !node.checkVisibility()) return [];
    const kept = [...node.attributes].filter(({ name }) => !passing.test(name));
    const words = kept.map(({ name, value }) => `${name}=${value}`).sort().join(" ");
    return [`<${node.localName} ${words}>`, ...inner, `</${node.localName}>`];
  };
  return walk(document.querySelector("main"));
}
"""


def fresh_at(fresh: Page, path: str) -> list[str]:
    """What a page shows that is loaded now."""
    fresh.goto(re.sub(r"^(http://[^/]+).*", r"\1", fresh.url) + path)
    found: list[str] = fresh.evaluate(SHOWN)
    return found


def same(page: Page, fresh: Page, what: str, seconds: float = 40) -> None:
    """Wait until the page shows what a fresh one shows; else tell the first difference."""
    comes_to(page, fresh_at(fresh, re.sub(r"^http://[^/]+", "", page.url)), what, seconds)


def comes_to(page: Page, wanted: list[str], what: str, seconds: float = 40) -> None:
    """Wait until the page shows this."""
    deadline = time.monotonic() + seconds
    while (shown := page.evaluate(SHOWN)) != wanted and time.monotonic() < deadline:
        time.sleep(0.1)
    if shown != wanted:
        place = next((n for n, pair in enumerate(zip(shown, wanted, strict=False)) if pair[0] != pair[1]), -1)
        around = slice(max(0, place - 5), place + 8)
        pytest.fail(f"after {what}, {page.url} shows\n{shown[around]}\nand a fresh one\n{wanted[around]}")
