"""The built-in agent asks before its tools do something, on a real workspace, of a scripted control plane."""

import asyncio
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agents.contracts import PermissionAsked, PermissionGiven, WorkOutcome
from agents.runner.reports import Reports, Stale
from agents.runtimes import policy
from agents.runtimes.policy import Policy, in_workspace
from agents.runtimes.recording import Transcript
from tests.fake_control_plane import FakeControlPlane, call, serving, steps
from tests.test_builtin_runtime import DONE, carry_out

ALLOW, ASK = PermissionGiven(verdict="allow"), PermissionGiven(verdict="ask")
NO = PermissionGiven(verdict="deny", why="Not allowed. Mind the files.")


@pytest.fixture
def plane(tmp_path: Path) -> Iterator[FakeControlPlane]:
    with serving(tmp_path / "plane") as plane:
        yield plane


def said_to_model(plane: FakeControlPlane) -> str:
    return str(plane.requests[-1]["messages"])


def test_what_has_an_effect_is_asked_about_first_and_reading_is_not(plane: FakeControlPlane, tmp_path: Path) -> None:
    plane.script = steps(
        [call("list_files"), call("read_file", path="greet.py"), call("search", pattern="def")],
        [call("write_file", path="a.txt", content="x" * 5000)],
        [call("edit_file", path="greet.py", old="hello", new="good day")],
        [call("run_command", command="echo b > b.txt; true")],
        DONE,
    )
    outcome = carry_out(plane.assignment(), tmp_path / "run", WorkOutcome)
    assert outcome.files == ("a.txt", "b.txt", "greet.py")
    write, edit, shell = plane.asked
    assert (write.tool, write.arguments["path"]) == ("edit", "a.txt")
    assert write.arguments["content"].startswith("x" * 4000 + "\n[… 5000 characters")
    assert hashlib.sha256(b"x" * 5000).hexdigest() in write.arguments["content"]
    assert (edit.tool, edit.arguments) == ("edit", {"path": "greet.py", "old": "hello", "new": "good day"})
    assert (shell.tool, shell.arguments) == ("shell", {"command": "echo b > b.txt; true"})
    assert len({one.call for one in plane.asked}) == 3


def test_a_denied_call_has_no_effect_and_the_agent_hears_why(plane: FakeControlPlane, tmp_path: Path) -> None:
    plane.judge = lambda asked: NO if asked.arguments.get("path") == "no.txt" or asked.tool == "shell" else ALLOW
    plane.script = steps(
        [call("write_file", path="no.txt", content="x"), call("write_file", path="yes.txt", content="x")],
        [call("run_command", command="touch ran.txt")],
        DONE,
    )
    outcome = carry_out(plane.assignment(), tmp_path / "run", WorkOutcome)
    assert outcome.files == ("yes.txt",)
    assert said_to_model(plane).count("Mind the files.") == 2
    assert [part.state for part in plane.parts("tool")[:3]] == ["failed", "done", "failed"]


def test_an_agent_waits_aloud_for_a_person_and_asks_under_one_name(
    plane: FakeControlPlane, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(policy, "FIRST_PAUSE", 0.01)
    monkeypatch.setattr(policy, "ALIVE_SECONDS", 0.02)
    plane.judge = lambda asked: ALLOW if len(plane.asked) > 6 else ASK
    plane.script = steps([call("write_file", path="a.txt", content="x")], DONE)
    assert carry_out(plane.assignment(), tmp_path / "run", WorkOutcome).files == ("a.txt",)
    assert len(plane.asked) == 7
    assert len({(one.call, str(one.arguments)) for one in plane.asked}) == 1
    said = [record.text for record in plane.records if record.type == "doing"]
    assert said.count("waits for permission to use edit") > 1, "a stall is silence"


def test_a_rule_for_reading_makes_reading_a_question(plane: FakeControlPlane, tmp_path: Path) -> None:
    plane.judge = lambda asked: NO if asked.tool == "read" else ALLOW
    plane.script = steps([call("read_file", path="greet.py"), call("write_file", path="a", content="x")], DONE)
    carry_out(plane.assignment(unasked=("list",)), tmp_path / "run", WorkOutcome)
    assert [one.tool for one in plane.asked] == ["read", "edit"]
    assert "hello" not in said_to_model(plane)


def refusal(plane: FakeControlPlane, tool: str, arguments: dict[str, Any], **assignment: Any) -> str:
    async def ask() -> str:
        reports = Reports(plane.assignment(**assignment))
        try:
            return await Policy(reports, Transcript(reports)).refusal(tool, arguments, call="c1")
        finally:
            await reports.close()

    return asyncio.run(ask())


@pytest.mark.parametrize("path", ["../x", "/etc/passwd", "~/x", "a/../../x", ["a", "../x"], 7])
def test_a_path_outside_is_always_a_question(plane: FakeControlPlane, path: Any) -> None:
    plane.judge = lambda asked: NO
    assert refusal(plane, "read", {"path": path}) == NO.why
    assert refusal(plane, "read", {"path": "a/../b"}) == ""


def test_a_lost_connection_is_no_second_question(plane: FakeControlPlane, monkeypatch: pytest.MonkeyPatch) -> None:
    lost: list[PermissionAsked] = []

    def judge(asked: PermissionAsked) -> PermissionGiven:
        lost.append(asked)
        if len(lost) < 3:
            raise ConnectionError("the answer is lost")
        return ALLOW

    plane.judge = judge
    assert refusal(plane, "shell", {"command": "ls"}) == ""
    assert len(lost) == 3
    assert len(set(map(str, lost))) == 1


def test_what_cannot_be_asked_is_not_allowed(plane: FakeControlPlane) -> None:
    assert refusal(plane, "x" * 40, {}, url=f"{plane.url}/git/nowhere").startswith(
        "Not allowed: nobody could be asked."
    )
    plane.stale = True
    with pytest.raises(Stale):
        refusal(plane, "shell", {"command": "ls"})


def test_a_path_is_told_as_rules_know_it() -> None:
    assert in_workspace("/workspace/src/../a.py", "/workspace") == "a.py"
    assert in_workspace("/workspace", "/workspace") == "."
    assert in_workspace("/workspacex/a", "/workspace") == "/workspacex/a"
    assert in_workspace("/workspace/../etc/passwd", "/workspace") == "/workspace/../etc/passwd"
    assert in_workspace("a/b", "/workspace") == "a/b"
