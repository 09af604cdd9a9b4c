"""A page that was open all the time shows what a fresh one shows: after every kind of event, and after every break."""

import re
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from io import BytesIO
from typing import Any
from uuid import uuid4

import pytest
from django.utils import timezone
from playwright.sync_api import Page

from agents import steering
from agents.contracts import Doing, MessageRecord, PartRecord, Usage
from agents.models import Budget, Execution, ModelCall, Steer
from bench.chaos.proxy import Network
from sessions import transcript
from sessions.artifacts.keeping import keep, remove
from sessions.events import publish
from sessions.models import Event, Subject
from sessions.relay import Relay, relay_once
from sessions.transitions import move, move_all
from swarms import operations, planned, words
from swarms.models import Attempt, CheckRun, Edge, Merge, Node, Plan, Swarm
from tenants.models import Team
from tests.board_stage import Stage
from tests.conftest import user_of
from tests.stage_parts import execution, plan_document
from tests.test_browser import CHROMIUM, SWARM, Visit, browser, live, visit, web  # noqa: F401
from tests.web import ROOT, Web, elsewhere, free_port, serve

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: apt-get install chromium"),
    pytest.mark.timeout(600),
]
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
PRINTER = f"{SWARM}nodes/printer/"


@pytest.fixture
def stage(committed_team: Team) -> Stage:
    made = Stage(user_of("alice", "acme"))
    while relay_once():
        pass
    return made


def same(page: Page, fresh: Page, what: str, seconds: float = 40) -> None:
    """Wait until the page shows what a fresh one shows; else tell the first difference."""
    path = re.sub(r"^http://[^/]+", "", page.url)
    fresh.goto(re.sub(r"^(http://[^/]+).*", r"\1", fresh.url) + path)
    wanted = fresh.evaluate(SHOWN)
    deadline = time.monotonic() + seconds
    while (shown := page.evaluate(SHOWN)) != wanted and time.monotonic() < deadline:
        time.sleep(0.1)
    if shown != wanted:
        place = next((n for n, pair in enumerate(zip(shown, wanted, strict=False)) if pair[0] != pair[1]), -1)
        around = slice(max(0, place - 5), place + 8)
        pytest.fail(f"after {what}, {path} shows\n{shown[around]}\nand a fresh one\n{wanted[around]}")


class Happenings:
    """Everything that may happen to the swarm of the stage, one after the other, with its rows and its events."""

    def __init__(self, stage: Stage) -> None:
        self.stage, self.topic = stage, stage.swarm.topic
        self.alice, self.session = user_of("alice", "acme"), stage.live.session
        self.swarm = Swarm.objects.get(pk=stage.swarm.pk)

    def all(self) -> list[Callable[[], object]]:
        return [getattr(self, name) for name in type(self).__dict__ if not name.startswith("_") and name != "all"]

    def _node(self, key: str) -> Node:
        return Node.objects.get(swarm=self.swarm, key=key)

    def doing(self) -> None:
        transcript.record(self.session, [Doing(text="writes <b>a</b> line")])

    def parts_of_every_kind(self) -> None:
        message = MessageRecord(id=uuid4(), role="assistant", model="rehearsal")

        def part(index: int, kind: str, **values: Any) -> PartRecord:
            return PartRecord(id=uuid4(), message=message.id, index=index, kind=kind, **values)

        records = [
            part(0, "text", text="**Hello** there"),
            part(1, "reasoning", text="Hm."),
            part(2, "tool", tool="write_file", input={"path": "printer/x.py"}, output="ok", started_at=timezone.now()),
            part(3, "file", input={"name": "a.md", "mime": "text/markdown"}, text="# A"),
            part(4, "patch", text="diff --git a/x b/x\n+y"),
            part(5, "question", text="Which?", state="failed", output="Nobody answered."),
            part(6, "step", usage=Usage(input_tokens=10, output_tokens=3)),
            part(7, "error", text="a complaint", state="failed"),
        ]
        transcript.record(self.session, [message, *records, Doing(text="has written")])

    def part_that_grows_and_ends(self) -> None:
        message, part = MessageRecord(id=uuid4(), role="assistant"), uuid4()
        for state, text in (("open", "so far"), ("done", "so far and to the end")):
            record = PartRecord(id=part, message=message.id, index=0, kind="text", state=state, text=text)
            transcript.record(self.session, [message, record])
            relay_once()

    def question(self) -> None:
        message = MessageRecord(id=uuid4(), role="assistant")
        self._part = PartRecord(
            id=uuid4(),
            message=message.id,
            index=0,
            kind="question",
            state="open",
            text="Left?",
            input={"options": ["a"]},
        )
        transcript.record(self.session, [message, self._part])

    def answer(self) -> None:
        elsewhere(lambda: steering.answer(self.session, self._part.id, "a", by=self.alice))

    def message_and_that_it_is_heard(self) -> None:
        elsewhere(lambda: steering.say(self.session, "Mind <b>the</b> tests.", by=self.alice))
        relay_once()
        steering.took({self.stage.live.pk: list(Steer.objects.filter(kind="message").values_list("pk", flat=True))})

    def model_called(self) -> None:
        ModelCall.objects.create(
            execution=self.stage.live, model="rehearsal", rehearsal=True, status=200, input_tokens=50, output_tokens=5
        )
        words = {"session": str(self.session.pk), "model": "rehearsal", "rehearsal": True, "status": 200}
        publish(self.topic, "model.called", **words, input_tokens=50, output_tokens=5, cost_microusd=None)

    def budget(self) -> None:
        Budget.objects.filter(subject=self.topic).update(limit_microusd=9_000_000)
        words = {"budget": self.topic, "limit_microusd": 9_000_000, "soft_percent": 80}
        publish(self.topic, "budget.set", **words)

    def paused_and_resumed(self) -> None:
        move(self.swarm, "paused", because="a person wants it")
        relay_once()
        move(self.swarm, "running", because="a person wants it")

    def paused(self) -> None:
        move(self.swarm, "paused", because="once more")

    def resumed(self) -> None:
        move(self.swarm, "running", because="go on")

    def priority_and_deadline(self) -> None:
        operations.set_priority(self.swarm, 7, by=self.alice)
        operations.set_deadline(self.swarm, timezone.now() + timedelta(days=3), by=self.alice)

    def node_moves(self) -> None:
        move(self._node("printer"), "verifying", because="the agent is done")

    def nodes_move_together(self) -> None:
        moves = move_all([self._node("printer")], "ready", because="checks failed")
        publish(self.topic, "nodes.moved", moves=moves)

    def node_runs_again(self) -> None:
        move(self._node("printer"), "running", because="attempt 1 goes on")

    def node_is_planned(self) -> None:
        printer = self._node("printer")
        made = Node.objects.create(
            swarm=self.swarm,
            plan=printer.plan,
            key="extra",
            title="Extra",
            role="developer",
            instructions="Do.",
            state="blocked",
        )
        Edge.objects.create(parent=printer, child=made)
        planned.tell(self.swarm, [made])

    def approval_asked_and_decided(self) -> None:
        publish(self.topic, "approval.asked", approval="x", kind="landing", title="Landing")
        words = {"approval": str(self.stage.landing.pk), "kind": "landing", "title": "Landing", "verdict": "approved"}
        move(self.stage.landing, "approved", because="good", decided_by=self.alice, decided_at=timezone.now())
        publish(self.topic, "approval.decided", **words, by="Alice", automatic=False)

    def plan(self) -> None:
        document = plan_document()
        made = Plan.objects.create(
            swarm=self.swarm, version=2, state="drafting", source="coordinator", document=document, warnings=["Mind."]
        )
        move(made, "proposed", because="it is valid", digest="d")
        words = {"plan": str(made.pk), "version": 2, "source": "coordinator", "nodes": ["a"], "warnings": ["Mind."]}
        publish(self.topic, "plan.proposed", **words)

    def checks(self) -> None:
        run = CheckRun.objects.create(swarm=self.swarm, purpose="integration", commit=self.stage.head, state="waiting")
        move(run, "running", because="on a runner")
        relay_once()
        result = {
            "name": "t",
            "command": "make",
            "commit": self.stage.head,
            "exit_code": 0,
            "seconds": 1.0,
            "output": "x",
        }
        results = [result | {"truncated": False, "passed": 3, "failed": 0}]
        move(run, "passed", because="3 passed", results=results, ended_at=timezone.now())
        words = {"purpose": "integration", "commit": self.stage.head, "passed": 1, "total": 1}
        publish(self.topic, "checks.finished", **words)

    def what_only_the_feed_tells(self) -> None:
        self.stage._tell()
        publish(self.topic, "swarm.rolled_back", branch="main", commit=self.stage.head, pushed="not pushed")

    def artifact_kept_and_removed(self) -> None:
        made = [keep(self.session, BytesIO(name.encode()), name=name, media_type="text/plain") for name in "xy"]
        remove(made[0])

    def merge(self) -> None:
        attempt = Attempt.objects.get(node=self._node("printer"))
        made = Merge.objects.create(swarm=self.swarm, attempt=attempt, state="queued")
        move(made, "conflicted", because="lines", conflicts=["a.py"], ended_at=timezone.now())

    def another_agent(self) -> None:
        live: Execution = execution(self.swarm, self.stage.runner, f"plan:{uuid4()}", "coordinator-3", kind="plan")
        words = {"kind": "plan", "subject": live.subject, "agent": live.agent, "runner": self.stage.runner.name}
        told = words | {"session": str(live.session_id), "title": live.session.title}
        publish(self.topic, "execution.placed", execution=str(live.pk), **told)
        move(live, "running", because="it began", started_at=timezone.now())

    def attempt_ends(self) -> None:
        live = Execution.objects.get(pk=self.stage.live.pk)
        move(live, "failed", because="it gave up", reason="agent_error", ended_at=timezone.now())
        transcript.close(self.session)
        attempt = Attempt.objects.get(node=self._node("printer"))
        move(attempt, "failed", because="it gave up", reason="agent_error", ended_at=timezone.now())


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


def test_a_page_comes_to_the_next_process_by_itself(stage: Stage, visit: Visit, tmp_path: Any) -> None:  # noqa: F811
    happenings, port = Happenings(stage), free_port()
    with serve("config.asgi:application", tmp_path, port) as first:
        page = visit(SWARM)
        page.goto(re.sub(r":\d+/", f":{port}/", page.url, count=1))
        live(page)
        page.evaluate("window.same = true")
        first.end()
    happenings.node_moves()
    relay_once()
    with serve("config.asgi:application", tmp_path, port):
        fresh = visit(SWARM)
        same(page, fresh, "a restart", 60)
        live(page)
        happenings.nodes_move_together()
        relay_once()
        same(page, fresh, "a restart and more")
        assert page.evaluate("window.same")


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
