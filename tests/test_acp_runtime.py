"""The ACP runtime, with a small agent made with the official package, and with the real `opencode acp`."""

import json
import os
import shlex
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from agents.contracts import Assignment, FailureOutcome, FailureReason, PermissionAsked, PermissionGiven, WorkOutcome
from agents.runtimes.acp import runtime
from agents.runtimes.acp.launch import launch
from agents.runtimes.acp.wording import answer_in
from agents.runtimes.inbox import Inbox
from agents.runtimes.opencode.server import Missing
from sessions import storable
from tests.conformance_acp import AGENT, PACKAGES, agent_in, command
from tests.fake_control_plane import FakeControlPlane, call, serving, steps
from tests.test_opencode_runtime import program  # noqa: F401
from tests.test_runner import processes_now_with
from tests.test_steered_agents import carry_out, seen, steer

SHOWS = f"{AGENT}:{PACKAGES}"
POLITE = "def greet(name):\n    return f'Good day, {name}.'\n"
WRITES = [call("write", path="a.txt", text="a")]
SUMMARY = '{"summary": "It greets politely now."}'
DONE = [{"content": f"Done.\n```json\n{SUMMARY}\n```\n"}]


@pytest.fixture
def plane(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeControlPlane]:
    monkeypatch.setenv("WAGGLE_RUNNER_ACP", command())
    monkeypatch.setenv("WAGGLE_RUNNER_ACP_SHOWS", SHOWS)
    with serving(tmp_path / "plane") as plane:
        yield plane


def work(plane: FakeControlPlane, **changes: Any) -> Assignment:
    return plane.assignment(runtime="acp", **changes)


def said_to_model(request: dict[str, Any]) -> str:
    return "\n".join(str(message["content"]) for message in request["messages"])


def test_what_an_agent_does_is_told_and_faults_go_back_to_it(plane: FakeControlPlane, tmp_path: Path) -> None:
    entries = [{"content": "be polite", "priority": "high", "status": "in_progress"}]
    plane.script = steps(
        [{"reasoning_content": "Hm."}, {"content": "I look "}, {"content": "first."}, call("plan", entries=entries)],
        [call("write", path="greet.py", text=POLITE)],
        [call("run", command="env; cat /proc/*/environ | tr '\\0' '\\n'")],
        [{"content": "All is well."}],
        [{"content": '```json\n{"summary": ""}\n```'}],
        DONE,
        DONE,
    )
    plane.faults = [["the summary is too short"]]

    outcome, _ = carry_out(work(plane), tmp_path / "run")

    assert isinstance(outcome, WorkOutcome), outcome
    assert outcome.files == ("greet.py",)
    assert plane.git("show", "attempts/1:greet.py") == POLITE.strip()
    texts = [part.text for part in plane.parts("text")]
    assert texts[1] == "# Node `greet`: Greet politely"
    assert "I look first." in texts
    assert plane.parts("reasoning")[0].text == "Hm."
    planned, written, ran = plane.parts("tool")
    assert planned.input == {"todos": [{"content": "be polite", "status": "in_progress"}]}
    assert (written.tool, written.state) == ("edit", "done")
    assert "+    return f'Good day, {name}.'" in written.output
    assert written.started_at <= written.ended_at
    assert (ran.tool, ran.state, list(ran.input)) == ("run", "done", ["command"])
    assert {part.usage.input_tokens for part in plane.parts("step")} == {11}
    doing = [record.text for record in plane.records if record.type == "doing"]
    assert "0 of 1 done: be polite" in doing
    assert "editing Write greet.py" in doing
    assert not [part for part in plane.parts() if part.state == "open"]
    places = [(part.message, part.index) for part in plane.parts()]
    assert len(places) == len(set(places)), "two parts have one place"
    # What was not an answer, or not a good one, went back to it.
    told = said_to_model(plane.requests[-1])
    assert "You have not finished." in told
    assert "String should have at least 1 character" in told
    assert "the summary is too short" in told
    # It has no key, and neither has what it starts.
    assert "OPENAI_API_KEY=none" in ran.output
    assert "wg_attempt_token" not in ran.output


def test_files_are_written_for_it_within_the_workspace_only(plane: FakeControlPlane, tmp_path: Path) -> None:
    plane.script = steps(
        [call("client_write", path="/workspace/new/a.txt", text="a")],
        [call("client_write", path="/workspace/../etc/a.txt", text="a")],
        [call("client_write", path="/etc/passwd", text="a")],
        [call("client_write", path="/workspace/.git/config", text="a")],
        [call("run", command="ln -s / out; ln -s /etc/passwd file; mkfifo pipe")],
        [call("client_write", path="/workspace/out/tmp/escaped.txt", text="a")],
        [call("client_write", path="/workspace/file", text="a")],
        [call("client_write", path="/workspace/pipe", text="a")],
        [call("run", command="rm out file pipe")],
        DONE,
    )

    outcome, _ = carry_out(work(plane), tmp_path / "run")

    assert isinstance(outcome, WorkOutcome), outcome
    assert outcome.files == ("new/a.txt",)
    answers = [message["content"] for message in plane.requests[-1]["messages"] if message["role"] == "tool"]
    assert answers[0] == "a"
    assert [answer.startswith("refused: ") for answer in answers] == [
        False, True, True, True, False, True, True, True, False,
    ]  # fmt: skip
    assert not Path("/tmp/escaped.txt").exists()


def test_the_rules_decide_and_their_words_reach_the_agent(plane: FakeControlPlane, tmp_path: Path) -> None:
    asked: list[PermissionAsked] = []

    def judge(question: PermissionAsked) -> PermissionGiven:
        asked.append(question)
        is_fine = "yes" in question.arguments["command"]
        return PermissionGiven(verdict="allow") if is_fine else PermissionGiven(verdict="deny", why="Not that one.")

    plane.judge = judge
    plane.script = steps([call("run", command="touch yes.txt")], [call("run", command="touch no.txt")], DONE, DONE)

    outcome, _ = carry_out(work(plane), tmp_path / "run")

    assert isinstance(outcome, WorkOutcome), outcome
    assert outcome.files == ("yes.txt",)
    assert [(one.tool, one.arguments) for one in asked] == [
        ("shell", {"command": "touch yes.txt"}), ("shell", {"command": "touch no.txt"}),
    ]  # fmt: skip
    assert [part.state for part in plane.parts("tool")] == ["done", "failed"]
    assert "Not that one." in said_to_model(plane.requests[-1])


def test_what_it_has_us_write_and_read_is_put_to_the_rules_and_once(plane: FakeControlPlane, tmp_path: Path) -> None:
    asked: list[tuple[str, Any, Any]] = []

    def judge(question: PermissionAsked) -> PermissionGiven:
        asked.append((question.tool, question.arguments["path"], question.arguments.get("content")))
        is_fine = "deploy" not in question.arguments["path"] and question.arguments.get("content") != "other"
        return PermissionGiven(verdict="allow") if is_fine else PermissionGiven(verdict="deny", why="Not that file.")

    plane.judge = judge
    plane.script = steps(
        [call("client_write", path="/workspace/a.txt", text="a")],
        [call("client_write", path="/workspace/deploy/key.txt", text="a")],
        [call("asked_write", path="b.txt", text="b")],
        [call("asked_write", path="b.txt", text="other", shown="c")],
        [call("asked_write", path="deploy/b.txt", text="b")],
        DONE,
        DONE,
    )

    outcome, _ = carry_out(work(plane, unasked=()), tmp_path / "run")

    assert isinstance(outcome, WorkOutcome), outcome
    assert outcome.files == ("a.txt", "b.txt")
    assert plane.git("show", "attempts/1:b.txt") == "b"
    assert asked == [
        ("edit", "a.txt", "a"), ("read", "a.txt", None),
        ("edit", "deploy/key.txt", "a"),
        ("edit", "b.txt", None), ("read", "b.txt", None),
        ("edit", "b.txt", None), ("edit", "b.txt", "other"),
        ("edit", "deploy/b.txt", None),
    ]  # fmt: skip
    answers = [message["content"] for message in plane.requests[-1]["messages"] if message["role"] == "tool"]
    assert [answer.partition(".")[0] for answer in answers] == [
        "a", "refused: 'deploy/key", "b", "refused: 'b", "A person refused",
    ]  # fmt: skip
    assert "Not that file." in answers[1]


def test_a_message_waits_for_the_end_of_the_turn_and_an_interrupt_stops_it(
    plane: FakeControlPlane, tmp_path: Path
) -> None:
    marker = uuid4().hex
    plane.script = steps(
        [{"pause": 0.5}, *WRITES],
        [{"content": "So far."}],
        [call("run", command=f"sh -c 'sleep 60 # {marker}'; true")],
        DONE,
    )
    message, stop = steer(text="Call it b.txt."), steer("interrupt", "Do not wait.")

    async def talk(inbox: Inbox) -> None:
        await seen(lambda: plane.requests)
        inbox.put(message)
        await seen(lambda: processes_now_with(marker))
        inbox.put(stop)

    outcome, taken = carry_out(work(plane), tmp_path / "run", talk)

    assert isinstance(outcome, WorkOutcome), outcome
    assert taken == [message.id, stop.id]
    assert not processes_now_with(marker)
    heard = ["b.txt" in said_to_model(request) for request in plane.requests]
    assert heard == [False, False, True, True]
    assert "Do not wait." in said_to_model(plane.requests[-1])
    assert not [part for part in plane.parts() if part.state == "open"]


def test_who_has_not_finished_after_all_calls_of_its_model_has_failed(plane: FakeControlPlane, tmp_path: Path) -> None:
    plane.script = lambda messages: WRITES
    outcome, _ = carry_out(work(plane, model_calls=3), tmp_path / "run")
    assert isinstance(outcome, FailureOutcome), outcome
    assert outcome.message == "The agent used all of its 3 model calls without finishing."


def test_who_cannot_be_told_any_more_has_not_heard_it(plane: FakeControlPlane, tmp_path: Path) -> None:
    end = [{"pause": 0.4}, *DONE]
    plane.script = steps(WRITES, end, end, end)
    words = [steer(text=f"Word {number}.") for number in range(3)]

    async def talk(inbox: Inbox) -> None:
        for number, word in enumerate(words, 2):
            await seen(lambda number=number: len(plane.requests) == number)
            inbox.put(word)

    outcome, taken = carry_out(work(plane), tmp_path / "run", talk)

    assert isinstance(outcome, WorkOutcome), outcome
    assert taken == [word.id for word in words[:2]]


@pytest.mark.parametrize(
    ("said", "answer"),
    [
        ('Done.\n```json\n{"a": 1}\n```\nBye.', {"a": 1}),
        ('```json\n{"a": 1}\n```\nNo, better:\n```json\n{"a": 2}\n```', {"a": 2}),
        ('```json\n{"a": "run ```json\\n{}\\n``` there"}\n```', {"a": "run ```json\n{}\n``` there"}),
        (' {"a": 1}\n', {"a": 1}),
        ("```json\n[1]\n```", None),
        ('```json\n{"a": \n```', None),
        ("I am done.", None),
        ("```json", None),
        ("{" * 100_000, None),
    ],
)
def test_the_answer_in_a_message(said: str, answer: object) -> None:
    assert answer_in(said) == answer


def test_what_is_shown_lies_where_the_sandbox_has_nothing_of_its_own(tmp_path: Path) -> None:
    agent = tmp_path / "agent"
    agent.touch()
    shows = {"WAGGLE_RUNNER_ACP": f"{agent} --acp", "WAGGLE_RUNNER_ACP_SHOWS": f"{agent}:/usr/bin"}
    seen = launch(shows).seen()
    assert seen[agent] == ("/opt/shown/0/agent" if tmp_path.is_relative_to("/tmp") else str(agent))
    assert seen[Path("/usr/bin")] == "/usr/bin"
    for wrong in ("/", "relative", str(tmp_path / "nothing")):
        with pytest.raises(Missing, match="WAGGLE_RUNNER_ACP_SHOWS"):
            launch(shows | {"WAGGLE_RUNNER_ACP_SHOWS": wrong})
    with pytest.raises(Missing, match="WAGGLE_RUNNER_ACP"):
        launch({"WAGGLE_RUNNER_ACP": "agent 'unfinished"})


def test_an_agent_that_does_not_stop_is_ended_and_goes_on_with_what_was_said(
    plane: FakeControlPlane, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WAGGLE_RUNNER_ACP", command("stubborn"))
    marker = uuid4().hex
    answers = iter([[call("run", command=f"sh -c 'sleep 60 # {marker}'; true")], WRITES, DONE])
    plane.script = lambda messages: next(answers)

    async def talk(inbox: Inbox) -> None:
        await seen(lambda: processes_now_with(marker))
        inbox.put(steer("interrupt", "Do not wait."))

    outcome, _ = carry_out(work(plane), tmp_path / "run", talk)

    assert isinstance(outcome, WorkOutcome), outcome
    assert not processes_now_with(marker)
    (error,) = plane.parts("error")
    assert "did not stop its turn within 3 s" in error.text
    assert "Do not wait." in said_to_model(plane.requests[-1])


@pytest.mark.parametrize("kind", ["", "forgetful"])
def test_an_agent_that_is_killed_goes_on_in_its_session_if_it_can_load_one(
    plane: FakeControlPlane, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setenv("WAGGLE_RUNNER_ACP", command(kind))
    answers = iter([WRITES, [{"content": "I ponder"}, {"pause": 30}], [call("write", path="b.txt", text="b")], DONE])
    plane.script = lambda messages: next(answers)

    async def kill(inbox: Inbox) -> None:
        await seen(lambda: [part for part in plane.parts("text") if part.text == "I ponder"])
        os.kill(agent_in(tmp_path / "run"), signal.SIGKILL)

    outcome, _ = carry_out(work(plane), tmp_path / "run", kill)

    assert not [part for part in plane.parts() if part.state == "open"]
    assert "died: exit code 137. It is started again" in plane.parts("error")[0].text
    if kind == "forgetful":
        assert isinstance(outcome, FailureOutcome), outcome
        assert outcome.reason == FailureReason.LOST
        assert "cannot go on with a session" in outcome.message
        return
    assert isinstance(outcome, WorkOutcome), outcome
    assert outcome.files == ("a.txt", "b.txt")
    assert "interrupted in the middle of your work" in said_to_model(plane.requests[-1])
    # What was said before is known to the agent, and is in the transcript once.
    assert [part.text for part in plane.parts("text")].count("I ponder") == 1
    assert len(plane.parts("tool")) == 2


def answering(message: dict[str, Any]) -> str:
    """An agent that answers everything so."""
    return shlex.join(["sh", "-c", f"read line; echo {shlex.quote(json.dumps(message))}; sleep 60"])


ODDITIES = r"""
import json, sys

def say(**message):
    print(json.dumps({"jsonrpc": "2.0", **message}), flush=True)

def update(kind, **more):
    say(method="session/update", params={"sessionId": "s", "update": {"sessionUpdate": kind, **more}})

def text(words):
    update("agent_message_chunk", content={"type": "text", "text": words})

deep = []
for _ in range(400):
    deep = [deep]
for line in sys.stdin:
    asked = json.loads(line)
    match asked.get("method"):
        case "initialize":
            say(id=asked["id"], result={"protocolVersion": 1, "agentCapabilities": {}})
        case "session/new":
            say(id=asked["id"], result={"sessionId": "s"})
        case "session/prompt":
            for number in range(30):
                update("of tomorrow", number=number)
                say(method="_vendor/news", params={})
                say(id=900 + number, method="fs/dance", params={})
            update("tool_call", toolCallId="1", title="deep", rawInput={"deep": deep, "half": "\ud800"})
            update("tool_call_update", toolCallId="1", status="completed")
            update("tool_call_update", toolCallId="1", status="in_progress")
            say(id=777, result={})
            text("A half \ud800 and a NUL \0.\n")
            open("a.txt", "w").close()
            text('```json\n{"summary": "Done."}\n```')
            say(id=asked["id"], result={"stopReason": "end_turn"})
            say(id=asked["id"], result={"stopReason": "end_turn"})
"""


def test_oddities_of_an_agent_cost_nothing(
    plane: FakeControlPlane, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent = tmp_path / "shown" / "agent.py"
    agent.parent.mkdir()
    agent.write_text(ODDITIES)
    monkeypatch.setenv("WAGGLE_RUNNER_ACP", f"python3 {agent}")
    monkeypatch.setenv("WAGGLE_RUNNER_ACP_SHOWS", str(agent.parent))
    monkeypatch.setattr(runtime, "RESTARTS", 0)

    outcome, _ = carry_out(work(plane), tmp_path / "run")

    assert isinstance(outcome, WorkOutcome), outcome
    (tool,) = plane.parts("tool")
    assert (tool.state, tool.input["half"]) == ("done", "\N{REPLACEMENT CHARACTER}")
    assert storable.DEEPER in str(tool.input["deep"])
    assert "A half \N{REPLACEMENT CHARACTER} and a NUL" in "".join(part.text for part in plane.parts("text"))


NONSENSE = {
    "speaks another version": (command("old"), "speaks version 0 of the protocol, and we speak 1"),
    "is not there": ("/usr/bin/no-such-agent", "no-such-agent"),
    "ends at once": ("sh -c 'echo Not today.; exit 3'", "exit code 3"),
    "talks": ("sh -c 'while echo Hello, I am an agent.; do :; done'", "not the protocol (no JSON)"),
    "never ends its line": ("sh -c 'head -c 20000000 /dev/zero; sleep 60'", "a line of more than 8 MB"),
    "answers something else": (answering({"id": 0, "result": [1]}), "answered `initialize` with something else"),
    "refuses": (
        answering({"id": 0, "error": {"code": -32000, "message": "Log in"}}),
        "wants to be logged in",
    ),
}


@pytest.mark.parametrize("kind", NONSENSE)
def test_an_agent_that_cannot_be_understood_fails_with_words(
    plane: FakeControlPlane, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    line, words = NONSENSE[kind]
    monkeypatch.setenv("WAGGLE_RUNNER_ACP", line)
    monkeypatch.setattr(runtime, "RESTARTS", 0)

    outcome, _ = carry_out(work(plane), tmp_path / "run")

    assert isinstance(outcome, FailureOutcome), outcome
    assert outcome.reason in (FailureReason.AGENT_ERROR, FailureReason.LOST)
    assert words in f"{outcome.message} {outcome.detail}"
    assert not [part for part in plane.parts() if part.state == "open"]


def test_opencode_works_over_the_protocol_too(
    plane: FakeControlPlane,
    tmp_path: Path,
    program: Path,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("WAGGLE_RUNNER_ACP", "opencode acp")
    monkeypatch.setenv("WAGGLE_RUNNER_ACP_SHOWS", "")
    monkeypatch.setenv("WAGGLE_RUNNER_OPENCODE", str(program))
    plane.script = steps(
        [
            {"reasoning_content": "Hm."},
            {"content": "I look "},
            {"content": "first."},
            call("read", filePath="greet.py"),
        ],
        [call("write", filePath="greet.py", content=POLITE), call("read", filePath="/etc/passwd")],
        [call("bash", command="env; touch extra.txt", description="look around")],
        [{"content": "I ponder"}, {"pause": 30}],
        DONE,
    )

    async def stop(inbox: Inbox) -> None:
        await seen(lambda: [part for part in plane.parts("text") if part.text == "I ponder"])
        inbox.put(steer("interrupt", "Enough."))

    outcome, _ = carry_out(work(plane), tmp_path / "run", stop)

    assert isinstance(outcome, WorkOutcome), outcome
    assert outcome.files == ("extra.txt", "greet.py")
    assert [(part.tool, part.state) for part in plane.parts("tool")] == [
        ("read", "done"), ("write", "done"), ("read", "failed"), ("bash", "done"),
    ]  # fmt: skip
    read, write, _, shell = plane.parts("tool")
    assert "return 'hello ' + name" in read.output
    assert write.input["filePath"].endswith("greet.py")
    assert "PATH=" in shell.output
    assert "wg_attempt_token" not in shell.output
    assert "OPENCODE_CONFIG_CONTENT=\n" in shell.output, "its commands find its settings"
    assert "Enough." in said_to_model(plane.requests[-1])
    assert len(plane.requests) == 5, "there was a call for a title"
    assert not [part for part in plane.parts() if part.state == "open"]
