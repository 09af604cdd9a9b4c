"""The slider in a real browser: it shows any event, plays, jumps, is shared by its address, and grows."""

import re
from pathlib import Path

import pytest
from playwright.sync_api import Page, Request, expect

from sessions.events import publish
from sessions.relay import relay_once
from swarms.replay import stories
from tests.board_stage import Stage
from tests.test_browser import CHROMIUM, Visit, browser, live, stage, visit, web

__all__ = ["browser", "stage", "visit", "web"]
pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: apt-get install chromium"),
    pytest.mark.timeout(300),
]
REPLAY = "/projects/textkit/swarms/1/replay/"


def shown(page: Page, at: int) -> None:
    """The page shows this event, and says so everywhere."""
    expect(page.locator(".replay-now")).to_have_attribute("data-at", str(at))
    expect(page.locator("#replay-at")).to_have_value(str(at))
    expect(page).to_have_url(re.compile(rf"\?at={at}$"))


def last_of(stage: Stage) -> int:
    return stories.of_swarm(stage.swarm).last()


def test_the_slider_shows_any_event_by_keys_links_and_address(stage: Stage, visit: Visit) -> None:
    page, last = visit(f"{REPLAY}?at=3"), last_of(stage)
    slider = page.locator("#replay-at")
    expect(page.locator("[data-play]")).to_be_visible()
    expect(page.locator("[data-go]")).to_be_hidden()
    slider.focus()
    page.keyboard.press("ArrowRight")
    shown(page, 4)
    expect(slider).to_have_attribute("aria-valuetext", re.compile(rf"^Event 4 of {last}, 0:\d\d after the beginning: "))
    expect(slider).to_be_focused()
    page.keyboard.press("End")
    shown(page, last)
    expect(page.locator(".graph [data-key=parser]")).to_be_visible()
    page.keyboard.press("Home")
    shown(page, 1)
    expect(page.locator(".graph")).to_have_count(0)
    page.locator("a[data-step='1']").click()
    shown(page, 2)
    page.get_by_role("link", name="Next merge").click()
    merged = stories.of_swarm(stage.swarm).before(last, 1, ["node.merged"])[0].seq
    shown(page, merged)
    expect(page.locator(".feed li[aria-current]")).to_contain_text("parser is merged")
    page.locator(f".feed a[data-at='{merged - 1}']").click()
    shown(page, merged - 1)
    page.reload()
    shown(page, merged - 1)
    page.keyboard.press("Home")
    page.get_by_role("link", name="Previous merge").click()
    expect(page.locator("[data-trouble]")).to_have_text("There is no earlier merge.")
    assert page.evaluate("window.complaints") == []


def test_it_plays_to_the_end_and_can_be_paused(stage: Stage, visit: Visit) -> None:
    page, last = visit(REPLAY), last_of(stage)
    page.locator("#replay-speed").select_option("16")
    play = page.get_by_role("button", name="Play")
    play.click()
    shown(page, last)
    expect(play).to_have_attribute("aria-pressed", "false")
    # From the end it begins anew.
    page.locator("#replay-speed").select_option("1")
    play.click()
    page.get_by_role("button", name="Pause").click()
    expect(page.locator("[data-replay-box]")).to_have_attribute("aria-busy", "false")
    assert page.evaluate("window.complaints") == []


def test_a_position_that_is_left_is_not_shown_when_it_comes_late(stage: Stage, visit: Visit) -> None:
    page, last = visit(f"{REPLAY}?at=2"), last_of(stage)
    gone: list[str] = []
    page.on("requestfailed", lambda request: gone.append(request.url))
    waiting: list[object] = []
    page.route(re.compile(r"now/\?at=5$"), lambda route: waiting.append(route))
    page.locator("#replay-at").fill("5")
    page.wait_for_timeout(200)
    assert len(waiting) == 1
    page.locator("#replay-at").fill(str(last))
    shown(page, last)
    assert [url for url in gone if url.endswith("at=5")], "the outdated request was not aborted"
    assert page.evaluate("window.complaints") == []


def test_dragging_asks_for_where_it_stops(stage: Stage, visit: Visit) -> None:
    page, last = visit(REPLAY), last_of(stage)
    asked: list[Request] = []
    page.on("request", lambda request: asked.append(request) if "/now/" in request.url else None)
    page.evaluate(
        """(last) => { const slider = document.getElementById("replay-at");
           for (let at = 1; at <= last; at++) { slider.value = at;
             slider.dispatchEvent(new Event("input", { bubbles: true })); } }""",
        last,
    )
    shown(page, last)
    assert len(asked) == 1


def test_late_events_make_it_longer_and_leave_the_position(stage: Stage, visit: Visit) -> None:
    page, last = live(visit(f"{REPLAY}?at=2")), last_of(stage)
    publish(stage.swarm.topic, "decision.made", by="engine", what="go on", why="it is late")
    relay_once()
    expect(page.locator("#replay-at")).to_have_attribute("max", str(last + 1))
    expect(page.locator("[data-place-of]")).to_have_text(f"2 of {last + 1}")
    shown(page, 2)
    page.locator("#replay-at").focus()
    page.keyboard.press("End")
    shown(page, last + 1)
    expect(page.locator(".replay-event")).to_contain_text("it is late")
    page.get_by_role("link", name="Live").click()
    expect(page).to_have_url(re.compile("/swarms/1/$"))


def test_without_scripts_links_and_a_button_do_the_same(stage: Stage, visit: Visit) -> None:
    page = visit(f"{REPLAY}?at=3", java_script_enabled=False)
    expect(page.locator("[data-play]")).to_be_hidden()
    page.locator("a[rel=next]").click()
    expect(page).to_have_url(re.compile(r"\?at=4$"))
    page.get_by_role("link", name="Next merge").click()
    expect(page.locator(".feed li[aria-current]")).to_contain_text("parser is merged")
    page.get_by_role("button", name="Go").click()
    expect(page).to_have_url(re.compile(r"\?at=\d+$"))


def test_what_was_exported_in_the_browser_is_imported_and_replayed(stage: Stage, visit: Visit, tmp_path: Path) -> None:
    page, last = visit(REPLAY), last_of(stage)
    for _ in range(2):  # the page stays, and gives the file again
        with page.expect_download() as download:
            page.get_by_role("button", name="Export").click()
    path = tmp_path / download.value.suggested_filename
    download.value.save_as(path)
    assert path.name == "textkit-1.waggle.zip"
    page.goto(page.url.split("/projects/")[0] + "/archives/")
    page.locator("input[type=file]").set_input_files(path)
    page.get_by_role("button", name="Import").click()
    expect(page.locator(".messages")).to_contain_text(f"{last} events")
    page.locator("#replay-at").focus()
    page.keyboard.press("End")
    shown(page, last)
    page.locator(".graph [data-key=parser]").click()
    expect(page.locator(".top h1")).to_have_text("Write the parser")
    expect(page.locator(".transcript .part").first).to_be_visible()
    assert page.evaluate("window.complaints") == []
