"""What is broken, strange or huge in OpenCode's data: skipped by name, or stored as well as it can be; no crash."""

import json
import os
import re
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agents.opencode.found import DEEPEST, SourceFault
from agents.opencode.mapping import MOST_CHARS, MOST_INPUT_CHARS, name
from agents.opencode.report import MOST_LISTED
from sessions import history
from sessions.models import Message, Part
from tenants.models import Team
from tests.opencode_stage import connect, said, sample, session, text, tool, write_database, write_export, write_tree
from tests.test_import_opencode import SUBJECT, rows, taken

GOOD = session("ses_a", said("msg_a", text("good"), text("better")))


def reasons(report: Any) -> dict[str, str]:
    return dict(report.listed)


def part_in(folder: Path, number: int = 1) -> Path:
    return folder / "storage" / "part" / "msg_a" / f"msg_a-prt_{number:06}.json"


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (b'{"type": "te', "not JSON"),
        (b"", "not JSON"),
        (b"[1]", "not an object"),
        (b'{"type": "text", "text": "\xff\xfe"}', "not JSON"),
        (b'{"a":' * (DEEPEST + 1) + b"1" + b"}" * (DEEPEST + 1), "levels"),
        (b'{"a":' * 200_000, "not JSON"),
        (b'{"n": ' + b"9" * 5000 + b"}", "not JSON"),
    ],
)
def test_a_broken_part_is_skipped_by_name_and_the_rest_is_taken(
    team: Team, tmp_path: Path, raw: bytes, why: str
) -> None:
    write_tree(tmp_path, [GOOD])
    part_in(tmp_path).write_bytes(raw)
    report = taken(tmp_path)
    assert (report.parts.new, report.skipped) == (1, 1)
    assert why in reasons(report)["msg_a-prt_000001"]


def test_what_was_broken_is_taken_once_it_is_mended(team: Team, tmp_path: Path) -> None:
    write_tree(tmp_path, [GOOD])
    whole = part_in(tmp_path, 0).read_text()
    part_in(tmp_path, 0).write_text(whole[:20])
    assert taken(tmp_path).skipped == 1
    part_in(tmp_path, 0).write_text(whole)
    report = taken(tmp_path)
    assert (report.skipped, report.parts.new, report.parts.same) == (0, 1, 1)
    assert set(Part.objects.values_list("text", flat=True)) == {"good", "better"}


def test_a_broken_message_takes_its_parts_along(team: Team, tmp_path: Path) -> None:
    write_database(tmp_path, [session("ses_a", said("msg_a", text()), said("msg_b", text()))])
    connection = connect(tmp_path)
    connection.execute("UPDATE message SET data = 'no' WHERE id = 'msg_a'")
    connection.close()
    report = taken(tmp_path)
    assert (report.messages.new, report.parts.new, report.skipped) == (1, 1, 1)
    assert "its parts are left out" in reasons(report)["msg_a"]


def test_a_broken_session_takes_its_messages_along(team: Team, tmp_path: Path) -> None:
    write_tree(tmp_path, [GOOD, session("ses_b", said("msg_b", text()))])
    (tmp_path / "storage" / "session" / "prj" / "ses_b.json").write_text("{")
    report = taken(tmp_path)
    assert (report.sessions.new, report.skipped) == (1, 1)
    assert "its messages are left out" in reasons(report)["ses_b"]


def test_records_without_a_parent_are_named(team: Team, tmp_path: Path) -> None:
    tree, database = tmp_path / "tree", tmp_path / "database"
    write_tree(tree, [GOOD, session("ses_b", said("msg_b", text()))])
    (tree / "storage" / "session" / "prj" / "ses_b.json").unlink()
    (tree / "storage" / "message" / "ses_a" / "msg_a.json").unlink()
    write_database(database, [GOOD, session("ses_b", said("msg_b", text()))])
    connection = connect(database)
    connection.execute("PRAGMA foreign_keys = off")
    connection.execute("DELETE FROM session WHERE id = 'ses_b'")
    connection.execute("DELETE FROM message WHERE id = 'msg_a'")
    connection.close()
    expected = {
        "msg_b": "its session ses_b is not there",
        "msg_a-prt_000000": "its message msg_a is not there",
        "msg_a-prt_000001": "its message msg_a is not there",
    }
    for folder in (tree, database):
        report = taken(folder, is_dry=True)
        assert reasons(report) == expected, folder
        assert (report.sessions.new, report.messages.new, report.parts.new) == (1, 0, 0)
    assert reasons(taken(database, is_dry=True, sessions=frozenset({"ses_b"}))) == {}
    chosen = taken(tree, is_dry=True, sessions=frozenset({"ses_a"}))
    assert set(reasons(chosen)) == {"msg_a-prt_000000", "msg_a-prt_000001"}


def test_an_export_may_have_broken_records_too(team: Team, tmp_path: Path) -> None:
    export = session("ses_a", said("msg_a", text("good")))
    export["messages"][0]["parts"] += ["?", {"type": "text", "text": "nameless"}]
    export["messages"] += [None, {"info": {"role": "user"}, "parts": [text()]}, {"info": {"id": "msg_b"}}]
    report = taken(write_export(tmp_path / "a.json", export))
    assert (report.messages.new, report.parts.new, report.skipped) == (2, 1, 4)
    assert {why.partition(";")[0] for why in reasons(report).values()} == {"not an object of JSON", "it has no id"}
    assert report.facts()["not_understood"] == {"message of no role": {"count": 1, "example": "msg_b"}}


def test_two_sessions_that_claim_one_message_do_not_stop_the_import(team: Team, tmp_path: Path) -> None:
    write_tree(tmp_path, [session("ses_a", said("msg_a", text("first"))), session("ses_b", said("msg_b", text()))])
    folder = tmp_path / "storage" / "message"
    (folder / "ses_b" / "msg_a.json").write_text((folder / "ses_a" / "msg_a.json").read_text())
    report = taken(tmp_path)
    assert (report.sessions.new, report.messages.new, report.parts.new) == (2, 2, 2)
    assert "belongs to another session" in reasons(report)["msg_a"]
    assert taken(tmp_path).changes_nothing


def test_shapes_that_nobody_expects_are_kept_as_they_are(team: Team, tmp_path: Path) -> None:
    odd = [
        {"type": "text"},
        {"type": "text", "text": {"rich": ["text"]}, "time": {"start": -5, "end": 1e300}},
        tool(input=["a", "list"], output={"an": "object"}),
        tool(input=None, output=None, metadata=None, attachments={"no": "list"}),
        {"type": "tool", "tool": None, "state": "completed"},
        {"type": "patch", "files": "all"},
        {"type": "file"},
        {"type": "file", "mime": "text/plain", "url": "data:text/plain;base64,???"},
        {"type": "step-finish", "cost": "dear", "tokens": {"input": -3, "output": 1e30, "cache": 7}},
        {"type": "retry", "error": "just words"},
        {"type": 7},
        {},
    ]
    export = session("ses_a", said("msg_a", *odd, role="wizard", modelID=["m"], time="never"), title=None, time={})
    report = taken(write_export(tmp_path / "a.json", export))
    assert (report.parts.new, report.skipped) == (12, 0)
    assert history.imported(SUBJECT).get().title == "ses_a (imported from OpenCode)"
    parts = list(Part.objects.order_by("index"))
    assert parts[1].text == '{"rich": ["text"]}'
    assert (parts[2].input, parts[2].output) == ({"input": ["a", "list"]}, '{"an": "object"}')
    assert parts[8].usage == {"input_tokens": 0, "output_tokens": 0, "cached_tokens": 0, "cost_microusd": None}
    assert "just words" in parts[9].text
    assert set(report.facts()["not_understood"]) == {
        "message of wizard",
        "tool (state None)",
        "patch (no list of files)",
        "7",
        "no type",
    }
    assert taken(tmp_path / "a.json").changes_nothing


WRITERS: dict[str, Callable[[Path, list[Any]], Path]] = {
    "database": write_database,
    "tree": write_tree,
    "export": lambda folder, exports: write_export(folder / "a.json", exports[0]),
}


@pytest.mark.parametrize("layout", WRITERS)
def test_every_character_of_json_can_be_stored(team: Team, tmp_path: Path, layout: str) -> None:
    words = "NUL \x00, half a pair \ud800, 你好, 🐝, ﷽, \u202e"
    call = tool(input={f"key\x00{words}": [words]}, output=words)
    export = session("ses_a", said("msg_a", text(words), call, {"type": words}, modelID=words), title="🐝 \x00")
    report = taken(WRITERS[layout](tmp_path, [export]))
    assert (report.parts.new, report.skipped) == (3, 0)
    stored = words.replace("\x00", "\ufffd").replace("\ud800", "\ufffd")
    one, two, _ = Part.objects.order_by("index")
    assert one.text == two.output == stored
    assert two.input == {f"key\ufffd{stored}": [stored]}
    assert history.imported(SUBJECT).get().title == "🐝 \ufffd (imported from OpenCode)"
    assert next(iter(report.facts()["not_understood"])).isprintable()
    assert taken(tmp_path if layout != "export" else tmp_path / "a.json").changes_nothing


def test_text_that_is_no_utf_8_in_the_database_is_read_with_replacements(team: Team, tmp_path: Path) -> None:
    write_database(tmp_path, [GOOD])
    connection = connect(tmp_path)
    connection.execute("UPDATE session SET title = CAST(X'41FF42' AS TEXT)")
    connection.close()
    assert taken(tmp_path).sessions.new == 1
    assert history.imported(SUBJECT).get().title.startswith("A\ufffdB")


def test_what_is_huge_keeps_its_beginning_and_its_end_and_is_reported(team: Team, tmp_path: Path) -> None:
    huge = "<" + "x" * (2 * MOST_CHARS) + ">"
    call = tool(input={"content": huge, "edits": [{"old": huge}]}, output=huge)
    call["state"]["metadata"] = {"diff": "-a\n+b"}
    report = taken(write_database(tmp_path, [session("ses_a", said("msg_a", text(huge), call, text("small")))]))
    assert report.facts()["left_out"]["middle of a long text"] == {"count": 2, "example": "msg_a-prt_000000"}
    one, two, _ = Part.objects.order_by("index")
    assert one.text[0] + one.text[-1] == "<>"
    assert two.output.endswith("-a\n+b")
    for kept, most in ((one.text, MOST_CHARS), (two.output, MOST_CHARS), (two.input["content"], MOST_INPUT_CHARS)):
        assert most < len(kept) < most + 100
        assert "characters left out by the import" in kept
    assert len(two.input["edits"][0]["old"]) < MOST_INPUT_CHARS + 100
    assert taken(tmp_path).changes_nothing


def test_a_long_title_is_cut_before_the_word_on_where_it_comes_from(team: Team, tmp_path: Path) -> None:
    taken(write_export(tmp_path / "a.json", session("ses_a", title="long " * 100)))
    row = history.imported(SUBJECT).get()
    assert len(row.title) == 200
    assert row.title.endswith("… (imported from OpenCode)")


def test_an_empty_session_is_a_session(team: Team, tmp_path: Path) -> None:
    for write in WRITERS.values():
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        folder.mkdir()
        taken(write(folder, [session("ses_a")]))
    assert history.imported(SUBJECT).get().messages.count() == 0


def test_messages_are_in_the_order_of_time_where_ids_began_anew(team: Team, tmp_path: Path) -> None:
    early, late = (
        said("msg_zzz", text(), time={"created": 10**12}),
        said("msg_aaa", text(), time={"created": 10**12 + 5}),
    )
    for layout, write in WRITERS.items():
        folder = tmp_path / layout
        folder.mkdir()
        taken(write(folder, [session("ses_a", late, early)]))
        ids = list(Message.objects.order_by("number").values_list("pk", flat=True))
        assert ids == [name(SUBJECT, "msg_zzz"), name(SUBJECT, "msg_aaa")], layout
        history.remove(SUBJECT, "OpenCode")


def test_a_store_full_of_broken_records_fills_no_memory(team: Team, tmp_path: Path) -> None:
    write_database(tmp_path, [session("ses_a", said("msg_a", *(text() for _ in range(MOST_LISTED + 200))))])
    connection = connect(tmp_path)
    connection.execute("UPDATE part SET data = '?'")
    connection.close()
    report = taken(tmp_path)
    assert (report.skipped, len(report.listed)) == (MOST_LISTED + 200, MOST_LISTED)


def fault(path: Path) -> str:
    with pytest.raises(SourceFault) as caught:
        taken(path, is_dry=True)
    return str(caught.value)


def test_a_path_without_data_is_refused_with_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").write_text("hello")
    (tmp_path / "list.json").write_text("[]")
    (tmp_path / "other.json").write_text('{"name": "package"}')
    (tmp_path / "merged.json").write_text('Exporting session: ses_a\n{"info": {}}')
    old = tmp_path / "old" / "project" / "x" / "storage" / "session" / "info"
    old.mkdir(parents=True)
    for path, words in {
        "nowhere": "does not exist",
        "empty": "opencode debug paths",
        "notes.txt": "opencode export",
        "list.json": "opencode export",
        "other.json": "no info with an id",
        "merged.json": "without 2>&1",
        "old": "npx opencode-ai@1.1.65",
    }.items():
        told = fault(tmp_path / path)
        assert str(tmp_path / path) in told
        assert words in told, told


def test_a_database_of_something_else_or_damaged_is_refused(tmp_path: Path) -> None:
    other = tmp_path / "other.db"
    sqlite3.connect(other).execute("CREATE TABLE session (id)").connection.close()
    assert "has no id, worktree: it is not OpenCode's" in fault(other)
    write_database(tmp_path, [sample()])
    whole = (tmp_path / "opencode.db").read_bytes()
    damaged = tmp_path / "damaged.db"
    damaged.write_bytes(whole[:16] + os.urandom(len(whole) - 16))
    assert f"{damaged} cannot be read" in fault(damaged)
    cut = tmp_path / "cut.db"
    cut.write_bytes(whole[: len(whole) // 3])
    assert f"{cut} cannot be read" in fault(cut)


def test_what_this_user_may_not_read_is_refused_or_skipped(
    team: Team, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_tree(tmp_path, [GOOD])
    export = write_export(tmp_path / "a.json", GOOD)
    real = Path.read_bytes

    def refuse(path: Path) -> bytes:
        # The tests may run as root, who may read everything.
        if path in (export, part_in(tmp_path)):
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(Path, "read_bytes", refuse)
    assert "Read it as its owner" in fault(export)
    report = taken(tmp_path)
    assert (report.parts.new, report.skipped) == (1, 1)
    assert "Permission denied" in reasons(report)["msg_a-prt_000001"]


def test_a_tree_is_found_by_its_own_name_too(team: Team, tmp_path: Path) -> None:
    write_tree(tmp_path, [sample()])
    assert taken(tmp_path / "storage").sessions.new == 1
    before = rows()
    assert taken(tmp_path).changes_nothing
    assert rows() == before


def test_the_samples_hold_nothing_of_anybody() -> None:
    told = json.dumps([sample("export-1.1"), sample("export-1.18")])
    for word in ("/home/", "/root/", "/Users/", "access_token", "apiKey", "Bearer"):
        assert word not in told
    assert not re.search(r"\w@\w", told)
