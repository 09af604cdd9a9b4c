"""Long transcripts: pages of parts by their place, with as many queries as short ones."""

import time
from collections.abc import Callable
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.http import HttpResponse

from agents import ingest
from agents.contracts import MessageRecord, PartRecord, Usage
from agents.models import Execution, ModelPrice
from sessions import fragments
from sessions.fragments import PAGE, Page, Place
from sessions.models import Message, Part, Session
from tenants.models import Team
from tests.board_stage import Stage
from tests.conftest import user_of


def session_of(*sizes: int) -> Session:
    """A session whose messages have so many parts."""
    row = Session.objects.create(subject=f"swarm:{uuid4()}", title="long", agent="developer-1")
    messages = [Message(id=uuid4(), session=row, number=n, role="assistant") for n, _ in enumerate(sizes, 1)]
    Message.objects.bulk_create(messages)
    Part.objects.bulk_create(
        Part(id=uuid4(), message=message, index=index, kind="text", state="done", text=f"{message.number}.{index} *x*")
        for message, size in zip(messages, sizes, strict=True)
        for index in range(size)
    )
    return row


def places(page: Page) -> list[Place]:
    return [Place(turn.message.number, shown.part.index) for turn in page.turns for shown in turn.parts]


@pytest.mark.parametrize("sizes", [(450,), (1,) * 450, (199, 1, 1, 200, 60), (200, 200), ()], ids=str)
def test_pages_follow_each_other_without_gap_and_without_repeating(team: Team, sizes: tuple[int, ...]) -> None:
    row = session_of(*sizes)
    everything = [Place(number, index) for number, size in enumerate(sizes, 1) for index in range(size)]
    backward = [fragments.page(row)]
    while backward[0].has_earlier:
        backward.insert(0, fragments.page(row, before=places(backward[0])[0]))
    assert [place for page in backward for place in places(page)] == everything
    assert all(len(places(page)) == PAGE for page in backward[1:])
    for page in backward:
        if page.turns:
            assert page.turns[0].is_continued == (places(page)[0].place > 0)
    forward = [fragments.page(row, after=Place(0, 0))]
    while forward[-1].has_later:
        forward.append(fragments.page(row, after=places(forward[-1])[-1]))
    assert [place for page in forward for place in places(page)] == everything
    for page in forward:
        if page.turns:
            assert page.turns[0].is_continued == (places(page)[0].place > 0)


@pytest.mark.parametrize("query", ["before=1", "before=1.x", "after=1.1.1", "after=-1.0", "after=١.0", "id=x"])
def test_no_part_and_no_place_is_a_page_that_does_not_exist(
    client_for: Callable[..., Any], team: Team, query: str
) -> None:
    row = session_of(1)
    assert client_for(user_of("bob", "acme"), team).get(f"/sessions/{row.pk}/parts/?{query}").status_code == 404


def test_ten_thousand_parts_cost_as_many_queries_as_ten(
    client_for: Callable[..., Any], team: Team, content_queries: Any
) -> None:
    bob = client_for(user_of("bob", "acme"), team)

    def visit(row: Session, path: str = "") -> tuple[int, HttpResponse]:
        with content_queries() as queries:
            answer = bob.get(f"/sessions/{row.pk}/{path}")
        assert answer.status_code == 200
        return len(queries), answer

    short, long = session_of(3, 3, 4), session_of(*[7] * 1400, 200)
    visit(short)  # sign-in and templates
    for path in ("", "parts/", "parts/?before=900.3", "parts/?after=900.3"):
        few, _ = visit(short, path)
        began = time.perf_counter()
        many, answer = visit(long, path)
        took = (time.perf_counter() - began) * 1000
        print(f"\n/{path or 'page'}: {many} queries, {took:.0f} ms, {len(answer.content)} bytes")
        assert many == few
        assert answer.content.count(b"data-part=") == PAGE


def test_a_step_has_the_price_that_the_control_plane_knows(team: Team, settings: Any) -> None:
    settings.MODEL_REHEARSAL, settings.MODEL_NAME = False, "tuned"
    ModelPrice.objects.create(model="tuned", input_microusd=1_000_000, cached_microusd=0, output_microusd=2_000_000)
    execution: Execution = Stage(user_of("alice", "acme")).live
    message = MessageRecord(id=uuid4(), role="assistant", model="tuned")

    def step(index: int) -> PartRecord:
        usage = Usage(input_tokens=10, output_tokens=5, cost_microusd=7)
        return PartRecord(id=uuid4(), message=message.id, index=index, kind="step", usage=usage)

    first, second = step(0), step(1)
    ingest.take(execution, [message, first])
    ingest.take(execution, [second])  # its message came before
    costs = Part.objects.filter(pk__in=[first.id, second.id]).values_list("usage__cost_microusd", flat=True)
    assert list(costs) == [20, 20]
    settings.MODEL_REHEARSAL = True
    third = step(2)
    ingest.take(execution, [third])
    assert Part.objects.get(pk=third.id).usage["cost_microusd"] is None


def test_parts_of_every_kind_are_shown(client_for: Callable[..., Any], team: Team) -> None:
    execution: Execution = Stage(user_of("alice", "acme")).live
    message = MessageRecord(id=uuid4(), role="assistant")

    def part(index: int, **values: Any) -> PartRecord:
        return PartRecord(id=UUID(int=index + 1), message=message.id, index=index, **values)

    records = [
        part(0, kind="file", input={"name": "notes.md", "mime": "text/markdown"}, text="# of a <b>file</b>"),
        part(1, kind="question", state="open", text="Which way?", input={"options": ["left", "<i>right</i>"]}),
        part(
            2,
            kind="tool",
            tool="run_command",
            input={"command": "make"},
            started_at="2026-01-01T00:00:00Z",
            ended_at="2026-01-01T00:01:05Z",
        ),
        part(3, kind="step", usage=Usage(input_tokens=10, output_tokens=5)),
    ]
    ingest.take(execution, [message, *records])
    page = client_for(user_of("bob", "acme"), team).get(f"/sessions/{execution.session_id}/")
    text = page.content.decode()
    assert "notes.md" in text
    assert "# of a &lt;b&gt;file" in text
    assert "Waits for an answer" in text
    assert "&lt;i&gt;right" in text
    assert "1:05" in text
