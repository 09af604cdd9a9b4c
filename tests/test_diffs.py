"""Diffs, events in words, Markdown: how things are shown."""

import subprocess
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from sessions.fragments import markdown
from sessions.kinds import KINDS as EVENT_KINDS
from swarms.diffs import LONGEST, FileDiff, parse
from swarms.words import KINDS, tell


def diff_of(folder: Path, before: dict[str, bytes], after: dict[str, bytes]) -> list[FileDiff]:
    """Git's own diff between two trees."""

    def git(*words: str) -> str:
        command = ["git", "-c", "user.name=t", "-c", "user.email=t@t.invalid", *words]
        return subprocess.run(command, cwd=folder, check=True, capture_output=True).stdout.decode("utf-8", "replace")

    git("init", "-q", ".")
    for tree in (before, after):
        for old in folder.iterdir():
            if old.name != ".git":
                old.unlink()
        for name, data in tree.items():
            (folder / name).write_bytes(data)
        git("add", "-A")
        git("commit", "-q", "--allow-empty", "-m", "x")
    return parse(git("diff", "-M", "HEAD~1", "HEAD"))


def test_a_changed_file_is_numbered_on_both_sides(tmp_path: Path) -> None:
    (file,) = diff_of(tmp_path, {"a.py": b"one\ntwo\nthree\n"}, {"a.py": b"one\n2\n<b>\nthree\n"})
    rows = [(line.kind, line.old, line.new) for line in file.lines]
    assert rows == [
        ("hunk", None, None), ("same", 1, 1), ("del", 2, None), ("add", None, 2), ("add", None, 3), ("same", 3, 4),
    ]  # fmt: skip
    assert (file.path, file.added, file.removed) == ("a.py", 2, 1)
    assert "&lt;" in str(file.lines[4].html)
    assert "<b>" not in "".join(str(line.html) for line in file.lines)


def test_new_deleted_renamed_and_binary_files_say_so(tmp_path: Path) -> None:
    body = b"".join(b"line %d\n" % i for i in range(20))
    files = diff_of(
        tmp_path,
        {"gone.txt": b"x\n", "old name.txt": body, "b.bin": b"\x00\x01"},
        {"new.txt": b"y\n", "new name.txt": body + b"more\n", "b.bin": b"\x00\x02"},
    )
    shown = {file.path: (file.note, file.was) for file in files}
    assert shown == {
        "gone.txt": ("deleted", ""), "new.txt": ("new file", ""), "b.bin": ("binary", ""),
        "new name.txt": ("", "old name.txt"),
    }  # fmt: skip


def test_the_longest_diffs_are_cut_and_say_so(tmp_path: Path) -> None:
    (file,) = diff_of(tmp_path, {}, {"big.txt": b"x\n" * (LONGEST + 5)})
    assert file.is_cut
    assert file.added == LONGEST + 5
    assert len(file.lines) <= LONGEST


def test_strange_line_ends_keep_their_rows(tmp_path: Path) -> None:
    (file,) = diff_of(tmp_path, {"a.py": b"x\r\ny\x0cz\n"}, {"a.py": "x\r\ny\u2028\x0cw\r\nlast".encode()})
    assert [line.kind for line in file.lines] == ["hunk", "same", "del", "add", "add"]


@given(st.text(max_size=300))
def test_no_text_breaks_the_diff(text: str) -> None:
    parse(f"diff --git a/x.py b/x.py\n--- a/x.py\n+++ b/x.py\n@@ -1 +1,2 @@\n{text}")


@given(st.text(alphabet="<>\"'&/=:()[]!`*_ abcjsriptonclk\n", max_size=200))
def test_markdown_never_becomes_something_that_acts(text: str) -> None:
    html = str(markdown(f"{text}\n\n<script>alert(1)</script> [x](javascript:alert(1)) ![x](http://y.example/z.png)"))
    assert "<script" not in html
    assert "<img" not in html
    assert 'href="javascript' not in html.lower()
    assert " onclick=" not in html.replace("&quot;", "").split("<p>")[0] or "<" not in text


def test_names_of_files_are_no_emphasis() -> None:
    assert str(markdown("**Both** exports of kit/__init__.py stay, and `__all__`.")) == (
        "<p><strong>Both</strong> exports of kit/__init__.py stay, and <code>__all__</code>.</p>\n"
    )


def test_a_feed_knows_only_kinds_that_exist() -> None:
    assert set(KINDS) <= set(EVENT_KINDS)


def test_quiet_moves_are_not_told() -> None:
    facts = {"id": "x", "name": "parser", "before": "ready", "after": "running", "because": "", "reason": ""}
    assert tell("node.moved", facts) is None


def test_a_reason_is_told_in_words_and_once() -> None:
    facts = {"id": "x", "name": "parser", "before": "merging", "because": "merge_conflict: in a.py", "reason": ""}
    said = [tell("node.moved", facts | {"after": after}) for after in ("failed", "ready")]
    assert [(one.text, one.why) for one in said if one] == [
        ("parser: failed", "merge conflict: in a.py"),
        ("parser will be tried again", ""),
    ]
