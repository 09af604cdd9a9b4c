"""Chromium at the platform's pages, and when something showed in them."""

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.conf import settings
from django.test import Client
from playwright.sync_api import Browser, Page, sync_playwright

from tenants.context import PUBLIC, in_schema
from tenants.models import User

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
# When each thing that is looked for came into the document, and was done with it: milliseconds since 1970.
WATCH = """
window.seen = {};
window.longest = 0;
new PerformanceObserver((list) => {
  for (const entry of list.getEntries()) window.longest = Math.max(window.longest, entry.duration);
}).observe({ type: "longtask", buffered: true });
new MutationObserver((changes) => {
  const now = performance.timeOrigin + performance.now();
  for (const { addedNodes } of changes) for (const node of addedNodes) {
    if (node.nodeType !== Node.ELEMENT_NODE) continue;
    for (const el of [node, ...node.querySelectorAll("[data-seq], [data-part]")]) {
      const name = el.dataset?.seq ?? el.dataset?.part;
      if (name) window.seen[name] ??= now;
    }
  }
}).observe(document, { childList: true, subtree: true });
"""


@contextmanager
def chromium() -> Iterator[Browser]:
    """A browser without a window. Raises RuntimeError where there is none."""
    if CHROMIUM is None:
        raise RuntimeError("no Chromium here: apt-get install chromium")
    # Playwright keeps an event loop in this thread; the ORM is called outside of it all the same.
    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "1"
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield running
        running.close()


def cookie_of(user: User) -> str:
    """A signed-in session of a user."""
    client = Client()
    with in_schema(PUBLIC):
        client.force_login(user)
    return client.cookies[settings.SESSION_COOKIE_NAME].value


def visit(browser: Browser, cookie: str, slug: str, path: str) -> Page:
    """A page of a team, in a browser of its own, once it is live."""
    context = browser.new_context()
    context.add_init_script(WATCH)
    host = settings.WAGGLE_HOST
    kept: Any = {"name": settings.SESSION_COOKIE_NAME, "value": cookie, "domain": f".{host}", "path": "/"}
    context.add_cookies([kept])
    page = context.new_page()
    page.goto(f"http://{slug}.{host}:{settings.WAGGLE_PORT}{path}")
    # A function, not an expression: the pages' policy forbids to evaluate text.
    page.wait_for_function('() => document.getElementById("connection").dataset.connection === "live"', timeout=60_000)
    return page


def seen(page: Page, names: set[str], *, seconds: float = 30) -> dict[str, float]:
    """When each of these came into the document, in seconds since 1970. Raises when one does not."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found: dict[str, float] = page.evaluate("window.seen")
        if names <= found.keys():
            return {name: found[name] / 1000 for name in names}
        time.sleep(0.2)
    raise AssertionError(f"{len(names - found.keys())} of {len(names)} never showed")
