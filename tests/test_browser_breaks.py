"""While a page is away everything happens that can happen; when it is back it shows what a fresh one shows."""

import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from sessions import renderers
from sessions.events import publish
from sessions.kinds import KINDS
from sessions.models import Event
from sessions.relay import relay_once
from swarms import words
from tenants.models import Team
from tests.alike import NOTING, comes_to, fresh_at
from tests.board_stage import Stage
from tests.conftest import user_of
from tests.happenings import Happenings, Surroundings
from tests.test_browser import CHROMIUM, SWARM, Visit, browser, live, visit, web  # noqa: F401
from tests.web import Web, free_port, serve

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: apt-get install chromium"),
    pytest.mark.timeout(300),
]
UNSEEN = {
    "branch.set",
    "exposure.set",
    "provider.changed",
    "rule.changed",
    "webhook.changed",
    "webhook.moved",
    "webhook.tested",
}
"""Kinds of events of which no page is told: what they change is shown when somebody looks next."""
# Of a page: does anything on it take in an event of this topic and kind?
HEARS = """
([topic, kind, inFeed, owes]) => {
  const hears = (el) => {
    const kinds = (el.dataset.kinds ?? "").split(/\\s+/).filter(Boolean);
    const isShown = document.body.dataset.topics.includes(topic) || !!document.querySelector(`[data-topic="${topic}"]`);
    const isNamed = el.dataset.live === "*" ? isShown : el.dataset.live.split(/\\s+/).includes(topic);
    return isNamed && (!kinds.length || kinds.some((prefix) => kind.startsWith(prefix)));
  };
  const has = (name) => document.querySelector(`[data-${name}^="${topic}"]`) !== null;
  const isFetched = [...document.querySelectorAll("[data-live]")].some(hears);
  return (inFeed && has("feed")) || has("transcript") || (owes && has("place")) || isFetched;
}
"""


@pytest.fixture
def stage(committed_team: Team) -> Stage:
    made = Stage(user_of("alice", "acme"))
    while relay_once():
        pass
    return made


@contextmanager
def reloaded(pages: list[Page]) -> Iterator[None]:
    """They are loaded again, in the middle of it."""
    yield


@contextmanager
def frozen(pages: list[Page]) -> Iterator[None]:
    """They sleep: the browser carries nothing of them out until they wake."""
    links = [page.context.new_cdp_session(page) for page in pages]
    for link in links:
        link.send("Page.setWebLifecycleState", {"state": "frozen"})
    yield
    for link in links:
        link.send("Page.setWebLifecycleState", {"state": "active"})


@contextmanager
def offline(pages: list[Page]) -> Iterator[None]:
    """There is no network for a while."""
    pages[0].context.set_offline(True)
    yield
    pages[0].context.set_offline(False)


BREAKS = (reloaded, frozen, offline)


def tabs(visit: Visit, paths: Sequence[str], port: int) -> list[Page]:  # noqa: F811
    """Pages of one browser, which share a connection."""
    first = visit("/team/")
    first.context.add_init_script(NOTING)
    pages = [first, *(first.context.new_page() for _ in paths[1:])]
    root = re.sub(r":\d+/.*", f":{port}", first.url)
    for page, path in zip(pages, paths, strict=True):
        page.goto(root + path)
    for page in pages:
        live(page).evaluate("window.same = true")
    return pages


def heard(event: Event, pages: Sequence[Page]) -> bool:
    """Whether something on one of the pages takes in events like this one."""
    told = [event.subject, event.kind, event.kind in words.KINDS, renderers.owes(event)]
    return any(page.evaluate(HEARS, told) for page in pages)


def test_after_everything_happened_while_it_was_away_a_page_shows_what_a_fresh_one_shows(
    stage: Stage,
    visit: Visit,  # noqa: F811
    web: Web,  # noqa: F811
    tmp_path: Path,
) -> None:
    happenings, around, port = Happenings(stage), Surroundings(stage), free_port()
    while relay_once():
        pass
    project, session = "/projects/textkit/", f"/sessions/{stage.live.session_id}/"
    paths = [SWARM, f"{SWARM}nodes/printer/", session, project, f"{project}sessions/", f"/sessions/{around.imported}/"]
    paths += ["/", "/agents/", "/servers/"]
    before = Event.objects.latest("position").position
    with ExitStack() as breaks:
        with serve("config.asgi:application", tmp_path, port) as first:
            groups = {"unserved": tabs(visit, paths, port)}
            for broken in BREAKS:
                groups[broken.__name__] = tabs(visit, paths, web.port)
            first.end()
        for broken in BREAKS:
            breaks.enter_context(broken(groups[broken.__name__]))
        for number, happen in enumerate([*happenings.all(), *around.all()]):
            happen()
            relay_once()
            if number == len(happenings.all()) // 2:
                for page in groups["reloaded"]:
                    page.reload()
        while relay_once():
            pass
    told = {(event.subject, event.kind): event for event in Event.objects.filter(position__gt=before)}
    assert {kind for _, kind in told} == set(KINDS)
    seen = {event.kind for event in told.values() if heard(event, groups["offline"])}
    assert set(KINDS) - seen == UNSEEN
    fresh = visit("/team/")
    with serve("config.asgi:application", tmp_path, port) as again:
        wanted = [fresh_at(fresh, path) for path in paths]
        for name, pages in groups.items():
            log = again.log if name == "unserved" else web.log
            for page, shown in zip(pages, wanted, strict=True):
                comes_to(page, shown, f"being {name}", log=log)
                live(page)
        publish(stage.swarm.topic, "decision.made", by="engine", what="go on", why="it is back")
        relay_once()
        for name, pages in groups.items():
            expect(pages[0].locator(".feed li").first).to_contain_text("it is back")
            for page in pages:
                assert page.evaluate("window.complaints") == []
                assert name == "reloaded" or page.evaluate("window.same"), "the page was loaded again"
