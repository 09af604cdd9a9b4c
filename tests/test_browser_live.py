"""A page that was open all the time shows what a fresh one shows, after every kind of event and every cut."""

import re
import threading
import time
from functools import partial
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Page, Route, expect

from bench.chaos.proxy import Network
from sessions.events import publish
from sessions.models import Event, Subject
from sessions.relay import Relay, relay_once
from swarms import words
from tenants.models import Team
from tests.alike import SHOWN, same
from tests.board_stage import Stage
from tests.conftest import user_of
from tests.happenings import Happenings, Surroundings
from tests.test_browser import CHROMIUM, SWARM, Visit, browser, live, visit, web  # noqa: F401
from tests.web import ROOT, Web

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: apt-get install chromium"),
    pytest.mark.timeout(600),
]
PRINTER = f"{SWARM}nodes/printer/"


@pytest.fixture
def stage(committed_team: Team) -> Stage:
    made = Stage(user_of("alice", "acme"))
    while relay_once():
        pass
    return made


def test_after_every_kind_of_event_an_old_page_shows_what_a_fresh_one_shows(stage: Stage, visit: Visit) -> None:  # noqa: F811
    session = f"/sessions/{stage.live.session_id}/"
    pages = [live(visit(path)) for path in (SWARM, PRINTER, session)]
    fresh = visit(SWARM)
    before = Subject.objects.get(name=stage.swarm.topic).last_seq
    for page in pages:
        page.evaluate("window.same = true")
        same(page, fresh, "nothing")
    for happen in Happenings(stage).all():
        happen()
        while relay_once():
            pass
        for page in pages:
            same(page, fresh, happen.__name__)
    told = set(Event.objects.filter(subject=stage.swarm.topic, seq__gt=before).values_list("kind", flat=True))
    assert set(words.KINDS) - told == {"goal.stated"}
    assert {
        "agent.doing",
        "model.called",
        "execution.placed",
        "execution.moved",
        "merge.moved",
        "check_run.moved",
    } <= told
    assert {
        "question.asked",
        "session.steered",
        "session.heard",
        "nodes.planned",
        "priority.set",
        "deadline.set",
    } <= told
    for page in pages:
        assert page.evaluate("window.same"), "the page was loaded again"
        assert page.evaluate("window.complaints") == []


def test_a_page_that_was_cut_off_and_slept_shows_what_a_fresh_one_shows(stage: Stage, visit: Visit, web: Web) -> None:  # noqa: F811
    happenings = Happenings(stage)
    fresh = visit(SWARM)
    wire = Network().proxy(web.port)
    page = visit(SWARM)
    page.goto(page.url.replace(f":{web.port}/", f":{wire.port}/"))
    live(page)
    page.evaluate("window.same = true")
    wire.lasts = (20_000, 200_000)
    for happen in (happenings.doing, happenings.node_moves, happenings.nodes_move_together):
        wire.reset()
        happen()
        relay_once()
        same(page, fresh, f"a cut and {happen.__name__}")
    # The machine sleeps: nothing passes, and what it had open is gone when it wakes.
    wire.half_open()
    wire.silence()
    happenings.node_runs_again()
    happenings.paused()
    relay_once()
    page.wait_for_timeout(2000)
    wire.heal()
    same(page, fresh, "a sleep", 60)
    live(page)
    assert page.evaluate("window.same")
    assert page.evaluate("window.complaints") == []


def sooner(page: Page, script: str, usual: str, here: str) -> None:
    """Let the page have another constant: nobody waits for minutes here."""
    text = (ROOT / "static" / "js" / script).read_text()
    assert usual in text
    body = text.replace(usual, here)
    page.route(f"**/static/js/{script}", lambda route: route.fulfill(body=body, content_type="text/javascript"))


def test_a_line_that_has_gone_silent_is_given_up(stage: Stage, visit: Visit) -> None:  # noqa: F811
    """A network that swallows everything: the page comes back by itself, long before the machine notices."""
    page = visit("/team/")
    page.add_init_script("delete window.SharedWorker")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if "/events?" in request.url else None)

    sooner(page, "source.js", "SILENCE_MS = 35_000", "SILENCE_MS = 700")
    page.goto(page.url.replace("/team/", SWARM))
    live(page)
    page.wait_for_timeout(4000)
    assert len(asked) >= 3


def test_a_hidden_tab_lets_go_and_catches_up(stage: Stage, visit: Visit) -> None:  # noqa: F811
    happenings = Happenings(stage)
    page = visit("/team/")
    sooner(page, "stream.js", "AWAY_MS = 60_000", "AWAY_MS = 100")
    page.goto(page.url.replace("/team/", SWARM))
    live(page)
    hide = """(hidden) => {
      Object.defineProperty(document, "hidden", { value: hidden, configurable: true });
      document.dispatchEvent(new Event("visibilitychange"));
    }"""
    page.evaluate(hide, True)
    page.wait_for_timeout(500)
    before = page.evaluate(SHOWN)
    happenings.node_moves()
    relay_once()
    page.wait_for_timeout(1000)
    assert page.evaluate(SHOWN) == before
    page.evaluate(hide, False)
    same(page, visit(SWARM), "being hidden")


# The next answer for the graph is there, and reaches the page only when `release` is called.
HELD = """() => {
  const { fetch } = window;
  window.fetch = async (...asked) => {
    window.fetch = fetch;
    const answer = await fetch(...asked);
    await new Promise((release) => Object.assign(window, { release }));
    return answer;
  };
  const region = document.querySelector("[hx-get$='/regions/graph/']");
  region.addEventListener("htmx:finally:request", () => (window.answered = true));
  window.htmx.trigger(region, "refresh");
}"""


def test_an_answer_from_before_a_change_does_not_take_it_back(stage: Stage, visit: Visit) -> None:  # noqa: F811
    """A region is asked for; before its answer is there, the stream brings what has changed since."""
    page = live(visit(SWARM))
    page.evaluate(HELD)
    page.wait_for_function("() => !!window.release")
    Happenings(stage).node_moves()
    relay_once()
    expect(page.locator(".graph [data-key=printer]")).to_contain_text("Checking")
    page.evaluate("window.release()")
    page.wait_for_function("() => window.answered")
    same(page, visit(SWARM), "an answer from before")


def test_what_is_not_answered_is_asked_for_again(stage: Stage, visit: Visit) -> None:  # noqa: F811
    """A network that is barely back, a server that is being restarted: what a page asks for first is not answered."""
    happenings, around = Happenings(stage), Surroundings(stage)
    relay_once()
    page, fresh = visit("/team/"), visit("/team/")
    sooner(page, "asking.js", "AGAIN_MS = 3_000", "AGAIN_MS = 100")
    refused: set[str] = set()

    def refuse(route: Route) -> None:
        path = urlsplit(route.request.url).path
        if path in refused:
            route.continue_()
        elif path.endswith(("feed/", "parts/")):
            route.abort()
        else:
            route.fulfill(status=503)
        refused.add(path)

    for path, happens in (
        (SWARM, (happenings.plan, happenings.what_only_the_feed_tells)),
        (f"/sessions/{around.imported}/", (around.session_is_imported,)),
    ):
        page.goto(re.sub(r"(?<=\d)/.*", path, page.url))
        live(page)
        page.context.set_offline(True)
        for happen in happens:
            happen()
        while relay_once():
            pass
        page.route(re.compile("/(feed|parts|regions|figures)/"), refuse)
        page.context.set_offline(False)
        same(page, fresh, "not being answered")
        page.unroute(re.compile("/(feed|parts|regions|figures)/"))
    for end in ("feed/", "parts/", "header/", "plan/"):
        assert any(path.endswith(end) for path in refused), end


def test_lines_that_are_fetched_stand_before_those_that_were_told_meanwhile(stage: Stage, visit: Visit) -> None:  # noqa: F811
    page = live(visit(SWARM))
    held: list[Route] = []
    page.route("**/feed/*", lambda route: held.append(route))
    say = partial(publish, stage.swarm.topic, "decision.made", by="engine", why="to be seen")
    page.context.set_offline(True)
    say(what="the first")
    relay_once()
    page.context.set_offline(False)
    while not held:
        page.wait_for_timeout(20)
    say(what="the second")
    relay_once()
    expect(page.locator(".feed li").first).to_contain_text("the second")
    held[0].continue_()
    expect(page.locator(".feed li").nth(1)).to_contain_text("the first")
    page.unroute("**/feed/*")
    same(page, visit("/team/"), "lines in another order")


def test_how_long_an_event_takes_into_two_browsers(stage: Stage, visit: Visit) -> None:  # noqa: F811
    """Measured in the page, and printed: how fast it is depends on the machine."""
    watch = """() => {
      window.seen = {};
      new MutationObserver((changes) => {
        const now = performance.timeOrigin + performance.now();
        for (const { addedNodes } of changes)
          for (const node of addedNodes) if (node.dataset?.seq) window.seen[node.dataset.seq] ??= now;
      }).observe(document.querySelector("[data-feed]"), { childList: true });
    }"""
    pages = [live(visit(SWARM)), live(visit(SWARM, who="bob"))]
    for page in pages:
        page.evaluate(watch)
    stop = threading.Event()
    relaying = threading.Thread(target=Relay().run, args=[stop])
    relaying.start()
    sent: dict[str, float] = {}
    try:
        for _ in range(30):
            event = publish(stage.swarm.topic, "decision.made", by="engine", what="go on", why="to be seen")
            sent[str(event.seq)] = time.time() * 1000
            time.sleep(0.1)
        for page in pages:
            page.wait_for_function("(names) => names.every((name) => name in window.seen)", arg=list(sent))
    finally:
        stop.set()
        relaying.join(20)
    for page in pages:
        seen = page.evaluate("window.seen")
        took = sorted(seen[name] - moment for name, moment in sent.items())
        print(f"\ncommit to document: median {took[len(took) // 2]:.0f} ms, p95 {took[int(len(took) * 0.95)]:.0f} ms")
        numbers = page.locator(".feed li").evaluate_all("(items) => items.map((item) => Number(item.dataset.seq))")
        assert numbers == sorted(set(numbers), reverse=True)
