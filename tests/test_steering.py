"""People steer agents: a row, an event and a message first; then it is delivered until the agent has it."""

import threading
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest
from django.core.exceptions import ValidationError
from django.db import connection, transaction
from django.test import Client

from agents import leases, steering
from agents.contracts import MessageRecord, PartRecord
from agents.contracts.link import Beat
from agents.executions import end
from agents.models import Execution, Steer
from agents.states import ExecutionState
from sessions import talk, transcript
from sessions.models import Event, Message, Part, Session
from tenants.context import current_schema, in_schema
from tenants.models import Team, User
from tests.board_stage import Stage
from tests.conftest import user_of

ClientFor = Callable[..., Client]


@pytest.fixture
def stage(team: Team) -> Stage:
    return Stage(user_of("alice", "acme"))


@pytest.fixture
def live(stage: Stage) -> Execution:
    return stage.live


@pytest.fixture
def bob(team: Team) -> User:
    return user_of("bob", "acme")


def asked(session: Session, **given: Any) -> Part:
    """A question that the agent of a session asks."""
    message = MessageRecord(id=uuid4(), role="assistant")
    record = PartRecord(
        id=uuid4(), message=message.id, index=0, kind="question", state="open", text="Which?", input=given
    )
    transcript.record(session, [message, record])
    return Part.objects.get(pk=record.id)


def beat(execution: Execution, *taken: Any) -> Any:
    given = Beat(execution=execution.pk, fence=execution.fence, taken=taken)
    return leases.heartbeats([given])[execution.pk]


def told(execution: Execution, kind: str) -> list[dict[str, Any]]:
    events = Event.objects.filter(subject=execution.event_subject, kind=kind).order_by("seq")
    return [event.payload for event in events]


def test_a_message_is_a_row_an_event_and_a_message_in_the_transcript(live: Execution, bob: User) -> None:
    made = steering.say(live.session, "  Mind the <tests>.\x00 ", by=bob)
    assert (made.text, made.name, made.taken_at) == ("Mind the <tests>.\ufffd", "Bob", None)
    (event,) = told(live, "session.steered")
    assert (event["kind"], event["by"], event["agent"], event["text"]) == ("message", "Bob", live.agent, made.text)
    assert Event.objects.get(kind="session.steered").actor == f"user:{bob.pk}"
    message = Message.objects.filter(session=live.session).order_by("number").last()
    assert message is not None
    assert (message.role, message.author, message.parts.get().text) == ("user", "Bob", made.text)


def test_it_comes_with_each_heartbeats_answer_until_it_is_taken(live: Execution, bob: User) -> None:
    first, second = steering.say(live.session, "one", by=bob), steering.interrupt(live.session, by=bob)
    for _ in range(2):
        assert [(s.id, s.kind, s.text, s.by) for s in beat(live).steer] == [
            (first.pk, "message", "one", "Bob"),
            (second.pk, "interrupt", "", "Bob"),
        ]
    assert [s.id for s in beat(live, first.pk).steer] == [second.pk]
    assert beat(live, first.pk, second.pk).steer == ()
    assert [event["steer"] for event in told(live, "session.heard")] == [str(first.pk), str(second.pk)]
    assert Steer.objects.filter(taken_at=None).count() == 0


def test_nobody_takes_words_that_were_said_to_another(live: Execution, stage: Stage, bob: User) -> None:
    said = steering.say(live.session, "one", by=bob)
    other = Execution.objects.exclude(pk=live.pk).first()
    assert other is not None
    steering.took({other.pk: [said.pk]})
    assert beat(live).steer[0].id == said.pk


def test_saying_it_twice_under_one_key_says_it_once(live: Execution, bob: User) -> None:
    key = uuid4()
    first = steering.say(live.session, "one", by=bob, key=key)
    assert steering.say(live.session, "one", by=bob, key=key) == first
    assert len(told(live, "session.steered")) == 1
    with pytest.raises(ValidationError, match="somebody else"), transaction.atomic():
        steering.say(live.session, "one", by=user_of("alice", "acme"), key=key)


@pytest.mark.parametrize("text", ["", "  \n", "x" * (steering.LONGEST + 1)])
def test_nothing_and_too_much_cannot_be_said(live: Execution, bob: User, text: str) -> None:
    with pytest.raises(ValidationError):
        steering.say(live.session, text, by=bob)
    assert not Steer.objects.exists()


def test_nobody_hears_what_is_said_after_the_end(live: Execution, bob: User) -> None:
    end(live.pk, ExecutionState.LOST, reason="lost", because="x")
    for verb in (lambda: steering.say(live.session, "one", by=bob), lambda: steering.interrupt(live.session, by=bob)):
        with pytest.raises(steering.NotNow, match="ended"):
            verb()


def test_checks_have_nobody_to_talk_to(live: Execution, bob: User) -> None:
    Execution.objects.filter(pk=live.pk).update(kind="check")
    with pytest.raises(steering.NotNow, match="no agent"):
        steering.say(live.session, "one", by=bob)


def test_a_question_is_told_and_its_first_answer_counts(live: Execution, bob: User) -> None:
    part = asked(live.session, options=["a", "b"])
    (event,) = told(live, "question.asked")
    assert (event["part"], event["text"], event["options"]) == (str(part.pk), "Which?", ["a", "b"])
    assert talk.open_questions(live.session.subject) == [part]
    steering.answer(live.session, part.pk, "b", by=bob)
    part.refresh_from_db()
    assert (part.state, part.output) == ("done", "Bob: b")
    assert talk.open_questions(live.session.subject) == []
    (words,) = beat(live).steer
    assert (words.kind, words.question, words.text) == ("answer", part.pk, "b")
    with pytest.raises(steering.NotNow, match="faster"):
        steering.answer(live.session, part.pk, "a", by=user_of("alice", "acme"))


def test_an_answer_is_not_undone_by_what_the_runtime_records_later(live: Execution, bob: User) -> None:
    part = asked(live.session)
    steering.answer(live.session, part.pk, "b", by=bob)
    late = PartRecord(
        id=part.pk, message=part.message_id, index=0, kind="question", state="failed", text="Which?", output="z" * 500
    )
    transcript.record(live.session, [late])
    part.refresh_from_db()
    assert (part.state, part.output) == ("done", "Bob: b")


def test_what_was_given_up_or_is_no_question_cannot_be_answered(live: Execution, bob: User) -> None:
    part = asked(live.session)
    given_up = {"state": "failed", "output": "Nobody answered."}
    record = PartRecord(id=part.pk, message=part.message_id, index=0, kind="question", text="Which?", **given_up)
    transcript.record(live.session, [record])
    other = Part.objects.filter(message__session=live.session, kind="text").first()
    assert other is not None
    for question in (part.pk, other.pk, uuid4()):
        with pytest.raises(steering.NotNow, match="no open question"), transaction.atomic():
            steering.answer(live.session, question, "b", by=bob)
    assert not Steer.objects.exists()
    assert told(live, "session.steered") == []


def test_a_session_that_ends_closes_its_questions(live: Execution) -> None:
    part = asked(live.session)
    end(live.pk, ExecutionState.LOST, reason="lost", because="x")
    part.refresh_from_db()
    assert part.state == "failed"
    assert talk.open_questions(live.session.subject) == []


def test_without_a_websocket_forms_say_it(client_for: ClientFor, live: Execution, team: Team) -> None:
    part = asked(live.session, options=["a", "b"])
    base = f"/sessions/{live.session_id}"
    key = str(uuid4())
    bob = client_for(user_of("bob", "acme"), team)
    page = bob.get(f"{base}/")
    assert 'data-steer="say"' in page.text
    assert 'name="text" value="b"' in page.text
    for _ in range(2):
        assert bob.post(f"{base}/say/", {"text": "hello", "key": key})["Location"] == f"{base}/"
    bob.post(f"{base}/interrupt/", {"text": "", "key": ""})
    # The button of an option comes after the empty field.
    bob.post(f"{base}/answer/{part.pk}/", {"text": ["", "b"], "next": "/swarms/"})
    said = Steer.objects.order_by("created_at").values_list("kind", "text", "name")
    assert list(said) == [("message", "hello", "Bob"), ("interrupt", "", "Bob"), ("answer", "b", "Bob")]
    again = bob.post(f"{base}/answer/{part.pk}/", {"text": "a", "next": "https://evil.example/"}, follow=True)
    assert again.redirect_chain == [(f"{base}/", 302)]
    assert "Somebody was faster" in again.text
    assert "The agent hears it before its next step." in again.text
    for path in ("say/", "interrupt/", f"answer/{part.pk}/"):
        assert client_for(user_of("vera", "acme"), team).post(f"{base}/{path}", {"text": "x"}).status_code == 403
    assert "data-steer" not in client_for(user_of("vera", "acme"), team).get(f"{base}/").text


def test_an_open_question_is_on_the_swarms_page_until_it_is_over(
    client_for: ClientFor, live: Execution, stage: Stage, team: Team
) -> None:
    path = f"/projects/textkit/swarms/{stage.swarm.number}/regions/asks/"
    bob = client_for(user_of("bob", "acme"), team)
    part = asked(live.session, options=["a"])
    assert f"answer/{part.pk}/" in bob.get(path).text
    record = PartRecord(id=part.pk, message=part.message_id, index=0, kind="question", state="failed", text="Which?")
    transcript.record(live.session, [record])
    assert told(live, "question.closed") == [
        {"session": str(live.session_id), "part": str(part.pk), "agent": live.agent}
    ]
    assert str(part.pk) not in bob.get(path).text


def test_of_two_who_answer_at_once_one_wins(committed_team: Team) -> None:
    stage = Stage(user_of("alice", "acme"))
    part = asked(stage.live.session)
    schema, start, found = current_schema(), threading.Barrier(4), []

    def go(name: str) -> None:
        try:
            with in_schema(schema):
                person = user_of(name, "acme")
                start.wait()
                try:
                    steering.answer(stage.live.session, part.pk, name, by=person)
                    found.append(name)
                except steering.NotNow:
                    pass
        finally:
            connection.close()

    threads = [threading.Thread(target=go, args=[name]) for name in ("alice", "bob", "vera", "alice")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(found) == 1
    assert Part.objects.get(pk=part.pk).output.endswith(f": {found[0]}")
    assert Steer.objects.count() == 1
    assert Event.objects.filter(kind="session.steered").count() == 1


def test_what_an_agent_did_is_taken_back_and_not_taken_back_until_it_is_told_something(
    live: Execution, bob: User
) -> None:
    Execution.objects.filter(pk=live.pk).update(assignment=live.assignment | {"runtime": "opencode"})
    with pytest.raises(steering.NotNow, match="Nothing is taken back"):
        steering.unrevert(live.session, by=bob)
    back, forth = steering.revert(live.session, by=bob), steering.unrevert(live.session, by=bob)
    again = steering.revert(live.session, by=bob)
    assert [(s.id, s.kind) for s in beat(live).steer] == [
        (back.pk, "revert"),
        (forth.pk, "unrevert"),
        (again.pk, "revert"),
    ]
    assert [event["kind"] for event in told(live, "session.steered")] == ["revert", "unrevert", "revert"]
    said = Message.objects.filter(session=live.session, role="user").order_by("number").last()
    assert said is not None
    assert said.parts.get().text == steering.WORDLESS["revert"]
    steering.say(live.session, "Otherwise.", by=bob)
    with pytest.raises(steering.NotNow, match="that is final"):
        steering.unrevert(live.session, by=bob)


def test_an_agent_of_a_runtime_that_cannot_have_it_taken_back_says_so(live: Execution, bob: User) -> None:
    with pytest.raises(steering.NotNow, match=r"of the runtime \w+ cannot .* one of opencode can"):
        steering.revert(live.session, by=bob)
    assert not Steer.objects.exists()


def test_taking_back_is_offered_where_it_is_possible_to_who_may(
    live: Execution, team: Team, client_for: ClientFor
) -> None:
    page = f"/sessions/{live.session_id}/"
    alice, vera = client_for(user_of("alice", "acme"), team), client_for(user_of("vera", "acme"), team)
    assert "Take back" not in alice.get(page).content.decode()
    alice.post(f"{page}revert/")
    assert "cannot have taken back" in alice.get(page).content.decode()
    Execution.objects.filter(pk=live.pk).update(assignment=live.assignment | {"runtime": "opencode"})
    assert "Take back" in alice.get(page).content.decode()
    assert "Take back" not in vera.get(page).content.decode()
    assert vera.post(f"{page}revert/").status_code == 403
    alice.post(f"{page}revert/")
    assert "Take nothing back" in alice.get(f"{page}words/").content.decode()
    alice.post(f"{page}unrevert/")
    assert list(Steer.objects.order_by("created_at").values_list("kind", flat=True)) == ["revert", "unrevert"]
    assert "Take nothing back" not in alice.get(f"{page}words/").content.decode()
