"""The dashboard in a real browser: what is live stays true, and the policy is never broken."""

import os
import re
import shutil
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any
from urllib.request import urlopen
from uuid import uuid4

import pytest
from django.conf import settings
from django.test import Client
from django.utils import timezone
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from agents.contracts.records import MessageRecord, PartRecord
from agents.models import Server
from agents.standings import Watch
from sessions import deltas, transcript
from sessions.models import Session
from sessions.relay import relay_once
from sessions.transitions import move
from swarms import budgets, goals
from swarms.models import CheckRun, Node
from tenants.context import current_schema
from tenants.models import Runner, Team
from tests.board_stage import Stage
from tests.conftest import user_of
from tests.stage_parts import NASTY
from tests.web import Web, serve, until

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: apt-get install chromium"),
    pytest.mark.timeout(300),
]
WATCH = """
window.complaints = [];
document.addEventListener("securitypolicyviolation", (e) =>
  window.complaints.push(`${e.violatedDirective} ${e.blockedURI} ${e.sourceFile}:${e.lineNumber}`));
window.addEventListener("error", (e) => window.complaints.push(e.message));
// That the browser gives up the animation between two pages is no fault of theirs.
window.addEventListener("unhandledrejection", (e) =>
  /Transition was (aborted|skipped)/.test(e.reason) || window.complaints.push(String(e.reason)));
"""
Visit = Callable[..., Page]


@pytest.fixture(scope="module")
def browser(django_db_setup: None) -> Iterator[Browser]:
    # Playwright keeps an event loop in this thread; the ORM below is called outside of it all the same.
    before = os.environ.get("DJANGO_ALLOW_ASYNC_UNSAFE")
    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "1"
    with sync_playwright() as playwright:
        # Tabs of one browser share a process, as on a machine with little memory: to start one for each costs most.
        running = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--process-per-site"])
        yield running
        running.close()
    if before is None:
        del os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"]


@pytest.fixture(scope="module")
def web(django_db_setup: None, django_db_blocker: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    """One process for all tests of a module: what it knows of a team must not outlive the team's rows."""
    with django_db_blocker.unblock(), serve("config.asgi:application", tmp_path_factory.mktemp("web")) as running:
        yield running


@pytest.fixture
def stage(committed_team: Team) -> Stage:
    made = Stage(user_of("alice", "acme"))
    relay_once()
    return made


@pytest.fixture
def visit(browser: Browser, web: Web) -> Iterator[Visit]:
    """Open a page as a member: `visit("/swarms/", who="vera", color_scheme="dark")`, each time in a new browser.

    It likes no motion, unless told so: what turns and pulses would paint all the time, without a graphics card.
    """
    contexts: list[BrowserContext] = []

    def go(path: str, who: str = "alice", **options: Any) -> Page:
        options.setdefault("reduced_motion", "reduce")
        context = browser.new_context(**options)
        contexts.append(context)
        context.add_init_script(WATCH)
        client = Client()
        client.force_login(user_of(who, "acme"))
        name = settings.SESSION_COOKIE_NAME
        cookie = {"name": name, "value": client.cookies[name].value, "domain": f".{settings.WAGGLE_HOST}", "path": "/"}
        context.add_cookies([cookie])  # type: ignore[list-item]
        page = context.new_page()
        page.goto(f"http://acme.{settings.WAGGLE_HOST}:{web.port}{path}")
        return page

    yield go
    for context in contexts:
        context.close()
    until(lambda: streams(web) == 0)


def live(page: Page) -> Page:
    """The page, once it listens."""
    expect(page.locator("#connection")).to_have_text("Live", timeout=30_000)
    return page


def words(page: Page) -> str:
    """What the page says, without what time changes."""
    text = page.locator("main").inner_text()
    return re.sub(r"just now|\d+ (s|min) ago|\d+:\d\d", "T", text)


SWARM = "/projects/textkit/swarms/1/"


@pytest.mark.parametrize(("scheme", "widths"), [("light", (1440, 360)), ("dark", (360, 1440))], ids=["light", "dark"])
def test_no_page_breaks_the_policy_or_its_width(
    stage: Stage, visit: Visit, scheme: Any, widths: tuple[int, int]
) -> None:
    """Loaded in a window of the first width, which then becomes as wide as the other."""
    page = visit("/", color_scheme=scheme, reduced_motion="no-preference")
    # What a page fetches into itself has no width of its own.
    whole = {name: path for name, path in stage.pages.items() if not name.endswith(("yaml", "-now", "-times"))}
    admin = ["/admin/", "/admin/swarms/approval/", f"/admin/swarms/approval/{stage.landing.pk}/change/"]
    for path in [*whole.values(), "/projects/new/", "/team/", "/settings/", *admin]:
        sizes = widths if path not in admin else (1440,)
        page.set_viewport_size({"width": sizes[0], "height": 900})
        page.goto(page.url.split("/", 3)[0] + "//" + page.url.split("/", 3)[2] + path)
        for width in sizes:
            page.set_viewport_size({"width": width, "height": 900})
            assert page.evaluate("window.complaints") == [], path
            wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
            assert wide <= 0, f"{path} is {wide} px wider than a window of {width} px"


def test_a_move_shows_in_every_browser_without_a_reload(stage: Stage, visit: Visit) -> None:
    pages = [live(visit(SWARM)), live(visit(SWARM, who="vera"))]
    for page in pages:
        page.evaluate("window.same = true")
        expect(page.locator(".graph [data-key=printer]")).to_have_attribute("data-tone", "running")
    printer = Node.objects.get(pk=stage.nodes["printer"].pk)
    move(printer, "verifying", because="the agent reports that it is done")
    relay_once()
    for page in pages:
        expect(page.locator(".graph [data-key=printer] .node-sub")).to_contain_text("Checking")
        expect(page.locator("[data-node=printer] .state").first).to_have_text("Checking")
        expect(page.locator(".feed li").first).to_contain_text("printer: checking")
        assert page.evaluate("window.same"), "the page was loaded again"
        assert page.evaluate("window.complaints") == []
    before = words(pages[0])
    pages[0].reload()
    assert before == words(pages[0])


def test_a_goal_that_is_stated_elsewhere_is_on_open_lists_and_so_is_what_becomes_of_it(
    stage: Stage, visit: Visit
) -> None:
    pages = [live(visit("/"))]
    for path in ("/swarms/", "/projects/textkit/"):  # tabs of one browser share a line, which takes more topics in
        pages.append(pages[0].context.new_page())
        pages[-1].goto(pages[0].url.rstrip("/") + path)
        live(pages[-1])
    for page in pages:
        page.evaluate("window.same = true")
    swarm = goals.state_goal(stage.project, "Count the vowels", by=user_of("alice", "acme"))
    while relay_once():
        pass
    rows = [page.locator(".row", has_text="Count the vowels") for page in pages]
    for row in rows:
        expect(row.locator(".state").first).to_have_text("Planning")
    for to in ("cancelling", "cancelled"):
        move(swarm, to, because="nobody wants it")
    while relay_once():
        pass
    for row in rows:
        expect(row.locator(".state").first).to_have_text("Cancelled")
    expect(pages[0].locator("[aria-labelledby=recent] .row", has_text="Count the vowels")).to_have_count(1)
    budgets.set_limit(stage.project.topic, 7_000_000)
    while relay_once():
        pass
    expect(pages[2].locator("#about-list")).to_contain_text("of $7.00")
    for page in pages:
        assert page.evaluate("window.same"), "the page was loaded again"
        assert page.evaluate("window.complaints") == []


def test_pages_of_runners_and_servers_show_what_no_event_tells_of(stage: Stage, visit: Visit) -> None:
    ahead = timedelta(hours=1)  # however long the test takes, it does not fall silent by itself
    Runner.objects.update(seen_at=timezone.now() + ahead, trusted=True)
    CheckRun.objects.create(swarm=stage.swarm, purpose="landing", commit=stage.head, state="waiting")
    page = live(visit("/agents/"))
    waiting = page.context.new_page()
    waiting.goto(page.url.replace("/agents/", SWARM))
    state, reason = page.locator("[aria-labelledby=runners] .row .state").first, live(waiting).locator("ul.reasons")
    looks = Watch()
    looks.look()
    expect(state).to_have_text("Connected")
    for seen_at, shown, why in (
        (timezone.now() - timedelta(minutes=1), "Silent", "No runner is connected that may run checks"),
        (timezone.now() + ahead, "Connected", "Its checks wait for a free runner"),
    ):
        Runner.objects.update(seen_at=seen_at)
        looks.look()
        expect(state).to_have_text(shown)
        expect(reason).to_contain_text(why)
    page.goto(page.url.replace("/agents/", "/servers/"))
    live(page)
    Server.objects.filter(pk=stage.server.pk).update(latency_ms=4711)
    deltas.hint(current_schema(), "server.seen")
    expect(page.locator(".row", has_text=stage.server.url)).to_contain_text("4711 ms")


def test_what_a_person_types_survives_what_happens_meanwhile(stage: Stage, visit: Visit) -> None:
    page = live(visit(SWARM))
    page.locator(".ask summary").first.click()
    page.locator(".ask textarea").first.fill("because it")
    move(stage.landing, "void", because="not needed")
    relay_once()
    expect(page.locator(".ask")).to_have_count(1)
    expect(page.locator(".ask textarea").first).to_be_visible()
    assert page.locator(".ask textarea").first.input_value() == "because it"


def test_a_refused_form_leads_to_what_is_wrong(stage: Stage, visit: Visit) -> None:
    page = visit("/agents/new/")
    page.get_by_role("textbox", name="Name").fill("anna")
    page.get_by_role("button", name="Add").click()
    roles = page.get_by_role("group", name="Roles")
    expect(roles.get_by_role("checkbox").first).to_be_focused()
    remedy = "Roles: choose at least one: Coordinator, Developer, Writer, Reviewer."
    expect(roles).to_have_accessible_description(remedy)
    expect(page.get_by_role("alert").get_by_role("link", name="Roles")).to_be_visible()
    roles.get_by_role("checkbox").nth(1).check()
    page.get_by_role("button", name="Add").click()  # there is an anna
    name = page.get_by_role("textbox", name="Name")
    expect(name).to_be_focused()
    assert name.get_attribute("aria-invalid") == "true"
    assert page.evaluate("window.complaints") == []


def test_a_plan_that_was_not_taken_says_why_first(stage: Stage, visit: Visit) -> None:
    move(stage.approval, "void", because="another plan")
    page = visit("/projects/textkit/swarms/2/")
    page.locator("summary", has_text="Another plan").click()
    page.get_by_label("Plan as YAML").fill("nodes: [a")
    page.get_by_role("button", name="Use this plan").click()
    expect(page.get_by_role("alert")).to_be_focused()
    expect(page.get_by_role("alert")).to_contain_text("This is not YAML")


def test_what_is_shown_once_is_copied(stage: Stage, visit: Visit) -> None:
    page = visit("/programs/", permissions=["clipboard-read", "clipboard-write"])
    page.get_by_role("textbox", name="Name").fill("nightly")
    page.get_by_role("button", name="Make the token").click()
    page.get_by_role("button", name="Copy the token").click()
    expect(page.get_by_role("status").filter(has_text="Copied")).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()") == page.locator("[data-token]").inner_text()
    page.evaluate("() => { navigator.clipboard.writeText = () => Promise.reject(new Error()) }")
    page.get_by_role("button", name="Copy the token").click()
    expect(page.get_by_role("status").filter(has_text="Selected")).to_be_visible()
    assert page.evaluate("String(getSelection())") == page.locator("[data-token]").inner_text()
    assert page.evaluate("window.complaints") == []


def test_a_page_ends_where_its_content_ends_and_a_menu_closes_with_escape(stage: Stage, visit: Visit) -> None:
    page = visit(SWARM)
    ends = "document.querySelector('main').getBoundingClientRect().bottom + scrollY"
    assert page.evaluate(f"document.documentElement.scrollHeight - {ends}") < 50
    page.locator("summary", has_text="Pause…").click()
    why = page.get_by_label("Why optional").filter(visible=True)
    why.press("Escape")
    expect(why).to_be_hidden()
    expect(page.locator("summary", has_text="Pause…")).to_be_focused()


def test_text_is_shown_as_it_is_written_and_whole_at_the_end(stage: Stage, visit: Visit) -> None:
    session = Session.objects.get(pk=stage.live.session_id)
    page = live(visit(f"/sessions/{session.pk}/"))
    message, part = uuid4(), uuid4()

    def record(**values: Any) -> None:
        transcript.record(session, [PartRecord(id=part, message=message, index=0, kind="text", **values)])
        relay_once()

    transcript.record(session, [MessageRecord(id=message, role="assistant", model="rehearsal")])
    record(state="open", text="")
    raw = page.locator(f'[data-part="{part}"] [data-raw]')
    expect(raw).to_have_count(1)
    schema = Team.objects.get(domains__slug="acme").schema_name
    # Characters count, not UTF-16 units; a piece that comes twice is shown once.
    for offset, text in ((0, "Grüße 🐝 "), (8, f"and {NASTY} "), (0, "Grüße 🐝 "), (8, f"and {NASTY} ")):
        deltas.push(schema, session.pk, [deltas.Piece(part, offset, text)])
    expect(raw).to_have_text(f"Grüße 🐝 and {NASTY} ")
    record(state="done", text="Grüße 🐝 **whole**")
    expect(page.locator(f'[data-part="{part}"] strong')).to_have_text("whole")
    assert page.evaluate("window.complaints") == []
    before = words(page)
    page.reload()
    assert before == words(page)


def test_a_gap_in_streamed_text_is_mended_by_the_whole_part(stage: Stage, visit: Visit) -> None:
    session = Session.objects.get(pk=stage.live.session_id)
    page = live(visit(f"/sessions/{session.pk}/"))
    part = session.messages.get(role="assistant").parts.get(state="open")
    raw = page.locator(f'[data-part="{part.pk}"] [data-raw]')
    expect(raw).to_have_text("writing")
    schema = Team.objects.get(domains__slug="acme").schema_name
    deltas.push(schema, session.pk, [deltas.Piece(part.pk, 20, "later")])
    expect(page.locator(f'[data-part="{part.pk}"][data-gap]')).to_have_count(1)
    expect(raw).to_have_text("writing")
    whole = PartRecord(id=part.pk, message=part.message_id, index=part.index, kind="text", text="writing it all later")
    transcript.record(session, [whole])
    relay_once()
    expect(page.locator(f'[data-part="{part.pk}"]')).to_have_text("writing it all later")


def test_who_was_offline_catches_up_without_a_reload(stage: Stage, visit: Visit) -> None:
    page = live(visit(SWARM))
    page.evaluate("window.same = true")
    page.context.set_offline(True)
    expect(page.locator("#connection")).to_contain_text("Offline since")
    printer = Node.objects.get(pk=stage.nodes["printer"].pk)
    move(printer, "verifying", because="while nobody looked")
    relay_once()
    page.context.set_offline(False)
    live(page)
    expect(page.locator("[data-node=printer] .state").first).to_have_text("Checking")
    expect(page.locator(".feed li").first).to_contain_text("while nobody looked")
    assert page.evaluate("window.same")


def streams(web: Web) -> int:
    """Live streams that the web process has open."""
    with urlopen(f"http://127.0.0.1:{web.port}/metrics", timeout=10) as answer:
        (line,) = re.findall(r"^waggle_streams_open (\S+)$", answer.read().decode(), re.MULTILINE)
    return int(float(line))


def test_tabs_of_a_browser_share_one_connection(stage: Stage, visit: Visit, web: Web) -> None:
    page = live(visit(SWARM))
    tabs = [page, *(page.context.new_page() for _ in range(7))]
    for tab in tabs[1:]:
        tab.goto(page.url.replace(SWARM, f"{SWARM}nodes/printer/"))
        live(tab)
    assert streams(web) == 1
    move(Node.objects.get(pk=stage.nodes["printer"].pk), "verifying", because="it is done")
    relay_once()
    expect(page.locator("[data-node=printer] .state").first).to_have_text("Checking")
    for tab in tabs[1:]:
        expect(tab.locator(".bar .state").first).to_have_text("Checking")
    for tab in tabs:
        tab.close()
    until(lambda: streams(web) == 0)


def test_without_shared_workers_a_page_has_a_connection_of_its_own(stage: Stage, visit: Visit) -> None:
    asked: list[str] = []
    page = visit("/team/")
    page.add_init_script("delete window.SharedWorker")
    page.on("request", lambda request: asked.append(request.url) if "/events?" in request.url else None)
    page.goto(page.url.replace("/team/", f"{SWARM}nodes/printer/"))
    live(page)
    assert len(asked) == 1
    assert f"topic=swarm%3A{stage.swarm.pk}" in asked[0]
    assert f"topic=session%3A{stage.live.session_id}" in asked[0]
    move(Node.objects.get(pk=stage.nodes["printer"].pk), "verifying", because="it is done")
    relay_once()
    expect(page.locator(".bar .state").first).to_have_text("Checking")


def test_the_graph_is_walked_by_keys(stage: Stage, visit: Visit) -> None:
    page = visit(SWARM)
    page.keyboard.press("Tab")
    expect(page.locator(".skip")).to_be_focused()
    page.locator(".graph [data-key=parser]").focus()
    for key, node in (("ArrowRight", "printer"), ("ArrowRight", "docs"), ("ArrowLeft", "printer")):
        page.keyboard.press(key)
        expect(page.locator(f".graph [data-key={node}]")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile("/nodes/printer/$"))


def test_a_decision_is_taken_on_the_swarms_page(stage: Stage, visit: Visit) -> None:
    page = visit("/projects/textkit/swarms/2/")
    page.get_by_role("button", name="Approve").click()
    expect(page.locator(".messages")).to_contain_text("Approved: plan of textkit #2")
    expect(page.locator(".ask")).to_have_count(0)
