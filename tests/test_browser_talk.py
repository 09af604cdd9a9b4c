"""People talk to agents at work in a real browser, see each other, and lose nothing that they type."""

from typing import Any
from uuid import uuid4

import pytest
from playwright.sync_api import expect

from agents import steering
from agents.contracts import Doing, MessageRecord, PartRecord
from agents.models import Steer
from sessions import transcript
from sessions.models import Part
from sessions.relay import relay_once
from sessions.transitions import move
from swarms.models import Node
from tenants.models import Team
from tests.board_stage import Stage
from tests.conftest import user_of
from tests.test_browser import CHROMIUM, SWARM, Visit, browser, live, visit, web  # noqa: F401
from tests.web import elsewhere, until

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: apt-get install chromium"),
    pytest.mark.timeout(300),
]


@pytest.fixture
def stage(committed_team: Team) -> Stage:
    made = Stage(user_of("alice", "acme"))
    while relay_once():
        pass
    return made


def ask(stage: Stage, text: str = "Which way?", **given: Any) -> Part:
    message = MessageRecord(id=uuid4(), role="assistant")
    part = PartRecord(id=uuid4(), message=message.id, index=0, kind="question", state="open", text=text, input=given)
    transcript.record(stage.live.session, [message, part])
    relay_once()
    return Part.objects.get(pk=part.id)


def test_what_is_said_shows_everywhere_under_its_name_and_once(stage: Stage, visit: Visit) -> None:  # noqa: F811
    session = f"/sessions/{stage.live.session_id}/"
    bob, vera = live(visit(session, who="bob")), live(visit(session, who="vera"))
    expect(vera.locator(".composer")).to_have_count(0)
    expect(bob.locator(".present abbr")).to_have_count(2)
    field = bob.locator(".composer textarea")
    field.fill("Mind the <b>tests</b>.")
    bob.get_by_role("button", name="Send").click()
    expect(field).to_have_value("")
    relay_once()
    for page in (bob, vera):
        turn = page.locator(".turn").last
        expect(turn.locator(".turn-head b")).to_have_text("Bob")
        expect(turn).to_contain_text("Mind the <b>tests</b>.")
        expect(page.locator(".unheard")).to_contain_text("hears it before its next step")
    assert Steer.objects.get().text == "Mind the <b>tests</b>."
    steering.took({stage.live.pk: [Steer.objects.get().pk]})
    relay_once()
    for page in (bob, vera):
        expect(page.locator(".unheard")).to_have_count(0)
        assert page.evaluate("window.complaints") == []


def test_an_interrupt_needs_no_words(stage: Stage, visit: Visit) -> None:  # noqa: F811
    page = live(visit(f"{SWARM}nodes/printer/", who="bob"))
    expect(page.locator(".present abbr")).to_have_count(1)
    page.get_by_role("button", name="Interrupt").click()
    until(lambda: Steer.objects.filter(kind="interrupt").count() == 1)
    relay_once()
    expect(page.locator(".turn").last).to_contain_text("Stop what you are doing.")


def test_a_question_is_answered_on_the_swarms_page_and_is_gone_everywhere(stage: Stage, visit: Visit) -> None:  # noqa: F811
    alice, bob, vera = (live(visit(SWARM, who=who)) for who in ("alice", "bob", "vera"))
    part = ask(stage, options=["left", "right <i>"])
    for page in (alice, bob, vera):
        expect(page.locator("[aria-label='Question of developer-2']")).to_contain_text("Which way?")
    expect(vera.locator(".ask form[data-steer]")).to_have_count(0)
    expect(alice.locator(".present abbr")).to_have_count(3)
    alice.get_by_role("button", name="right <i>").click()
    until(lambda: Part.objects.get(pk=part.pk).state == "done")
    assert Part.objects.get(pk=part.pk).output == "Alice: right <i>"
    relay_once()
    for page in (alice, bob, vera):
        expect(page.locator("[aria-label='Question of developer-2']")).to_have_count(0)
        expect(page.locator(".feed li").first).to_contain_text("Alice answered developer-2")
        assert page.evaluate("window.complaints") == []


def test_who_was_slower_is_told_and_keeps_what_was_typed(stage: Stage, visit: Visit) -> None:  # noqa: F811
    part = ask(stage)
    page = live(visit(SWARM, who="bob"))
    expect(page.locator(".present abbr")).to_have_count(1)
    page.locator(".ask input[name=text]").fill("the long way")
    alice = user_of("alice", "acme")
    elsewhere(lambda: steering.answer(stage.live.session, part.pk, "the short way", by=alice))
    page.get_by_role("button", name="Answer", exact=True).click()
    expect(page.locator(".ask [data-said]").first).to_contain_text("Somebody was faster")
    assert page.locator(".ask input[name=text]").first.input_value() == "the long way"


def test_focus_caret_and_words_survive_what_is_swapped_meanwhile(stage: Stage, visit: Visit) -> None:  # noqa: F811
    page = live(visit(SWARM, who="bob"))
    ask(stage, "First?")
    field = page.locator(".ask input[name=text]").first
    field.press_sequentially("it is")
    field.press("Home")
    ask(stage, "Second?")
    move(Node.objects.get(pk=stage.nodes["printer"].pk), "verifying", because="it is done")
    transcript.record(stage.live.session, [Doing(text="something else")])
    relay_once()
    expect(page.locator("[data-node=printer] .state").first).to_have_text("Checking")
    expect(page.locator("[aria-label='Question of developer-2']")).to_have_count(2)
    page.keyboard.type("Yes, ")
    first = page.locator("[aria-label='Question of developer-2']", has_text="First?").locator("input[name=text]")
    expect(first).to_be_focused()
    assert first.input_value() == "Yes, it is"


def test_without_a_websocket_the_form_goes_the_usual_way(stage: Stage, visit: Visit) -> None:  # noqa: F811
    page = visit("/team/", who="bob")
    page.add_init_script("window.WebSocket = class { constructor() { throw new Error('none here'); } }")
    page.goto(page.url.replace("/team/", f"/sessions/{stage.live.session_id}/"))
    page.locator(".composer textarea").fill("hello")
    page.get_by_role("button", name="Send").click()
    expect(page.locator(".turn").last).to_contain_text("hello")
    assert Steer.objects.count() == 1


def test_who_leaves_is_no_longer_shown(stage: Stage, visit: Visit) -> None:  # noqa: F811
    bob, vera = live(visit(SWARM, who="bob")), live(visit(SWARM, who="vera"))
    expect(bob.locator(".present abbr")).to_have_text(["B", "V"])
    expect(bob.locator(".present")).to_have_attribute("aria-label", "Looking at this swarm: Bob, Vera")
    vera.close()
    expect(bob.locator(".present abbr")).to_have_text(["B"])
