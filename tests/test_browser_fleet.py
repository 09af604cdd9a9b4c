"""Agents and servers in a real browser: a find shows by itself, and people do what they may."""

import pytest
from playwright.sync_api import expect

from agents import sightings
from agents.models import Agent
from agents.sightings import Found
from sessions.relay import relay_once
from tests.board_stage import Stage
from tests.test_browser import CHROMIUM, NASTY, Visit, live
from tests.test_browser import browser as browser
from tests.test_browser import stage as stage
from tests.test_browser import visit as visit
from tests.test_browser import web as web

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: apt-get install chromium"),
    pytest.mark.timeout(300),
]


def test_a_server_that_is_found_shows_without_a_reload_and_its_name_is_no_markup(stage: Stage, visit: Visit) -> None:
    page = live(visit("/servers/"))
    page.evaluate("window.same = true")
    sightings.record([Found(f"opencode-1 {NASTY}", "http://10.0.0.7:4096", "1.18.33", latency_ms=12)])
    relay_once()
    row = page.get_by_role("listitem").filter(has_text="http://10.0.0.7:4096")
    expect(row).to_contain_text("Quarantined")
    expect(row).to_contain_text(f"opencode-1 {NASTY}")
    assert page.evaluate("window.same"), "the page was loaded again"
    row.get_by_role("link").click()
    expect(page.get_by_role("heading", level=1)).to_have_text(f"opencode-1 {NASTY}")
    expect(page.get_by_role("button", name="Trust this server")).to_be_visible()
    page.get_by_text("Disable it", exact=True).click()
    page.get_by_role("button", name="Disable opencode-1").click()
    expect(page.locator("main")).to_contain_text("Ask it again")
    assert page.evaluate("window.complaints") == []


def test_an_agent_is_set_up_drained_and_enabled_with_the_keyboard_alone(stage: Stage, visit: Visit) -> None:
    page = visit("/agents/")
    page.get_by_role("link", name="Set up the developer").press("Enter")
    expect(page.get_by_label("Name")).to_have_value("developer")
    expect(page.get_by_label("Developer")).to_be_checked()
    page.get_by_label("Room").fill("2")
    page.get_by_label("Skills").fill("two-words")
    page.get_by_role("button", name="Add the agent").press("Enter")
    expect(page.get_by_text("A skill is one word")).to_be_visible()
    page.get_by_label("Skills").fill("css, docs")
    page.get_by_role("button", name="Add the agent").press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("developer")
    assert Agent.objects.get(name="developer").skills == ["css", "docs"]
    page.get_by_role("button", name="Drain").press("Enter")
    expect(page.get_by_role("button", name="Enable")).to_be_visible()
    page.get_by_role("button", name="Enable").press("Enter")
    expect(page.locator("main")).to_contain_text("Active")
    assert page.evaluate("window.complaints") == []


def test_who_may_not_change_them_sees_no_buttons(stage: Stage, visit: Visit) -> None:
    page = visit("/agents/anna/", who="vera")
    expect(page.get_by_role("heading", level=1)).to_have_text("anna")
    assert page.locator("main form").count() == 0
    page = visit(f"/servers/{stage.server.pk}/", who="vera")
    assert page.locator("main form").count() == 0
