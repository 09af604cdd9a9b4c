"""Transcripts: idempotent, in any order, refused where they do not belong."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, get_args
from uuid import UUID, uuid4, uuid5

import pytest
import redis
from django.conf import settings
from django.db import transaction
from django.test import RequestFactory
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from agents.contracts import Delta, Doing, MessageRecord, PartKind, PartRecord, RecordBatch, Usage
from sessions import transcript
from sessions.deltas import Piece, coalesced
from sessions.models import Event, Message, Part, Session
from sessions.topics import live_channel
from swarms.api.runner import _parse
from tenants.models import Team
from tests.conftest import user_of

SPACE = UUID(int=7)


def session(**fields: Any) -> Session:
    return Session.objects.create(subject=f"swarm:{uuid4()}", title="tokens", agent="developer-1", **fields)


def said(role: str = "assistant", **fields: Any) -> MessageRecord:
    return MessageRecord(id=uuid4(), role=role, **fields)


def part(message: MessageRecord, **fields: Any) -> PartRecord:
    return PartRecord(**{"id": uuid4(), "message": message.id, "index": 0, "kind": "text"} | fields)


def kinds_of(row: Session) -> list[str]:
    return list(Event.objects.filter(subject=f"session:{row.pk}").order_by("seq").values_list("kind", flat=True))


def test_messages_are_numbered_as_they_arrive(team: Team) -> None:
    row = session()
    first, second, third = said("system"), said("user"), said()
    transcript.record(row, [first, second])
    transcript.record(row, [second, third])
    assert list(row.messages.order_by("number").values_list("number", "id")) == [
        (1, first.id),
        (2, second.id),
        (3, third.id),
    ]


def test_sending_a_batch_again_changes_nothing(team: Team) -> None:
    row, message = session(), said(model="rehearsal")
    step = part(message, index=1, kind="step", usage=Usage(input_tokens=100, output_tokens=20))
    batch = [message, part(message, text="hello"), step, Doing(text="thinking")]
    assert transcript.record(row, batch) == 4
    events = Event.objects.count()
    transcript.record(row, batch)
    row.refresh_from_db()
    assert (row.input_tokens, row.output_tokens) == (100, 20)
    assert (row.model, row.doing, row.is_rehearsal) == ("rehearsal", "thinking", True)
    assert Event.objects.count() == events
    assert Part.objects.filter(message=message.id).count() == 2


def test_a_done_part_never_goes_back_to_open(team: Team) -> None:
    row, message = session(), said()
    done = part(message, state="done", text="hello world")
    transcript.record(row, [message, done])
    transcript.record(row, [done.model_copy(update={"state": "open", "text": "hello world and much more text"})])
    stored = Part.objects.get(pk=done.id)
    assert (stored.state, stored.text) == ("done", "hello world")


def test_a_part_is_announced_when_it_is_new_and_when_its_state_changes(team: Team) -> None:
    row, message = session(), said()
    opened = part(message, state="open", kind="tool", tool="read_file", input={"path": "textkit/words.py"})
    transcript.record(row, [message, opened])
    transcript.record(row, [opened.model_copy(update={"output": "a growing output"})])
    transcript.record(row, [opened.model_copy(update={"state": "done", "output": "a growing output, all of it"})])
    assert kinds_of(row) == ["message.recorded", "part.recorded", "part.recorded"]
    last = Event.objects.filter(subject=f"session:{row.pk}").latest("seq")
    assert last.payload == {
        "part": str(opened.id),
        "message": str(message.id),
        "kind": "tool",
        "state": "done",
        "tool": "read_file",
        "title": "textkit/words.py",
    }
    assert last.actor == "agent:developer-1"


def test_no_event_carries_a_long_text(team: Team) -> None:
    row, message = session(), said()
    long = "x" * 50_000
    transcript.record(
        row, [message, part(message, kind="tool", text=long, tool="write_file", input={"command": long}, output=long)]
    )
    assert all(len(json.dumps(event.payload)) < 1000 for event in Event.objects.all())


def test_what_the_agent_does_is_announced_on_its_swarm_when_it_changes(team: Team) -> None:
    row = session()
    transcript.record(row, [Doing(text="reading"), Doing(text="editing words.py")])
    transcript.record(row, [Doing(text="editing words.py")])
    events = Event.objects.filter(subject=row.subject)
    assert [(event.kind, event.payload["text"]) for event in events] == [("agent.doing", "editing words.py")]


def test_a_part_may_come_before_its_message_in_a_batch(team: Team) -> None:
    row, message = session(), said()
    transcript.record(row, [part(message, text="early"), message])
    assert Part.objects.get(message=message.id).text == "early"


def test_a_part_whose_message_is_unknown_is_refused_and_nothing_of_its_batch_stays(team: Team) -> None:
    row = session()
    with pytest.raises(transcript.RecordFault, match="not a message of this session"), transaction.atomic():
        transcript.record(row, [said(), part(said())])
    assert not row.messages.exists()


def test_ids_of_another_session_are_refused(team: Team) -> None:
    mine, theirs, message = session(), session(), said()
    foreign = part(message, text="theirs")
    transcript.record(theirs, [message, foreign])
    own = said()
    attempts = [
        [message],
        [part(message, text="mine now")],
        [own, part(own, id=foreign.id)],
        [Delta(part=foreign.id, offset=0, text="injected")],
    ]
    for records in attempts:
        with pytest.raises(transcript.RecordFault), transaction.atomic():
            transcript.record(mine, records)
    assert Part.objects.get(pk=foreign.id).text == "theirs"
    assert not mine.messages.exists()


def test_two_parts_cannot_have_one_place(team: Team) -> None:
    row, message = session(), said()
    transcript.record(row, [message, part(message)])
    with pytest.raises(transcript.RecordFault, match="same place"), transaction.atomic():
        transcript.record(row, [part(message)])


def test_what_postgres_cannot_store_is_replaced(team: Team) -> None:
    row, message = session(), said()
    record = part(message, kind="tool", output="bell\x00", input={"key\x00": ["a\x00b"]})
    transcript.record(row, [message, record])
    stored = Part.objects.get(pk=record.id)
    assert (stored.output, stored.input) == ("bell\ufffd", {"key\ufffd": ["a\ufffdb"]})


@pytest.mark.parametrize("when", ["9999-12-31T23:59:59-14:00", "0001-01-01T00:00:00+14:00", "2026-11-28T21:00:00Z"])
def test_a_moment_that_could_not_be_read_again_is_none(team: Team, when: str) -> None:
    row, message = session(), said()
    record = PartRecord.model_validate(part(message).model_dump() | {"started_at": when, "ended_at": when})
    transcript.record(row, [message, record])
    stored = Part.objects.get(pk=record.id)
    wanted = record.started_at if when.startswith("2026") else None
    assert (stored.started_at, stored.ended_at) == (wanted, wanted)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"options": ["a\0b", 5, "c" * 200]}, ["a\ufffdb", "5", "c" * 120]),
        ({"options": list(range(1000))}, [str(number) for number in range(20)]),
        *(({"options": odd}, []) for odd in (5, None, "abc", {"a": 1})),
    ],
)
def test_whatever_a_question_says_is_told_and_shown(
    team: Team, client_for: Any, given: dict[str, Any], told: list[str]
) -> None:
    row, message = session(), said()
    transcript.record(row, [message, part(message, kind="question", state="open", text="wh\0ich", input=given)])
    asked = Event.objects.get(kind="question.asked").payload
    assert (asked["text"], asked["options"]) == ("wh\ufffdich", told)
    assert client_for(user_of("alice", "acme"), team).get(f"/sessions/{row.pk}/").status_code == 200


def test_an_index_beyond_all_measure_is_a_fault_not_a_crash(team: Team) -> None:
    row, message = session(), said()
    with pytest.raises(transcript.RecordFault, match="cannot be stored"), transaction.atomic():
        transcript.record(row, [message, part(message, index=2**40)])


def test_tokens_are_counted_once_and_never_below_zero(team: Team) -> None:
    row, message = session(), said()
    step = part(message, kind="step", state="open", usage=Usage(input_tokens=5))
    transcript.record(row, [message, step])
    grown = step.model_copy(update={"state": "done", "usage": Usage(input_tokens=9, output_tokens=3)})
    transcript.record(row, [grown, grown])
    transcript.record(row, [part(message, index=1, kind="step", usage=Usage(input_tokens=-50, output_tokens=10**30))])
    row.refresh_from_db()
    assert row.input_tokens == 9
    assert row.output_tokens == 3 + transcript.MOST_TOKENS
    kept = Part.objects.get(index=1).usage
    assert kept == Usage(output_tokens=transcript.MOST_TOKENS).model_dump()


def test_closing_fails_what_is_open_and_takes_nothing_more(team: Team) -> None:
    row, message = session(), said()
    left, done = part(message, state="open"), part(message, index=1)
    transcript.record(row, [message, left, done, Doing(text="working")])
    transcript.close(row)
    transcript.close(row)
    row.refresh_from_db()
    assert row.ended_at is not None
    assert row.doing == ""
    assert dict(Part.objects.values_list("pk", "state")) == {left.id: "failed", done.id: "done"}
    assert kinds_of(row).count("part.recorded") == 3
    with pytest.raises(transcript.SessionOver), transaction.atomic():
        transcript.record(row, [said(), Doing(text="haunting")])
    assert not Event.objects.filter(kind="agent.doing", payload__text="haunting").exists()


def test_a_batch_of_many_parts_costs_as_many_queries_as_a_small_one(team: Team, content_queries: Any) -> None:
    def cost(parts: int) -> int:
        row, message = session(), said()
        records = [message, *(part(message, index=i, text=str(i)) for i in range(parts))]
        with content_queries() as queries:
            transcript.record(row, records)
        return len(queries)

    assert cost(200) == cost(1) < 25


KINDS = get_args(PartKind)


@st.composite
def histories(draw: st.DrawFn) -> list[PartRecord]:
    """Versions of parts of one message, as a runtime makes them: growing while open, then ended."""
    message, records = uuid5(SPACE, "message"), []
    for index in range(draw(st.integers(1, 4))):
        kind, text = draw(st.sampled_from(KINDS)), ""
        for state in [*["open"] * draw(st.integers(0, 2)), draw(st.sampled_from(["open", "done", "failed"]))]:
            text += draw(st.text(min_size=1, max_size=5))
            tokens = Usage(input_tokens=len(text), output_tokens=1) if kind == "step" else None
            ended = None if state == "open" else datetime(2026, 1, 1, 0, draw(st.integers(0, 59)), tzinfo=UTC)
            records.append(
                PartRecord(
                    id=uuid5(SPACE, str(index)),
                    message=message,
                    index=index,
                    kind=kind,
                    state=state,
                    text=text,
                    usage=tokens,
                    started_at=datetime(2026, 1, 1, tzinfo=UTC),
                    ended_at=ended,
                )
            )
    return records


@hypothesis_settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(history=histories(), data=st.data())
def test_records_out_of_order_and_twice_give_the_same_transcript(
    team: Team, history: list[PartRecord], data: st.DataObject
) -> None:
    shuffled = data.draw(st.permutations(history + data.draw(st.lists(st.sampled_from(history), max_size=4))))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(shuffled)), max_size=4)))
    batches = [shuffled[a:b] for a, b in zip([0, *cuts], [*cuts, len(shuffled)], strict=True)]
    assert _told([history]) == _told(batches)


def test_what_an_agent_does_is_told_whatever_is_in_its_words(team: Team) -> None:
    row = session()
    transcript.record(row, [Doing(text="reading a\0b")])
    row.refresh_from_db()
    assert row.doing == "reading a\ufffdb"
    assert Event.objects.get(kind="agent.doing").payload["text"] == row.doing


def _told(batches: list[list[PartRecord]]) -> list[Any]:
    row = session()
    transcript.record(row, [MessageRecord(id=uuid5(SPACE, "message"), role="assistant")])
    for batch in batches:
        transcript.record(row, batch)
    row.refresh_from_db()
    parts = Part.objects.filter(message__session=row).order_by("index")
    told = [
        *parts.values_list("id", "index", "kind", "state", "text", "usage", "ended_at"),
        row.input_tokens,
        row.output_tokens,
    ]
    Message.objects.filter(session=row).delete()
    return told


def test_pieces_that_follow_each_other_become_one() -> None:
    one, two = uuid4(), uuid4()
    pieces = [Piece(one, 0, "he"), Piece(two, 5, "x"), Piece(one, 2, "llo"), Piece(one, 9, "gap"), Piece(two, 6, "y")]
    assert coalesced(pieces) == [Piece(one, 0, "hello"), Piece(two, 5, "xy"), Piece(one, 9, "gap")]


@pytest.fixture
def heard(team: Team) -> Iterator[redis.client.PubSub]:
    with redis.Redis.from_url(settings.STREAM_URL).pubsub() as channel:
        channel.subscribe(live_channel(team.schema_name))
        assert channel.get_message(timeout=5)["type"] == "subscribe"
        yield channel


def test_deltas_are_shown_once_the_batch_is_committed_and_not_stored(
    team: Team, heard: redis.client.PubSub, django_capture_on_commit_callbacks: Any
) -> None:
    row, message = session(), said()
    opened = part(message, state="open")
    with django_capture_on_commit_callbacks(execute=True):
        transcript.record(row, [message, opened, Delta(part=opened.id, offset=0, text="hé\n")])
        transcript.record(row, [Delta(part=uuid4(), offset=0, text="of nothing")])
        assert heard.get_message(timeout=0.1) is None
    topic, _, data = heard.get_message(timeout=5)["data"].partition(b"\n")
    assert topic.decode() == f"session:{row.pk}"
    assert json.loads(data) == {"session": str(row.pk), "part": str(opened.id), "offset": 0, "text": "hé\n"}
    assert heard.get_message(timeout=0.1) is None
    assert Part.objects.get(pk=opened.id).text == ""


def test_of_what_a_runner_sends_only_a_true_nul_is_taken_out() -> None:
    told = Doing(text="a\0b \\u0000 c\\\0d \\\\u0000")
    body = RecordBatch(fence=uuid4(), records=(told,)).model_dump_json()
    request = RequestFactory().post("/", body, content_type="application/json")
    (taken,) = _parse(RecordBatch, request).records  # type: ignore[union-attr]
    assert taken.text == told.text.replace("\0", "\N{REPLACEMENT CHARACTER}")
