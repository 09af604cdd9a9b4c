"""Imported sessions in a real browser: read as a talk, live while an import goes on."""

from pathlib import Path

import pytest
from playwright.sync_api import expect

from agents.opencode import locate
from agents.opencode.importing import Import
from sessions import history
from sessions.relay import relay_once
from tests.board_stage import Stage
from tests.opencode_stage import EVERY_TYPE, Export, said, session, text, tool, write_export
from tests.test_browser import Visit, browser, live, pytestmark, stage, visit, web, words  # noqa: F401


def taken_over(at: Stage, folder: Path, export: Export) -> str:
    """Import, tell all browsers, and say where the session's page is."""
    run = Import(at.project.topic)
    with locate.stores(write_export(folder / "session.json", export)) as (store,):
        run.take(store)
    relay_once()
    return f"/sessions/{history.imported(at.project.topic).earliest('created_at').pk}/"


def test_an_open_transcript_and_an_open_list_follow_an_import(stage: Stage, visit: Visit, tmp_path: Path) -> None:  # noqa: F811
    question = said("msg_a", text("Please read a.py"), role="user")
    address = taken_over(stage, tmp_path, session("ses_a", question, said("msg_b", tool("running"), *EVERY_TYPE)))
    listed, page = live(visit("/projects/textkit/sessions/")), live(visit(address))
    expect(page.get_by_text("Please read a.py")).to_be_visible()
    for each in (listed, page):
        each.evaluate("window.same = true")
    answer = said("msg_b", tool(output="x"), *EVERY_TYPE, text("It says **x**"))
    later = {"created": 1_795_000_000_000, "updated": 1_795_000_999_000}
    taken_over(stage, tmp_path, session("ses_a", question, answer, title="Renamed", time=later))
    expect(page.get_by_text("It says x")).to_be_visible()
    expect(page.locator("[data-part]").nth(1)).to_have_attribute("data-state", "done")
    expect(listed.get_by_text("Renamed (imported from OpenCode)")).to_be_visible()
    for each in (listed, page):
        assert each.evaluate("window.same"), "the page was loaded again"
        assert each.evaluate("window.complaints") == []
    before = words(page)
    page.reload()
    assert before == words(page)


@pytest.mark.parametrize("width", [1440, 360])
def test_long_names_stay_within_the_window(stage: Stage, visit: Visit, tmp_path: Path, width: int) -> None:  # noqa: F811
    long = session(
        "ses_" + "a" * 100, said("msg_a", text("Hello")), directory="/srv/" + "long-name" * 40, title="T" * 190
    )
    address = taken_over(stage, tmp_path, long)
    page = visit(address)
    for path in (address, "/projects/textkit/sessions/", "/projects/textkit/"):
        page.set_viewport_size({"width": width, "height": 900})
        page.goto("/".join(page.url.split("/", 3)[:3]) + path)
        wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert wide <= 0, f"{path} is {wide} px wider than a window of {width} px"
        assert page.evaluate("window.complaints") == []
