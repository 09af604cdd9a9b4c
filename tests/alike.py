"""Whether a page that was open for a while shows what a fresh one shows."""

import re
import time
from difflib import unified_diff
from itertools import zip_longest
from pathlib import Path

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
# To be run before a page's own scripts: has it note what it hears of the worker, and what it fetches.
NOTING = """
{
  window.noted = [];
  const note = (what) => {
    window.noted.push(`${(performance.now() / 1000).toFixed(2)} ${what}`);
    if (window.noted.length > 300) window.noted.shift();
  };
  const { fetch, SharedWorker } = window;
  window.fetch = async (...asked) => {
    const path = String(asked[0].url ?? asked[0]);
    note(`asks for ${path}`);
    const answer = await fetch(...asked).catch((error) => { note(`${path}: ${error}`); throw error; });
    note(`${path}: ${answer.status}`);
    return answer;
  };
  window.SharedWorker = class extends SharedWorker {
    constructor(...given) {
      super(...given);
      this.port.addEventListener("message", ({ data }) => {
        const { event, id, data: told } = data.message ?? {};
        const kinds = told && [told.topic, told.kind, told.swaps && `with ${told.swaps.map(([place]) => place)}`];
        note(data.message ? [event, id, ...kinds].filter(Boolean).join(" ") : JSON.stringify(data));
      });
    }
  };
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


def comes_to(page: Page, wanted: list[str], what: str, seconds: float = 40, log: Path | None = None) -> None:
    """Wait until the page shows this; else tell all about it. `log` is that of the web process, of which the end is
    told as well; so is what the page has heard, if it was told to note that (NOTING)."""
    deadline = time.monotonic() + seconds
    while (shown := page.evaluate(SHOWN)) != wanted and time.monotonic() < deadline:
        time.sleep(0.1)
    if shown != wanted:
        parts = [f"after {what}, {page.url} does not show what a fresh one shows, in {_region(shown, wanted)}:"]
        parts += unified_diff(shown, wanted, "the page", "a fresh one", n=8, lineterm="")
        parts += ["and has heard, by seconds since it was loaded:", *page.evaluate("window.noted ?? []")]
        if log is not None:
            parts += ["The web process says:", *log.read_text(errors="replace").splitlines()[-30:]]
        pytest.fail("\n".join(parts), pytrace=False)


def _region(shown: list[str], wanted: list[str]) -> str:
    """The innermost part of the page that is fetched by itself and holds the first difference."""
    around: list[str] = []
    for one, other in zip_longest(shown, wanted):
        if one != other:
            break
        if one.startswith("</"):
            around.pop()
        elif one.startswith("<"):
            around.append(one)
    return next((tag for tag in reversed(around) if "hx-get=" in tag or "data-url=" in tag), "no region")
