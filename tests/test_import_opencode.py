"""OpenCode's sessions in a project: from every layout the same, as often as one likes, the source untouched."""

import itertools
import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from agents.opencode import locate
from agents.opencode.found import SourceFault
from agents.opencode.importing import Choice, Import
from agents.opencode.mapping import name
from agents.opencode.report import Report
from agents.opencode.shapes import UNFINISHED
from sessions import history
from sessions.models import Event, Message, Part, Session
from tenants.models import Team
from tests.opencode_stage import (
    BEGUN,
    CANARY,
    EVERY_TYPE,
    Export,
    add,
    connect,
    said,
    sample,
    session,
    state_of,
    text,
    tool,
    write_database,
    write_export,
    write_tree,
)

SUBJECT = "project:01990000-0000-7000-8000-000000000001"
Write = Callable[[Path, list[Export]], Path]
LAYOUTS: dict[str, Write] = {
    "database": write_database,
    "tree": write_tree,
    "export": lambda folder, exports: write_export(folder / "session.json", exports[0]),
}


def taken(path: Path, *, subject: str = SUBJECT, is_dry: bool = False, **choice: Any) -> Report:
    run = Import(subject, Choice(**choice), is_dry=is_dry)
    with locate.stores(path) as stores:
        for store in stores:
            run.take(store)
    return run.report


def rows(subject: str = SUBJECT) -> list[tuple[Any, ...]]:
    """Everything that is known of the sessions of a subject."""
    fields = ("kind", "state", "text", "tool", "input", "output", "usage", "created_at", "updated_at", "index", "id")
    mine = history.imported(subject)
    return [
        *mine.order_by("pk").values_list("id", "title", "agent", "model", "input_tokens", "created_at", "ended_at"),
        *Message.objects.filter(session__in=mine)
        .order_by("session", "number")
        .values_list("id", "number", "role", "model", "created_at"),
        *Part.objects.filter(message__session__in=mine)
        .order_by("message__session", "message__number", "index")
        .values_list(*fields),
    ]


def part_of(report: Report, key: str) -> Part:
    return Part.objects.get(pk=name(SUBJECT, key))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("version", ["export-1.1", "export-1.18"])
def test_a_session_is_told_as_it_was(team: Team, tmp_path: Path, layout: str, version: str) -> None:
    export = sample(version)
    report = taken(LAYOUTS[layout](tmp_path, [export]))
    row = history.imported(SUBJECT).get()
    assert row.title == f"{export['info']['title']} (imported from OpenCode)"
    assert (row.agent, row.model, row.subject) == ("OpenCode", "scripted/scripted", SUBJECT)
    assert row.origin["key"] == export["info"]["id"]
    assert row.origin["directory"] == export["info"]["directory"]
    assert row.origin["version"] == export["info"]["version"]
    assert row.created_at == datetime.fromtimestamp(export["info"]["time"]["created"] / 1000, UTC)
    assert row.ended_at == datetime.fromtimestamp(export["info"]["time"]["updated"] / 1000, UTC)
    assert [message.role for message in row.messages.order_by("number")] == [
        message["info"]["role"] for message in export["messages"]
    ]
    steps = [part for message in export["messages"] for part in message["parts"] if part["type"] == "step-finish"]
    assert (row.input_tokens, row.output_tokens) == (1000 * len(steps), 50 * len(steps))
    parts = sum(len(message["parts"]) for message in export["messages"]) - len(steps)
    assert (report.parts.new, report.messages.new, report.sessions.new) == (parts, len(export["messages"]), 1)
    assert report.facts()["left_out"]["step-start"]["count"] == len(steps)
    assert report.facts()["skipped"]["count"] == 0


def test_every_layout_gives_the_same_transcript(team: Team, tmp_path: Path) -> None:
    export = sample()
    export["messages"].append(said("msg_z", *EVERY_TYPE, time={"created": BEGUN * 2}))
    found = {}
    for layout, write in LAYOUTS.items():
        folder = tmp_path / layout
        folder.mkdir()
        taken(write(folder, [export]))
        found[layout] = rows()
        assert history.remove(SUBJECT, "OpenCode") == 1
    assert len(found["export"]) > 30
    assert found["database"] == found["tree"] == found["export"]


def test_a_tool_call_keeps_what_was_asked_answered_changed_and_when(team: Team, tmp_path: Path) -> None:
    report = taken(write_tree(tmp_path, [sample()]))
    edit = part_of(report, "prt_202232526001ugueu0WCDIuEVF")
    assert (edit.kind, edit.tool, edit.state) == ("tool", "edit", "done")
    assert edit.input == {"filePath": "hello.py", "oldString": "hello", "newString": "hello world"}
    assert edit.output.startswith("Edit applied successfully.\n\nIndex: /srv/sample/proj/b/hello.py\n")
    assert "+print('hello world')" in edit.output
    assert edit.created_at == datetime.fromtimestamp(1795332187.431, UTC)
    assert edit.updated_at == datetime.fromtimestamp(1795332187.875, UTC)
    assert (edit.started_at, edit.ended_at) == (edit.created_at, edit.updated_at)


def test_who_wrote_to_the_agent_is_a_developer_or_the_agent_above_it(team: Team, tmp_path: Path) -> None:
    for parent, author in ((None, "Developer"), ("ses_b", "")):
        asked, answered = said("msg_a", text("Why?"), role="user"), said("msg_b", text("Because."))
        taken(write_export(tmp_path / "a.json", session("ses_a", asked, answered, parentID=parent)))
        found = list(Message.objects.order_by("number").values_list("author", "model"))
        assert found == [(author, ""), ("", "example/large")]
        history.remove(SUBJECT, "OpenCode")


def test_an_answer_with_files_names_them_and_keeps_their_text(team: Team, tmp_path: Path) -> None:
    files = [
        {"type": "file", "mime": "image/png", "filename": "shot.png", "url": "data:image/png;base64,iVBORw0KGgo="},
        {"type": "file", "mime": "text/plain", "url": "data:,hello%20there"},
    ]
    report = taken(write_tree(tmp_path, [session("ses_a", said("msg_a", tool(output="Two:", attachments=files)))]))
    told = "Two:\n\n[attached: shot.png image/png]\n8 bytes, not imported\n\n[attached: text/plain]\nhello there"
    assert part_of(report, "msg_a-prt_000000").output == told
    assert report.facts()["left_out"]["contents of an attached file"]["count"] == 1


def test_every_type_of_part_finds_its_kind_or_is_kept_as_text_and_named(team: Team, tmp_path: Path) -> None:
    message = said("msg_a", *EVERY_TYPE, system="Be brief.", error={"name": "APIError", "data": {"message": "gone"}})
    report = taken(write_database(tmp_path, [session("ses_a", message)]))
    parts = list(Part.objects.filter(message=name(SUBJECT, "msg_a")).order_by("index"))
    assert [part.kind for part in parts] == [
        *("text", "reasoning", "tool", "tool", "tool", "tool", "text", "file", "file", "file"),
        *("patch", "text", "text", "text", "error", "text", "step", "text", "text", "error"),
    ]
    assert [part.state for part in parts if part.kind == "tool"] == ["done", "failed", "open", "open"]
    by_output = [part.output for part in parts if part.kind == "tool"]
    assert by_output == ["x = 1\n", "no such file", f"half\n{UNFINISHED}", UNFINISHED]
    assert parts[5].input == {"raw": '{"file'}
    texts = "\n".join(part.text for part in parts)
    for words in (
        "**Instructions**\n\nBe brief.",
        "hello notes",
        "/srv/sample/proj/c/a.py\n/srv/sample/proj/c/b.py",
        "**Snapshot** `5ea`",
        "**Agent** `explore`",
        "**Subtask** for agent `general`: Look around",
        "Attempt 2 failed. APIError: too busy",
        "**Compaction**",
        "**OpenCode's part of type** `hologram`",
        '"colour": "green"',
        "APIError: gone",
    ):
        assert words in texts, words
    step = next(part for part in parts if part.kind == "step")
    tokens = {"input_tokens": 1100, "output_tokens": 70, "cached_tokens": 200}
    assert (step.usage, step.text) == (tokens | {"cost_microusd": 12_500}, "stop")
    assert [(part.input, part.output) for part in parts if part.kind == "file"] == [
        ({"name": "notes.txt", "mime": "text/plain"}, ""),
        ({"name": "shot.png", "mime": "image/png"}, "8 bytes, not imported"),
        ({"name": "b.py", "mime": "text/plain"}, "file:///srv/sample/proj/c/b.py"),
    ]
    facts = report.facts()
    assert {kind: sort["count"] for kind, sort in facts["kept_as_text"].items()} == {
        "agent": 1,
        "compaction": 1,
        "snapshot": 1,
        "subtask": 1,
    }
    assert facts["not_understood"] == {
        "hologram": {"count": 1, "example": "msg_a-prt_000017"},
        "tool (state levitating)": {"count": 1, "example": "msg_a-prt_000018"},
    }
    assert facts["left_out"]["contents of an attached file"] == {"count": 1, "example": "msg_a-prt_000008"}
    assert facts["not_taken"] == {"todo": 1, "session_message": 0}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_importing_again_changes_nothing_and_says_so(team: Team, tmp_path: Path, layout: str) -> None:
    path = LAYOUTS[layout](tmp_path, [session("ses_a", said("msg_a", *EVERY_TYPE, text("1e5", metadata={"n": 1e5})))])
    assert not taken(path).changes_nothing
    before, events = [*rows(), *Session.objects.values_list("origin")], Event.objects.count()
    again = taken(path)
    assert again.changes_nothing
    assert (again.sessions.same, again.messages.same, again.parts.same) == (1, 1, 19)
    assert [*rows(), *Session.objects.values_list("origin")] == before
    assert Event.objects.count() == events


NUMBERS = {"float": 1e5, "tiny": 1e-9, "huge": 10**30, "negative zero": -0.0, "list": [1.0, 2.50], "nan": float("nan")}


@pytest.mark.parametrize("kind", NUMBERS)
def test_numbers_that_postgres_writes_otherwise_are_no_change(team: Team, tmp_path: Path, kind: str) -> None:
    call = tool(input={"n": NUMBERS[kind]}, output="ok")
    path = write_tree(tmp_path, [session("ses_a", said("msg_a", call))])
    assert taken(path).parts.new == 1
    assert taken(path).changes_nothing


def test_a_session_that_has_grown_gets_what_is_new(team: Team, tmp_path: Path) -> None:
    running = said("msg_a", tool("running", input={}), text("Working"))
    write_database(tmp_path, [session("ses_a", running)])
    taken(tmp_path)
    call = part_of(Report(), "msg_a-prt_000000")
    assert call.state == "open"
    done = said("msg_a", tool(output="ok"), text("Working"), text("and done"))
    later = said("msg_b", text("Anything else?"), role="user", time={"created": BEGUN + 9000})
    updated = {"created": BEGUN, "updated": BEGUN + 99_000}
    write_database(tmp_path, [session("ses_a", done, later, title="Reading", time=updated)])
    dry = taken(tmp_path, is_dry=True)
    report = taken(tmp_path)
    for told in (dry, report):
        assert (told.sessions.new, told.sessions.grown) == (0, 1)
        assert (told.messages.new, told.messages.same) == (1, 1)
        assert (told.parts.new, told.parts.grown, told.parts.same) == (2, 1, 1)
    call.refresh_from_db()
    assert (call.state, call.output) == ("done", "ok")
    row = history.imported(SUBJECT).get()
    assert row.title == "Reading (imported from OpenCode)"
    assert row.ended_at == datetime.fromtimestamp((BEGUN + 99_000) / 1000, UTC)
    assert [part.text for part in Part.objects.order_by("message__number", "index")] == [
        "",
        "Working",
        "and done",
        "Anything else?",
    ]


def test_an_older_copy_takes_nothing_back(team: Team, tmp_path: Path) -> None:
    old = write_export(tmp_path / "old.json", session("ses_a", said("msg_a", text("Hel"))))
    later = {"created": BEGUN, "updated": BEGUN + 99_000}
    new = session("ses_a", said("msg_a", text("Hello")), title="Later", time=later)
    taken(write_export(tmp_path / "new.json", new))
    before = rows()
    assert taken(old).changes_nothing
    assert rows() == before


def test_a_part_that_was_deleted_there_moves_no_other(team: Team, tmp_path: Path) -> None:
    one, two, three = text("one"), text("two"), text("three")
    first = said("msg_a", one, two)
    taken(write_export(tmp_path / "a.json", session("ses_a", first)))
    first["parts"] = [first["parts"][1], {"id": "msg_a-prt_000009"} | three]
    report = taken(write_export(tmp_path / "a.json", session("ses_a", first)))
    assert (report.parts.new, report.parts.same, report.skipped) == (1, 1, 0)
    assert [part.text for part in Part.objects.order_by("index")] == ["one", "two", "three"]


def test_a_dry_run_counts_the_same_and_writes_nothing(team: Team, tmp_path: Path) -> None:
    path = write_database(tmp_path, [sample(), session("ses_a", said("msg_a", *EVERY_TYPE))])
    dry = taken(path, is_dry=True)
    counts = [model.objects.count() for model in (Session, Message, Part, Event)]
    assert counts == [0, 0, 0, 0]
    real = taken(path)
    assert dry.facts() | {"dry_run": False} == real.facts()
    assert real.parts.new > 20
    assert taken(path, is_dry=True).changes_nothing


def test_one_event_tells_of_a_batch_and_none_of_what_was_said(team: Team, tmp_path: Path) -> None:
    taken(write_tree(tmp_path, [session("ses_a", said("msg_a", text("a secret plan")))]))
    row = history.imported(SUBJECT).get()
    told = {"session": str(row.pk), "program": "OpenCode", "messages": 1, "parts": 1}
    events = list(Event.objects.values_list("subject", "kind", "payload"))
    assert sorted(events) == [(SUBJECT, "session.imported", told), (f"session:{row.pk}", "session.imported", told)]


def test_projects_get_their_own_copies(team: Team, tmp_path: Path) -> None:
    path = write_export(tmp_path / "a.json", sample())
    other = SUBJECT[:-1] + "2"
    assert taken(path).sessions.new == taken(path, subject=other).sessions.new == 1
    assert history.remove(SUBJECT, "OpenCode") == 1
    assert history.imported(other).count() == 1
    assert len(rows(other)) > 10
    assert rows() == []
    assert not Message.objects.exclude(session__subject=other).exists()


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ({}, {"ses_a", "ses_b", "ses_c"}),
        ({"sessions": frozenset({"ses_a", "ses_x"})}, {"ses_a"}),
        ({"directory": "/srv/sample/proj/"}, {"ses_a", "ses_b"}),
        ({"directory": "/srv/sample/proj/a"}, {"ses_a"}),
        ({"directory": "/srv/sample/pro"}, set()),
        ({"directory": "/srv/other", "sessions": frozenset({"ses_c"})}, {"ses_c"}),
    ],
)
def test_sessions_are_chosen_by_id_and_by_folder(
    team: Team, tmp_path: Path, choice: dict[str, Any], expected: set[str]
) -> None:
    folders = {"ses_a": "/srv/sample/proj/a", "ses_b": "/srv/sample/proj/b/lib", "ses_c": "/srv/other"}
    exports = [session(key, directory=folder, projectID=f"p-{key}") for key, folder in folders.items()]
    taken(write_database(tmp_path, exports), **choice)
    assert {row.origin["key"] for row in history.imported(SUBJECT)} == expected


def test_a_project_s_sessions_are_chosen_by_its_worktree(team: Team, tmp_path: Path) -> None:
    for layout in ("database", "tree"):
        folder = tmp_path / layout
        folder.mkdir()
        export = session("ses_a", directory="/srv/sample/proj/c")
        LAYOUTS[layout](folder, [export])
        moved = session("ses_b", directory="/tmp/elsewhere")
        LAYOUTS[layout](folder, [moved | {"info": moved["info"] | {"projectID": "prj"}}, export])
        assert taken(folder, is_dry=True, directory="/srv/sample/proj/c").sessions.new == 2, layout


def test_a_folder_with_both_layouts_gives_each_session_once_the_newer_layout_first(team: Team, tmp_path: Path) -> None:
    write_tree(tmp_path, [session("ses_a", title="Before"), session("ses_old")])
    write_database(tmp_path, [session("ses_a", title="After"), session("ses_new")])
    report = taken(tmp_path)
    assert len(report.sources) == 2
    assert report.sessions.new == 3
    assert history.imported(SUBJECT).get(origin__key="ses_a").title.startswith("After")


@pytest.mark.parametrize("is_running", [False, True])
def test_a_database_is_never_written_to_nor_anything_beside_it(team: Team, tmp_path: Path, is_running: bool) -> None:
    write_database(tmp_path, [sample()])
    connection = connect(tmp_path)
    if is_running:
        add(connection, [session("ses_a", said("msg_a", text("in the log alone")))])
        assert (tmp_path / "opencode.db-wal").stat().st_size > 0
    else:
        connection.close()
        assert [path.name for path in tmp_path.iterdir()] == ["opencode.db"]
    before = state_of(tmp_path)
    report = taken(tmp_path)
    assert report.sessions.new == (2 if is_running else 1)
    assert Part.objects.filter(text="in the log alone").exists() is is_running
    assert state_of(tmp_path) == before
    connection.close()


@pytest.mark.parametrize("layout", ["tree", "export"])
def test_files_are_never_written_to(team: Team, tmp_path: Path, layout: str) -> None:
    path = LAYOUTS[layout](tmp_path, [sample()])
    before = state_of(tmp_path)
    assert taken(path).sessions.new == 1
    assert state_of(tmp_path) == before


def test_a_log_left_by_a_killed_opencode_is_read_too(team: Team, tmp_path: Path) -> None:
    """Without an index beside it, as a copied folder may come."""
    live = tmp_path / "live"
    live.mkdir()
    connection = connect(live)
    add(connection, [session("ses_a")])
    copied = tmp_path / "copied"
    copied.mkdir()
    for end in ("", "-wal"):
        (copied / f"opencode.db{end}").write_bytes((live / f"opencode.db{end}").read_bytes())
    connection.close()
    before = state_of(copied)
    assert taken(copied).sessions.new == 1
    assert state_of(copied) == before


@pytest.mark.parametrize("times", [1, 100])
def test_a_database_that_changes_while_it_is_copied_is_copied_again(
    team: Team, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    connection = connect(tmp_path)
    add(connection, [session("ses_0")])
    real, copies = shutil.copyfile, itertools.count(1)

    def copy(source: Path, target: Path) -> None:
        real(source, target)
        if source.suffix == ".db" and (copy_number := next(copies)) <= times:
            # The log goes into the database and begins anew: a copy of both would lack what was in it.
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            add(connection, [session(f"ses_{copy_number}")])

    monkeypatch.setattr(shutil, "copyfile", copy)
    if times == 1:
        assert taken(tmp_path).sessions.new == 2
    else:
        with pytest.raises(SourceFault, match="close OpenCode"):
            taken(tmp_path)
    connection.close()


def test_a_database_that_changes_while_it_is_read_is_told(team: Team, tmp_path: Path) -> None:
    write_database(tmp_path, [session("ses_a")])
    run = Import(SUBJECT)
    with locate.stores(tmp_path) as (store,):
        write_database(tmp_path, [session("ses_b")])
        with pytest.raises(SourceFault, match="run the import again"):
            run.take(store)


def test_accounts_and_credentials_are_never_read(team: Team, tmp_path: Path) -> None:
    write_database(tmp_path, [sample()])
    with locate.stores(tmp_path) as (store,):
        for table in ("account", "control_account", "credential", "session_share", "event"):
            with pytest.raises(SourceFault, match="prohibited"):
                list(store._rows(f"SELECT * FROM {table}"))
        with pytest.raises(SourceFault, match="not authorized"):
            list(store._rows("DELETE FROM part"))
        Import(SUBJECT).take(store)
    assert rows()
    assert CANARY not in str([*rows(), *Session.objects.values(), *Event.objects.values()])


def test_ten_thousand_parts_come_in_batches(team: Team, tmp_path: Path) -> None:
    message = said("msg_a", *(text(f"part {place}") for place in range(10_000)))
    write_database(tmp_path, [session("ses_a", message)])
    batches: list[int] = []
    run = Import(SUBJECT, progress=lambda report: batches.append(report.parts.new))
    with locate.stores(tmp_path) as (store,):
        run.take(store)
    assert run.report.parts.new == 10_000
    assert max(later - earlier for earlier, later in zip([0, *batches], batches, strict=False)) <= 200
    assert list(Part.objects.order_by("index").values_list("text", flat=True)[9_998:]) == ["part 9998", "part 9999"]


def test_times_come_from_the_parts_else_from_their_message_else_from_the_session(team: Team, tmp_path: Path) -> None:
    timed, plain = text("timed"), {"type": "text", "text": "plain"}
    messages = [said("msg_a", timed, plain), said("msg_b", plain, time={"created": "yesterday"})]
    report = taken(write_export(tmp_path / "a.json", session("ses_a", *messages)))
    at = datetime.fromtimestamp(BEGUN / 1000, UTC)
    assert part_of(report, "msg_a-prt_000000").created_at == at + timedelta(milliseconds=1500)
    assert part_of(report, "msg_a-prt_000000").updated_at == at + timedelta(milliseconds=1700)
    assert part_of(report, "msg_a-prt_000001").created_at == at + timedelta(milliseconds=1000)
    assert part_of(report, "msg_b-prt_000000").created_at == at
    said_at = list(Message.objects.order_by("number").values_list("created_at", flat=True))
    assert sorted(said_at) == [at, at + timedelta(milliseconds=1000)]
