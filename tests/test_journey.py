"""The journey of a goal, as a person has it: sign up, add a project, state a goal, watch, approve in the admin, landed.

The whole platform runs as `make up` starts it; the browser is Chromium. Screenshots are kept in var/screenshots.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from config.env import PROJECT_ROOT
from config.services.ports import free_port
from swarms import sample

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: apt-get install chromium"),
    pytest.mark.timeout(420),
]
SCREENSHOTS = PROJECT_ROOT / "var" / "screenshots"
PATIENCE = 120_000
"""Milliseconds in which something must show; these machines are noisy."""


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A whole platform with a data folder of its own."""
    port = free_port()
    dropped = ("DATABASE_URL", "REDIS_URL", "DJANGO_SETTINGS_MODULE")
    environment = {name: value for name, value in os.environ.items() if name not in dropped} | {
        "WAGGLE_DATA_DIR": str(tmp_path_factory.mktemp("journey") / "data"),
        "WAGGLE_PORT": str(port),
    }
    platform = subprocess.Popen(
        [sys.executable, "manage.py", "up", "--port", str(port)],
        cwd=PROJECT_ROOT,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    said: list[str] = []
    assert platform.stdout is not None
    for line in platform.stdout:
        said.append(line)
        if "Sign in to team" in line:
            break
    else:
        pytest.fail("the platform did not start:\n" + "".join(said))
    # From here on nobody here reads the log; it must not fill its pipe.
    drain = subprocess.Popen(["cat"], stdin=platform.stdout, stdout=subprocess.DEVNULL)
    yield f"http://waggle.localhost:{port}"
    platform.send_signal(signal.SIGINT)
    assert platform.wait(60) == 0
    drain.wait(10)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield running
        running.close()


def shot(page: Page, name: str) -> None:
    """Keep what the page looks like now."""
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SCREENSHOTS / f"{name}.png", full_page=True)


def sign_up(page: Page, address: str, slug: str) -> str:
    """A new person with a new team; returns the team's address."""
    page.goto(f"{address}/signup/")
    page.fill("[name=name]", "Ana Example")
    page.fill("[name=email]", f"ana@{slug}.example")
    page.fill("[name=password]", "correct horse battery")
    page.fill("[name=team_name]", slug.title())
    page.fill("[name=address]", slug)
    page.get_by_role("button", name="Sign up").click()
    team = address.replace("://", f"://{slug}.")
    page.wait_for_url(f"{team}/**", timeout=PATIENCE)
    return team


def approve_in_admin(page: Page, team: str, title: str) -> None:
    """Find the pending approval in the admin's list, look at it, say yes."""
    page.goto(f"{team}/admin/swarms/approval/?decision=pending")
    page.get_by_role("link", name=title).click()
    expect(page.get_by_text("Exactly this is decided")).to_be_visible()
    shot(page, "admin-" + title.split()[0].lower())
    page.fill("#because", "looks right")
    page.click("button[name=_approve]")
    expect(page.locator(".messagelist")).to_contain_text(f"{title}: approved.")


def test_from_sign_up_to_landing(address: str, browser: Browser, tmp_path: Path) -> None:
    source = sample.build(tmp_path / "textkit.git")
    complaints: list[str] = []
    first = browser.new_context(viewport={"width": 1440, "height": 900})
    page = first.new_page()
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    team = sign_up(page, address, "journey")

    page.goto(f"{team}/projects/new/")
    page.fill("[name=name]", "textkit")
    page.fill("[name=slug]", "textkit")
    page.fill("[name=source]", str(source.path))
    page.fill("[name=checks]", "\n".join(f"{check.name}: {check.command}" for check in sample.CHECKS))
    page.fill("[name=acceptance]", "\n".join(f"{check.name}: {check.command}" for check in sample.ACCEPTANCE))
    page.get_by_role("button", name="Add the project").click()
    goal = page.locator("textarea[name=text]")
    expect(goal).to_be_visible(timeout=PATIENCE)
    goal.fill(sample.GOAL)
    page.get_by_role("button", name="Make a plan").click()
    page.wait_for_url("**/swarms/1/")
    swarm = page.url

    # A second browser watches the same swarm, in the dark; neither page is ever loaded again.
    second = browser.new_context(storage_state=first.storage_state(), color_scheme="dark")
    watcher = second.new_page()
    watcher.goto(swarm)
    admin = first.new_page()
    for title in ("Plan 1 of textkit #1", "Start report of textkit #1", "Land textkit #1"):
        expect(watcher.get_by_text(title).first).to_be_visible(timeout=PATIENCE)
        expect(page.get_by_text(title).first).to_be_visible(timeout=PATIENCE)
        shot(page, "swarm-" + title.split()[0].lower())
        approve_in_admin(admin, team, title)
    for one in (page, watcher):
        expect(one.locator(".state").first).to_have_text(re.compile("Landed"), timeout=PATIENCE)
        expect(one.get_by_text("rehearsal").first).to_be_visible()
    shot(page, "swarm-landed")
    shot(watcher, "swarm-landed-dark")

    assert words(page) == words_after_reload(page), "the live page differs from a fresh one"
    node = first.new_page()
    node.goto(f"{swarm}nodes/sentences/")
    expect(node.get_by_text("Transcript").first).to_be_visible()
    expect(node.get_by_text("merge conflict").or_(node.get_by_text("Attempt 1")).first).to_be_visible()
    shot(node, "node")
    log = subprocess.run(
        ["git", "--git-dir", str(source.path), "log", "--format=%s", "main"], capture_output=True, text=True, check=True
    ).stdout
    assert log.startswith("Land goal #1")
    assert [text for text in complaints if "Content Security Policy" in text] == []


def words(page: Page) -> list[str]:
    """What the swarm's nodes and graph say, without the times that pass."""
    time.sleep(1)
    rows: Any = page.locator(".node title, .rows .row b, .rows .row .state").all_text_contents()
    return [row.strip() for row in rows]


def words_after_reload(page: Page) -> list[str]:
    """The same of a fresh page."""
    page.reload()
    return words(page)
