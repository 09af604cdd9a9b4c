"""One journey in a browser on a whole platform: sign up → project → goal → watch → approve in the admin → landed."""

import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect, sync_playwright

from swarms import sample
from tests.test_browser import CHROMIUM, WATCH
from tests.test_supervisor import Up
from tests.web import ROOT, free_port, until

PICTURES = ROOT / "var" / "artifacts"
SLOW = 180_000
"""Milliseconds for what agents do; the limit is for what is broken, not for what is slow."""
pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: apt-get install chromium"),
    pytest.mark.timeout(900),
]


@pytest.fixture
def platform(tmp_path: Path) -> Iterator[Up]:
    running = Up(tmp_path / "data", free_port())
    try:
        until(running.ready, 120, "the platform did not start")
        yield running
    finally:
        running.process.send_signal(signal.SIGINT)
        running.process.wait(60)


@pytest.fixture
def page() -> Iterator[Page]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        page.add_init_script(WATCH)
        page.set_default_timeout(60_000)
        yield page
        browser.close()


def sign_up(page: Page, port: int) -> None:
    """On the public host, until the team's own host shows its first page."""
    page.goto(f"http://waggle.localhost:{port}/")
    page.get_by_role("link", name="Sign up").first.click()
    filled = {"name": "Ana", "email": "ana@meadow.example", "password": "correct horse battery", "team_name": "Meadow"}
    for name, text in filled.items():
        page.locator(f"input[name={name}]").fill(text)
    page.get_by_role("button", name="Sign up").click()
    page.wait_for_url(f"http://meadow.waggle.localhost:{port}/")
    expect(page.get_by_text("Welcome to Meadow")).to_be_visible()


def add_project(page: Page, repository: Path) -> None:
    """With the form, until the repository is here."""
    page.get_by_role("link", name="Add a project").click()
    check = sample.CHECKS[0]
    page.get_by_label("Name", exact=True).fill("Text kit")
    page.get_by_label("Short name").fill("textkit")
    page.get_by_label("Repository").fill(str(repository))
    page.get_by_label(re.compile("^Checks")).fill(f"{check.name}: {check.command}")
    page.get_by_label(re.compile("^Acceptance checks")).fill(f"acceptance: {sample.ACCEPTANCE[0].command}")
    page.get_by_role("button", name="Add the project").click()
    expect(page.locator(".region .state").first).to_have_text("Ready")


def decide_in_admin(page: Page, kind: str) -> None:
    """Approve what waits, in the team's admin, and come back."""
    swarm = page.url
    page.goto("/".join([*swarm.split("/")[:3], "admin", "swarms", "approval", "?decision=pending"]))
    page.get_by_role("link", name=re.compile(kind)).first.click()
    page.get_by_label("Reason").fill(f"{kind}: looks right")
    page.get_by_role("button", name="Approve").click()
    expect(page.locator(".messagelist")).to_contain_text("approved")
    page.goto(swarm)


def test_from_sign_up_to_landing(platform: Up, page: Page, tmp_path: Path) -> None:
    repository = tmp_path / "textkit.git"
    before = sample.build(repository).commit
    sign_up(page, platform.port)
    add_project(page, repository)
    page.get_by_role("textbox", name="Goal").fill(sample.GOAL)
    page.get_by_role("button", name="Make a plan").click()
    page.wait_for_url(re.compile("/projects/textkit/swarms/1/$"))
    asked = page.locator(".ask")
    expect(asked).to_contain_text("Plan 1", timeout=SLOW)
    expect(page.locator(".label.rehearsal").first).to_be_visible()
    # Another browser, in the dark, watches the same swarm and never loads its page again.
    other = page.context.browser.new_context(storage_state=page.context.storage_state(), color_scheme="dark")
    watcher = other.new_page()
    watcher.goto(page.url)
    decide_in_admin(page, "Plan")
    expect(page.locator(".graph [data-tone=running]").first).to_be_visible(timeout=SLOW)
    picture(page, "swarm-running")
    # The risky node is approved where it shows up, without a reload in between.
    expect(asked).to_contain_text("Start ", timeout=SLOW)
    asked.get_by_role("button", name="Approve").click()
    expect(asked).to_contain_text("Land ", timeout=SLOW)
    decide_in_admin(page, "Land")
    expect(page.locator(".region .state").first).to_have_text("Landed", timeout=SLOW)
    expect(page.locator(".feed")).to_contain_text("Landed on main")
    picture(page, "swarm-landed")
    expect(watcher.locator(".region .state").first).to_have_text("Landed", timeout=SLOW)
    expect(watcher.locator(".feed")).to_contain_text("Landed on main")
    picture(watcher, "swarm-landed-dark")
    head = git(repository, "rev-parse", "main")
    assert head != before
    assert git(repository, "merge-base", before, head) == before
    assert head[:8] in page.locator("main").inner_text()
    page.locator(".graph a.node").first.click()
    expect(page.locator("[data-transcript] [data-turn]").first).to_be_visible()
    picture(page, "node")
    assert page.evaluate("window.complaints") == []


def git(repository: Path, *words: str) -> str:
    command = ["git", "-C", str(repository), *words]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def picture(page: Page, name: str) -> None:
    """Keep what the page looks like, for whoever reads the run."""
    PICTURES.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=PICTURES / f"{name}.png", full_page=True)
