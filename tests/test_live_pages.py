"""What pages are sent: HTML made once for all who look, only of what looks different; programs get the events."""

import asyncio
import json
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial
from html.parser import HTMLParser
from typing import Any
from uuid import uuid4

import pytest
from django.conf import settings
from django.db import connection
from django.template.loader import render_to_string
from django.test import Client
from django.utils import timezone
from redis.asyncio.client import PubSub

from agents import standings
from agents.contracts.records import MessageRecord, PartRecord
from sessions import deltas, metrics, renderers, stream, transcript
from sessions.events import publish
from sessions.models import Event, Session
from sessions.pages import Pages
from sessions.relay import relay_once
from sessions.transitions import move
from swarms import regions, showing
from swarms.models import Node, Swarm
from swarms.showing import SwarmPages
from tenants.context import current_schema, in_schema
from tenants.models import Runner, Team
from tests.board_stage import Stage
from tests.conftest import user_of
from tests.test_stream import Visit


@pytest.fixture
def stage(team: Team) -> Stage:
    return Stage(user_of("alice", "acme"))


def node_moved(stage: Stage, key: str, to: str) -> set[str]:
    move(Node.objects.get(pk=stage.nodes[key].pk), to, because="of a test")
    return {"node.moved"}


def test_of_the_nodes_only_what_looks_different_is_sent(stage: Stage) -> None:
    pages, topic = SwarmPages(), stage.swarm.topic
    known: dict[str, Any] = {}
    first = pages.rest(topic, {"node.moved"}, known)
    assert {swap.place for swap in first} >= {f"{topic}/nodes", f"{topic}/graph", f"{topic}/meters"}
    assert pages.rest(topic, {"node.moved"}, known) == []
    second = {swap.place: swap.html for swap in pages.rest(topic, node_moved(stage, "printer", "verifying"), known)}
    assert second.keys() == {f"{topic}/node/printer", f"{topic}/vertex/printer", f"{topic}/summary"}
    assert "Checking" in second[f"{topic}/node/printer"]


def test_a_swapped_row_is_the_row_of_a_fresh_page(stage: Stage) -> None:
    pages, topic = SwarmPages(), stage.swarm.topic
    known: dict[str, Any] = {}
    pages.rest(topic, {"node.moved"}, known)
    for to in ("verifying", "merging", "succeeded"):
        swaps = pages.rest(topic, node_moved(stage, "printer", to), known)
        fresh = "".join(
            render_to_string(f"swarms/_swarm_{name}.html", {"swarm": stage.swarm} | regions.REGIONS[name](stage.swarm))
            for name in ("nodes", "graph")
        )
        rows = [swap for swap in swaps if "/node/" in swap.place or "/vertex/" in swap.place]
        assert rows
        for swap in rows:
            assert swap.html.strip() in fresh


def test_another_shape_of_the_plan_is_sent_whole(stage: Stage) -> None:
    pages, topic = SwarmPages(), stage.swarm.topic
    known: dict[str, Any] = {}
    pages.rest(topic, {"node.moved"}, known)
    printer = stage.nodes["printer"]
    Node.objects.create(swarm=stage.swarm, plan=printer.plan, key="extra", title="Extra", instructions="x")
    found = {swap.place for swap in pages.rest(topic, {"nodes.planned"}, known)}
    assert {f"{topic}/nodes", f"{topic}/graph"} <= found


class Places(HTMLParser):
    """The places of a page, each with the kinds of events after which the region that it is in is fetched."""

    def __init__(self) -> None:
        super().__init__()
        self.kinds: dict[str, list[str]] = {}
        self._open: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._open.append((tag, dict(attrs)))
        around = [given for _, given in self._open if "data-live" in given]
        if (place := dict(attrs).get("data-place")) and around:
            self.kinds[place] = (around[-1].get("data-kinds") or "").split()

    def handle_endtag(self, tag: str) -> None:
        while self._open.pop()[0] != tag:
            pass


def test_what_the_stream_brings_is_also_fetched_by_who_was_away(
    client_for: Callable[..., Client], stage: Stage, team: Team
) -> None:
    """After each kind of event that changes a place: whoever missed it is sent no HTML."""
    doing = {f"doing/{stage.live.session_id}": ("agent.doing",)}
    nodes = {"nodes": showing.NODES, "graph": showing.NODES}
    whole = nodes | doing | {"now": showing.NOW, "meters": showing.METERS, "checks": showing.CHECKS}
    base = f"/projects/textkit/swarms/{stage.swarm.number}/"
    for path, places in ((base, whole), (f"{base}nodes/printer/", doing)):
        found = Places()
        found.feed(client_for(stage.by, team).get(path).text)
        for name, kinds in places.items():
            heard = found.kinds[f"{stage.swarm.topic}/{name}"]
            assert [kind for kind in kinds if not kind.startswith(tuple(heard))] == [], f"{name} of {path}"


def test_a_page_whose_transcript_is_of_an_earlier_attempt_is_told(
    client_for: Callable[..., Client], stage: Stage, team: Team
) -> None:
    bob = client_for(user_of("bob", "acme"), team)
    path = f"/projects/textkit/swarms/{stage.swarm.number}/nodes/printer/state/"
    newer = "Attempt 1 has begun"
    assert newer not in bob.get(f"{path}?shown={stage.live.session_id}").text
    for shown in ("", str(uuid4())):
        assert newer in bob.get(f"{path}?shown={shown}").text


def test_what_an_agent_does_goes_to_its_place(stage: Stage) -> None:
    topic, session = stage.swarm.topic, str(stage.live.session_id)
    doing = publish(topic, "agent.doing", agent="developer-2", session=session, text="<b>x</b>")
    said = publish(topic, "decision.made", by="engine", what="go on", why="why not")
    first, second = SwarmPages().each([doing, said])
    assert [swap.place for swap in first] == [f"{topic}/doing/{session}"]
    assert "&lt;b&gt;x" in first[0].html
    assert [swap.place for swap in second] == ["feed"]
    assert f'data-seq="{said.seq}"' in second[0].html


def test_a_part_comes_whole_with_its_last_event(team: Team) -> None:
    row = Session.objects.create(subject=f"swarm:{uuid4()}", title="t", agent="developer-1")
    message, part = uuid4(), uuid4()
    transcript.record(row, [MessageRecord(id=message, role="assistant")])
    for state, text in (("open", ""), ("done", "**bold**")):
        record = PartRecord(id=part, message=message, index=0, kind="text", state=state, text=text)
        transcript.record(row, [record])
    events = list(Event.objects.filter(subject=f"session:{row.pk}").order_by("seq"))
    shown = renderers.each(team.schema_name, events)
    assert [len(swaps or []) for swaps in shown] == [0, 0, 1]
    assert "<strong>bold</strong>" in shown[2][0].html


def test_pages_fetch_what_nobody_can_render(team: Team, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> None:
        raise RuntimeError("no template")

    monkeypatch.setattr(SwarmPages, "each", broken)
    monkeypatch.setattr(SwarmPages, "rest", broken)
    topic = f"swarm:{uuid4()}"
    events = [publish(topic, "decision.made", by="x", what="y", why="z"), publish("team", "breaker.moved", **BREAKER)]
    assert renderers.each(team.schema_name, events) == [None, None]
    assert renderers.rest(team.schema_name, {topic: {"node.moved"}}, {topic: {}}) == {topic: None}


BREAKER = {"name": "model", "before": "closed", "after": "open"}


# From here on rows commit, and the application answers.


class PageVisit(Visit):
    """A page, of which the messages are read."""

    def __init__(self, cookie: str, topic: str, form: str = "html", accept: str = "", after: int | None = None) -> None:
        self.query = f"topic={topic}" + (f"&as={form}" if form else "")
        self.accept = accept
        super().__init__(cookie, after, topic)
        self.scope["query_string"] = self.query.encode()
        if accept:
            self.scope["headers"].append((b"accept", accept.encode()))

    @property
    def messages(self) -> list[tuple[str, dict[str, Any]]]:
        blocks = [block for block in self.body.decode().split("\n\n") if "data: " in block]
        return [
            (block.partition("event: ")[2].partition("\n")[0], json.loads(block.partition("data: ")[2]))
            for block in blocks
        ]


@pytest.fixture
def committed_stage(committed_team: Team) -> Stage:
    made = Stage(user_of("alice", "acme"))
    while relay_once():
        pass
    return made


@pytest.fixture
def cookie(committed_team: Team) -> str:
    browser = Client()
    browser.force_login(user_of("bob", "acme"))
    return f"{settings.SESSION_COOKIE_NAME}={browser.cookies[settings.SESSION_COOKIE_NAME].value}"


async def committed(verb: Callable[[], object]) -> None:
    schema = current_schema()

    def run() -> None:
        try:
            with in_schema(schema):
                verb()
                while relay_once():
                    pass
        finally:
            connection.close()

    await asyncio.to_thread(run)


async def until(holds: Callable[[], object]) -> None:
    async with asyncio.timeout(30):
        while not holds():
            await asyncio.sleep(0.01)


def rendered() -> float:
    return float(metrics.PAGES_RENDERED._value.get())


def test_an_event_is_rendered_once_however_many_look(committed_stage: Stage, cookie: str) -> None:
    topic = committed_stage.swarm.topic

    async def watch() -> None:
        before = rendered()
        pages = [PageVisit(cookie, topic) for _ in range(8)]
        program = PageVisit(cookie, topic, form="json")
        await asyncio.gather(*(page.saw(b"retry:") for page in [*pages, program]))
        await committed(lambda: node_moved(committed_stage, "printer", "verifying"))
        await until(lambda: all(len(page.messages) >= 2 for page in pages) and program.messages)
        assert rendered() - before == 1
        for page in pages:
            (name, told), (rest, swapped), *_ = page.messages
            assert (name, told["kind"], told["owed"], told["swaps"][0][0]) == ("change", "node.moved", True, "feed")
            assert rest == "swaps"
            assert {place for place, _ in swapped["swaps"]} >= {f"{topic}/nodes", f"{topic}/graph"}
        (name, told) = program.messages[0]
        assert (name, told["payload"]["after"]) == ("change", "verifying")
        assert len(program.messages) == 1
        for page in [*pages, program]:
            await page.leave()

    asyncio.run(watch())


def test_what_was_missed_is_named_and_pages_fetch_it(committed_stage: Stage, cookie: str) -> None:
    topic, last = committed_stage.swarm.topic, Event.objects.order_by("position").last()

    async def watch() -> None:
        await committed(lambda: node_moved(committed_stage, "printer", "verifying"))
        page = PageVisit(cookie, topic, after=last.position)
        await until(lambda: page.messages)
        assert page.messages[0] == ("change", {"topic": topic, "seq": page.messages[0][1]["seq"], "kind": "node.moved"})
        await page.leave()

    asyncio.run(watch())


def test_a_page_made_between_a_change_and_its_taking_back_is_told(
    committed_stage: Stage, cookie: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    swarm, show_rest = Swarm.objects.get(pk=committed_stage.swarm.pk), Pages._show_rest
    topic = swarm.topic

    async def watch() -> None:
        may_show = asyncio.Event()
        may_show.set()

        async def when_it_may(pages: Pages) -> None:
            await may_show.wait()
            await show_rest(pages)

        monkeypatch.setattr(Pages, "_show_rest", when_it_may)
        first = PageVisit(cookie, topic)
        await first.saw(b"retry:")
        await committed(lambda: move(swarm, "paused", because="b"))
        await committed(lambda: move(swarm, "running", because="b"))
        await until(lambda: [name for name, _ in first.messages].count("change") == 2)
        await until(lambda: first.messages[-1][0] == "swaps")
        may_show.clear()
        await committed(lambda: move(swarm, "paused", because="b"))
        await until(lambda: [name for name, _ in first.messages].count("change") == 3)
        second = PageVisit(cookie, topic)
        await second.saw(b"retry:")
        await committed(lambda: move(swarm, "running", because="b"))
        may_show.set()
        await until(lambda: "change" in [name for name, _ in second.messages])
        await until(lambda: any(name == "swaps" and told["swaps"] for name, told in second.messages))
        for page in (first, second):
            await page.leave()

    asyncio.run(watch())


def test_the_form_is_asked_for_by_a_parameter_or_by_accept(committed_stage: Stage, cookie: str) -> None:
    topic = committed_stage.swarm.topic

    async def watch() -> None:
        page = PageVisit(cookie, topic, form="", accept="text/html, text/event-stream")
        program = PageVisit(cookie, topic, form="", accept="application/json")
        wrong = PageVisit(cookie, topic, form="xml")
        await wrong.task
        assert wrong.status == 400
        await asyncio.gather(page.saw(b"retry:"), program.saw(b"retry:"))
        await committed(lambda: publish(topic, "decision.made", by="x", what="y", why="z"))
        await until(lambda: page.messages and program.messages)
        assert "swaps" in page.messages[0][1]
        assert "payload" in program.messages[0][1]
        await page.leave()
        await program.leave()

    asyncio.run(watch())


def test_nobody_renders_when_nobody_looks(committed_stage: Stage, cookie: str) -> None:
    async def watch() -> None:
        before = rendered()
        page = PageVisit(cookie, "team")
        await page.saw(b"retry:")
        await committed(lambda: node_moved(committed_stage, "printer", "verifying"))
        await committed(lambda: publish("team", "breaker.moved", **BREAKER))
        await until(lambda: page.messages)
        assert [told["kind"] for _, told in page.messages] == ["breaker.moved"]
        assert "swaps" not in page.messages[0][1]
        assert rendered() - before == 1
        await page.leave()
        hub = stream._hub_of_this_loop()
        assert hub._rooms == {}

    asyncio.run(watch())


def test_a_list_of_swarms_hears_of_all_and_who_looks_at_one_gets_its_html(committed_stage: Stage, cookie: str) -> None:
    topic, before = committed_stage.swarm.topic, rendered()

    async def watch() -> None:
        listing, program = PageVisit(cookie, "swarms"), PageVisit(cookie, "swarms", "json")
        both = PageVisit(cookie, f"swarms&topic={topic}")
        for page in (listing, both, program):
            await page.saw(b"retry:")
        await committed(lambda: publish("team", "breaker.moved", **BREAKER))
        await committed(lambda: publish(topic, "decision.made", by="x", what="y", why="z"))
        await committed(lambda: publish(f"swarm:{uuid4()}", "decision.made", by="x", what="of another", why="z"))
        await until(lambda: all(len(page.messages) == 2 for page in (listing, both, program)))
        shown = [[("swaps" in told, told["topic"] == topic) for _, told in one.messages] for one in (listing, both)]
        assert shown == [[(False, True), (False, False)], [(True, True), (False, False)]]
        assert [told["payload"]["what"] for _, told in program.messages] == ["y", "of another"]
        for page in (listing, both, program):
            await page.leave()

    asyncio.run(watch())
    assert rendered() - before == 1, "nothing is rendered for who only lists"


def test_pages_are_hinted_at_what_no_event_tells_of(committed_stage: Stage, cookie: str) -> None:
    schema, runner, looks = current_schema(), Runner.objects.get(), standings.Watch()
    seen = [timezone.now(), timezone.now(), timezone.now() - timedelta(hours=1), timezone.now() - timedelta(hours=2)]

    def look(seen_at: datetime) -> None:
        Runner.objects.filter(pk=runner.pk).update(seen_at=seen_at, channel="there")
        looks.look()

    async def watch() -> None:
        page, program = PageVisit(cookie, "team"), PageVisit(cookie, "team", "json")
        for visit in (page, program):
            await visit.saw(b"retry:")
        hub = stream._hub_of_this_loop()
        await until(lambda: hub._rooms[schema].hears.is_set())
        for seen_at in seen:
            await committed(partial(look, seen_at))
        deltas.hint("t_other", "runner.seen")
        deltas.hint(schema, "server.seen")
        await until(lambda: len(page.messages) == 2)
        assert [(name, told["kind"]) for name, told in page.messages] == [
            ("hint", "runner.seen"),
            ("hint", "server.seen"),
        ]
        assert program.messages == []
        for visit in (page, program):
            await visit.leave()

    asyncio.run(watch())


def test_a_page_that_may_have_missed_hints_is_told_so(
    committed_stage: Stage, cookie: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Redis takes longer to let its room listen than the page is kept waiting for it."""
    connect, goes = PubSub.connect, asyncio.Event()

    async def late(channels: PubSub) -> None:
        await goes.wait()
        await connect(channels)

    async def watch() -> None:
        page = PageVisit(cookie, "team")
        await page.saw(b"retry:")
        goes.set()
        await until(lambda: len(page.messages) == 1)
        assert page.messages == [("hint", {"topic": "team", "kind": ""})]
        await page.leave()

    monkeypatch.setattr(PubSub, "connect", late)
    monkeypatch.setattr("sessions.hub.HEARS_SECONDS", 0.05)
    asyncio.run(watch())
