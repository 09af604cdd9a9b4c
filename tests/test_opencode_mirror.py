"""What the events of an OpenCode server become in a transcript, and that nothing is missed or told twice."""

import asyncio
import json
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from agents.contracts import Assignment, Delta, Doing, FailureReason, MessageRecord, PartRecord, Record
from agents.runtimes.opencode import client as opencode_client
from agents.runtimes.opencode.asking import asked_of
from agents.runtimes.opencode.client import Client, messages_of
from agents.runtimes.opencode.configuration import configuration, permission
from agents.runtimes.opencode.faults import failed
from agents.runtimes.opencode.ids import new_id
from agents.runtimes.opencode.mirror import Mirror
from agents.runtimes.restarts import Lost

EVENTS = [
    json.loads(line) for line in (Path(__file__).parent / "opencode" / "events-1.18.jsonl").read_text().splitlines()
]
SESSION = "ses_ddd71aaa0ffeAAAAAAAAAAAAAA"
EXECUTION = UUID(int=7)


def mirror() -> Mirror:
    return Mirror(EXECUTION, SESSION, clock=lambda: 0)


def log_of(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The server's log after these events: what is kept of them, in its own form."""
    return [
        {"aggregate_id": SESSION, "seq": number, "type": f"{event['type']}.1", "data": event["properties"]}
        for number, event in enumerate(events)
        if event["type"] in ("message.updated", "message.part.updated")
    ]


def last_states(records: list[Record]) -> list[PartRecord]:
    found = {record.id: record for record in records if isinstance(record, PartRecord)}
    return list(found.values())


def test_events_become_messages_and_parts_in_their_places() -> None:
    records: list[Record] = []
    mine = mirror()
    for event in EVENTS:
        records += mine.take(event)

    assert [record.model for record in records if isinstance(record, MessageRecord)] == ["scripted"]
    parts = last_states(records)
    assert [(part.kind, part.state, part.index) for part in parts] == [
        ("reasoning", "done", 0), ("tool", "done", 1), ("tool", "failed", 2), ("text", "done", 3), ("step", "done", 4),
    ]  # fmt: skip
    assert parts[0].text == "Hm, well."
    assert (parts[1].tool, parts[1].input, parts[1].output) == ("bash", {"command": "ls"}, "greet.py\n")
    assert parts[1].started_at is not None
    assert parts[1].ended_at is not None
    assert (parts[1].ended_at - parts[1].started_at).total_seconds() == pytest.approx(0.04)
    assert parts[2].output == "not allowed"
    assert "hologram" in parts[3].text, "a part that nobody here knows is kept as its JSON"
    assert parts[4].usage is not None
    assert (parts[4].usage.input_tokens, parts[4].usage.output_tokens, parts[4].usage.cached_tokens) == (11, 7, 3)
    assert [record.text for record in records if isinstance(record, Doing)] == [
        "running ls", "reading /etc/passwd", "1 of 2 done: be polite",
    ]  # fmt: skip
    running = next(r for r in records if isinstance(r, PartRecord) and r.output == "greet")
    assert running.state == "open", "output of a command streams"
    assert mine.calls == 1


def test_deltas_fit_to_what_was_sent_before() -> None:
    mine = mirror()
    text = ""
    for event in EVENTS[:9]:
        for record in mine.take(event):
            if isinstance(record, Delta):
                assert record.offset == len(text)
                text += record.text
            elif isinstance(record, PartRecord):
                text = record.text
    assert text == "Hm, well."


@pytest.mark.parametrize("seen", range(len(EVENTS) + 1))
def test_whatever_was_seen_before_a_break_the_whole_log_adds_only_what_is_missing(seen: int) -> None:
    whole, broken = mirror(), mirror()
    expected = last_states([record for event in EVENTS for record in whole.take(event)])
    records = [record for event in EVENTS[:seen] for record in broken.take(event)]
    caught = broken.catch_up(messages_of(log_of(EVENTS), SESSION))
    assert sorted(last_states([*records, *caught]), key=lambda part: part.id) == sorted(
        expected, key=lambda part: part.id
    )
    assert sum(isinstance(record, MessageRecord) for record in [*records, *caught]) == 1
    assert broken.catch_up(messages_of(log_of(EVENTS), SESSION)) == [], "a second time it is no news"
    assert [record for event in EVENTS for record in broken.take(event) if not isinstance(record, Doing | Delta)] == []


def test_what_is_open_when_an_agent_ends_is_closed_with_the_reason() -> None:
    mine = mirror()
    for event in EVENTS[:12]:
        mine.take(event)
    (part,) = mine.settle("It was stopped.")
    assert isinstance(part, PartRecord)
    assert (part.tool, part.state, part.output) == ("bash", "failed", "greet")
    assert mine.settle("It was stopped.") == []


def test_errors_of_a_model_have_the_same_names_as_with_our_own_agents() -> None:
    def error(status: int, body: str = "") -> dict[str, Any]:
        return {"name": "APIError", "data": {"message": "no", "statusCode": status, "responseBody": body}}

    assert failed(error(402, "budget_exhausted")).reason == FailureReason.BUDGET_EXCEEDED
    assert failed(error(503)).reason == FailureReason.PROVIDER_UNAVAILABLE
    assert failed(error(400)).reason == FailureReason.MODEL_ERROR
    assert "HTTP 400" in str(failed(error(400)))
    assert failed({"name": "UnknownError", "data": {"message": "oops"}}).reason == FailureReason.AGENT_ERROR


@pytest.mark.parametrize(
    ("window", "limit"), [(None, (64_000, 16_000)), (200_000, (200_000, 16_384)), (8_000, (8_000, 2_000))]
)
def test_how_much_a_model_takes_at_once_is_told(window: int | None, limit: tuple[int, int]) -> None:
    words: dict[str, Any] = dict.fromkeys(("execution", "fence", "session"), uuid4())
    words |= dict.fromkeys(("team", "subject", "title", "role", "token", "url"), "x") | {"kind": "work"}
    model = {"base_url": "http://plane/model/v1", "name": "m", "window": window}
    told = configuration(Assignment.model_validate(words | {"model": model}), "http://plane")
    assert told["provider"]["waggle"]["models"]["m"]["limit"] == dict(zip(("context", "output"), limit, strict=True))


def test_who_may_do_what_without_asking() -> None:
    worker, reviewer, coordinator = (permission(kind, ("read", "search")) for kind in ("work", "review", "plan"))
    assert {worker.get(tool, worker["*"]) for tool in ("edit", "bash", "task", "list", "glob")} == {"ask"}
    assert (worker["read"], worker["grep"]) == ("allow", "allow")
    assert (reviewer["edit"], reviewer["bash"]) == ("deny", "ask")
    assert (coordinator["edit"], coordinator["bash"]) == ("deny", "deny")
    for rules in (worker, reviewer, coordinator):
        assert rules["external_directory"] == rules["webfetch"] == "deny"
        assert next(iter(rules.items())) == ("*", "ask"), "the last rule that fits counts: the general one comes first"
        assert rules["waggle_*"] == "allow"


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (("bash", ["ls", "rm *"], {"command": "ls; rm x"}), ("shell", {"command": "ls; rm x"})),
        (("bash", ["ls", "rm x"], {}), ("shell", {"command": ["ls", "rm x"]})),
        (("edit", ["a.py"], {"filepath": "/workspace/a.py", "diff": "+x"}), ("edit", {"path": "a.py", "diff": "+x"})),
        (("edit", ["workspace/a.py"], {"filepath": "/workspace/a.py"}), ("edit", {"path": "a.py"})),
        (("edit", ["workspace/../etc/x"], {}), ("edit", {"path": "workspace/../etc/x"})),
        (("edit", ["a.py", "b.py"], {}), ("edit", {"path": ["a.py", "b.py"]})),
        (("edit", ["a.py"], {"filepath": "/etc/passwd"}), ("edit", {"path": ["/etc/passwd", "a.py"]})),
        (("webfetch", ["http://x"], {"url": "http://x"}), ("web", {"url": "http://x", "patterns": ["http://x"]})),
        (("tracker_find", ["*"], {}), ("tracker_find", {"patterns": ["*"]})),
        (("doom_loop", [], {}), ("stuck", {})),
    ],
)
def test_a_request_is_told_as_rules_know_it(asked: tuple[Any, ...], expected: tuple[str, dict[str, Any]]) -> None:
    permission, patterns, metadata = asked
    request = {"permission": permission, "patterns": patterns, "metadata": metadata}
    assert asked_of(request, "/workspace") == expected


def test_ids_sort_by_time_and_are_never_the_same() -> None:
    made = [new_id("msg") for _ in range(2000)]
    assert made == sorted(made)
    assert len(set(made)) == 2000
    assert len(made[0]) == 30


def test_an_event_may_hold_any_character_and_no_line_is_endless(monkeypatch: pytest.MonkeyPatch) -> None:
    said = ["plain", "a\u2028b\u2029c\x85d\x0ce", "end"]

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n")
        for text in said:
            writer.write(f"data: {json.dumps({'type': text}, ensure_ascii=False)}\n\n".encode())
        writer.write(b"x" * 5000)
        await writer.drain()

    async def hear() -> list[str]:
        found = []
        async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
            client = Client.at(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", "", "", "/work")
            try:
                async for event in client.events():
                    found.append(event["type"])
            except Lost as error:
                found.append(str(error))
            await client.close()
        return found

    monkeypatch.setattr(opencode_client, "MOST_LINE", 4000)
    assert asyncio.run(hear()) == [*said, "its stream of events broke off (ValueError)"]
