"""The built-in agents and the checks, on a real repository, a scripted model and a real sandbox."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest

from agents.contracts import (
    Assignment,
    CheckOutcome,
    FailureOutcome,
    FailureReason,
    ModelAccess,
    Outcome,
    PlanOutcome,
    ReviewOutcome,
    WorkOutcome,
)
from agents.runner.reports import Reports
from agents.runner.sandbox import Sandbox, SandboxMissing, detect
from agents.runtimes import recording, runtime_of
from agents.runtimes.checks import counts
from agents.runtimes.context import Context
from agents.runtimes.recording import Transcript
from tests.fake_control_plane import FakeControlPlane, call, check, serving, steps

Wanted = TypeVar("Wanted", PlanOutcome, WorkOutcome, ReviewOutcome, CheckOutcome, FailureOutcome)
POLITE = "def greet(name):\n    return f'Good day, {name}.'\n"
BIG = "mkdir out; head -c 3000000 /dev/zero > out/big.png; echo a > 'out/[a].txt'; echo b > out/a.txt"
DONE = [call("final_result", summary="It greets politely now.")]


@pytest.fixture
def plane(tmp_path: Path) -> Iterator[FakeControlPlane]:
    with serving(tmp_path / "plane") as plane:
        yield plane


def carry_out(assignment: Assignment, folder: Path, wanted: type[Wanted], sandbox: Sandbox | None = None) -> Wanted:
    """Runs an assignment in this process, as a child of the runner does; its outcome must be of the wanted kind."""

    async def work() -> Outcome:
        reports = Reports(assignment)
        sending = asyncio.create_task(reports.run())
        try:
            outcome = await runtime_of(assignment).run(assignment, Context(folder, sandbox or detect(), reports))
            if not reports.accepted:
                await reports.outcome(outcome)
            return outcome
        finally:
            sending.cancel()
            await reports.close()

    outcome = asyncio.run(work())
    assert isinstance(outcome, wanted), outcome
    return outcome


def test_a_developer_changes_files_and_its_commit_is_pushed(plane: FakeControlPlane, tmp_path: Path) -> None:
    plane.script = steps(
        [{"content": "I look "}, {"content": "first."}, call("read_file", path="greet.py")],
        [call("write_file", path="greet.py", content=POLITE)],
        [call("run_command", command="python3 -c 'import greet; print(greet.greet(\"Ada\"))'; touch extra.txt")],
        DONE,
    )

    outcome = carry_out(plane.assignment(), tmp_path / "run", WorkOutcome)

    assert outcome.files == ("extra.txt", "greet.py")
    assert plane.outcomes == [outcome]
    assert plane.git("rev-parse", "attempts/1") == outcome.commit
    assert plane.git("show", "attempts/1:greet.py") == POLITE.strip()
    assert plane.git("log", "-1", "--format=%an <%ae>|%s|%b", "attempts/1") == (
        "dev-1 <dev-1@acme.invalid>|Greet politely|It greets politely now."
    )


def test_everything_an_agent_does_is_in_the_transcript(plane: FakeControlPlane, tmp_path: Path) -> None:
    plane.script = steps(
        [
            {"reasoning_content": "Hm."},
            {"content": "I look "},
            {"content": "first."},
            call("read_file", path="greet.py"),
        ],
        [call("write_file", path="greet.py", content=POLITE), call("read_file", path="../etc/passwd")],
        DONE,
    )

    carry_out(plane.assignment(), tmp_path / "run", WorkOutcome)

    messages = {record.id: record for record in plane.records if record.type == "message"}
    assert [message.role for message in messages.values()] == ["system", "user"] + ["assistant"] * 3
    assert [message.model for message in messages.values()][2:] == ["scripted-1"] * 3
    assert plane.parts("text")[1].text == "# Node `greet`: Greet politely"
    assert plane.parts("text")[2].text == "I look first."
    assert plane.parts("reasoning")[0].text == "Hm."
    tools = plane.parts("tool")
    assert [(part.tool, part.state) for part in tools][:2] == [("read_file", "done"), ("write_file", "done")]
    assert tools[0].input == {"path": "greet.py"}
    assert "return 'hello ' + name" in tools[0].output
    assert (tools[2].tool, tools[2].state) == ("read_file", "failed")
    assert (tools[-1].tool, tools[-1].state) == ("final_result", "done")
    assert "+    return f'Good day, {name}.'" in plane.parts("patch")[0].text
    assert [part.usage.input_tokens for part in plane.parts("step")] == [11, 11, 11]
    assert plane.parts("step")[0].usage.cached_tokens == 3
    doing = [record.text for record in plane.records if record.type == "doing"]
    assert "reading greet.py" in doing
    assert "writing greet.py" in doing
    assert not [part for part in plane.parts() if part.state == "open"]


def test_places_in_a_message_are_never_given_twice(plane: FakeControlPlane, tmp_path: Path) -> None:
    plane.script = steps([{"content": "a"}, call("list_files")], [call("write_file", path="a", content="b")], DONE)

    carry_out(plane.assignment(), tmp_path / "run", WorkOutcome)

    places = [(part.message, part.index) for part in plane.parts()]
    assert len(places) == len(set(places))


def test_text_is_sent_whole_now_and_then_while_it_grows(plane: FakeControlPlane, tmp_path: Path) -> None:
    said: list[dict[str, Any]] = [
        {"content": "one "},
        {"pause": 1.5},
        {"content": "two "},
        {"pause": 0.2},
        {"content": "three "},
    ]
    plane.script = steps([*said, call("write_file", path="a", content="b")], DONE)

    carry_out(plane.assignment(), tmp_path / "run", WorkOutcome)

    kept = [record for record in plane.records if record.type == "part" and record.text.startswith("one")]
    assert [(part.state, part.text) for part in kept] == [
        ("open", "one "),
        ("open", "one two "),
        ("done", "one two three "),
    ]


def test_a_tool_call_says_when_it_began_and_ended(plane: FakeControlPlane, tmp_path: Path) -> None:
    plane.script = steps([call("run_command", command="sleep 0.3 && touch a")], DONE)

    carry_out(plane.assignment(), tmp_path / "run", WorkOutcome)

    (part,) = [part for part in plane.parts("tool") if part.tool == "run_command"]
    assert (part.ended_at - part.started_at).total_seconds() >= 0.3


def test_deltas_fit_together_to_the_text_of_their_part(plane: FakeControlPlane, tmp_path: Path) -> None:
    words = [f"wörd{number} " for number in range(60)]
    said = [{"content": word} for word in words]
    plane.script = steps(
        [*said[:30], {"pause": 0.2}, *said[30:], call("write_file", path="a", content="b")],
        DONE,
    )

    carry_out(plane.assignment(), tmp_path / "run", WorkOutcome)

    text = ""
    part = next(part for part in plane.parts("text") if part.text.startswith("wörd0"))
    deltas = 0
    for record in plane.records:
        if record.type == "part" and record.id == part.id and record.state == "open":
            text = record.text
        elif record.type == "delta" and record.part == part.id:
            assert record.offset == len(text)
            text += record.text
            deltas += 1
    assert text == part.text == "".join(words)
    assert 1 <= deltas < 60


def test_a_briefing_reaches_the_model_as_the_first_user_message(plane: FakeControlPlane, tmp_path: Path) -> None:
    plane.script = steps([call("write_file", path="a", content="b")], DONE)

    carry_out(plane.assignment(), tmp_path / "run", WorkOutcome)

    messages = plane.requests[0]["messages"]
    assert next(m for m in messages if m["role"] == "user")["content"] == "# Node `greet`: Greet politely"
    assert {tool["function"]["name"] for tool in plane.requests[0]["tools"]} == {
        "list_files", "read_file", "search", "write_file", "edit_file", "run_command", "update_plan",
        "ask_person", "final_result",
    }  # fmt: skip


def test_an_agent_whose_part_lies_outside_the_repository_leaves_the_commit_where_it_was(
    plane: FakeControlPlane, tmp_path: Path
) -> None:
    plane.script = steps(DONE)
    assignment = plane.assignment(writes=())

    outcome = carry_out(assignment, tmp_path / "run", WorkOutcome)

    assert assignment.repository is not None
    assert outcome.commit == assignment.repository.commit
    assert "attempts/1" not in plane.git("branch", "--list")


def test_faults_of_a_plan_go_back_to_the_coordinator(plane: FakeControlPlane, tmp_path: Path) -> None:
    node = {"key": "a", "title": "A", "role": "developer", "instructions": "Do it.", "depends_on": ["ghost"]}
    wrong = call("final_result", summary="Plan.", nodes=[node])
    right = call("final_result", summary="Plan.", nodes=[node | {"depends_on": []}])
    plane.script = steps([call("list_files")], [wrong], [right])
    plane.faults = [["node a depends on 'ghost', which is not in the plan"]]

    outcome = carry_out(plane.assignment("plan"), tmp_path / "run", PlanOutcome)

    assert outcome.plan.nodes[0].depends_on == ()
    assert plane.outcomes == [outcome]
    told = [m for m in plane.requests[-1]["messages"] if m["role"] == "tool"][-1]["content"]
    assert "node a depends on 'ghost'" in told
    finals = [part for part in plane.parts("tool") if part.tool == "final_result"]
    assert [part.state for part in finals] == ["failed", "done"]
    assert "ghost" in finals[0].output


def test_a_plan_that_stays_wrong_fails_with_the_proposal_and_its_faults(
    plane: FakeControlPlane, tmp_path: Path
) -> None:
    node = {"key": "a", "title": "A", "role": "wizard", "instructions": "Do it."}
    plane.script = lambda messages: [call("final_result", summary="Plan.", nodes=[node])]
    plane.faults = [["role 'wizard' is unknown"]] * 4

    outcome = carry_out(plane.assignment("plan"), tmp_path / "run", FailureOutcome)

    assert outcome.reason == FailureReason.INVALID_OUTPUT
    assert len(plane.requests) == 4
    detail = json.loads(outcome.detail)
    assert detail["faults"] == ["role 'wizard' is unknown"]
    assert json.loads(detail["answer"])["nodes"][0]["role"] == "wizard"


def test_a_coordinator_and_a_reviewer_have_no_tool_that_writes(plane: FakeControlPlane, tmp_path: Path) -> None:
    finding = {"path": "greet.py", "line": 2, "severity": "note", "text": "Fine."}
    plane.script = steps([call("final_result", verdict="approve", summary="Good.", findings=[finding])])

    outcome = carry_out(plane.assignment("review"), tmp_path / "run", ReviewOutcome)

    assert (outcome.verdict, outcome.findings[0].line) == ("approve", 2)
    names = {tool["function"]["name"] for tool in plane.requests[0]["tools"]}
    assert names == {"list_files", "read_file", "search", "run_command", "update_plan", "ask_person", "final_result"}


def test_tools_stay_in_the_workspace(plane: FakeControlPlane, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("the secret")
    attempts: list[dict[str, Any]] = [
        call("read_file", path=str(tmp_path / "secret")),
        call("read_file", path="../../secret"),
        call("write_file", path="../outside", content="x"),
        call("write_file", path=".git/config", content="x"),
        call("list_files", path="."),
        call("list_files", glob="../*"),
        call("run_command", command=f"ln -s {tmp_path} out; ln -s {tmp_path}/new dangling"),
        call("read_file", path="out/secret"),
        call("write_file", path="out/written", content="x"),
        call("write_file", path="dangling", content="x"),
        call("search", pattern="secret", path="out"),
        call("search", pattern="the secret"),
        call("list_files", path=".", glob="out/*"),
        call("edit_file", path="greet.py", old="nowhere", new="x"),
        call("search", pattern="hello"),
    ]
    plane.script = steps(*([attempt] for attempt in attempts), [call("write_file", path="a", content="b")], DONE)

    carry_out(plane.assignment(), tmp_path / "run", WorkOutcome)

    states = [(part.tool, part.state) for part in plane.parts("tool")][: len(attempts)]
    allowed = [position for position, (_, state) in enumerate(states) if state == "done"]
    assert allowed == [4, 6, 11, 12, 14]
    outputs = [part.output for part in plane.parts("tool")]
    assert "the secret" not in "\n".join(outputs[:11] + outputs[12:])
    assert outputs[11] == "No match."
    assert outputs[12] == "No file matches."
    assert outputs[14] == "greet.py:2:    return 'hello ' + name"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mirrors", "plane", "run", "secret"]


def test_what_a_model_says_oddly_costs_a_word_and_not_the_attempt(plane: FakeControlPlane, tmp_path: Path) -> None:
    long, deep = "x" * 300, "[" * 400 + "]" * 400
    deeper = f'{{"path": "greet.py", "more": {"[" * 3000 + "]" * 3000}}}'
    odd: list[dict[str, Any]] = [
        call("run_command", command="echo a\0b"),
        call("search", pattern="a\0b"),
        call("read_file", path=long),
        call("write_file", path=long, content="x"),
        call("list_files", path=long),
        call("list_files", glob=long),
        call("run_command", command=f"true {'x' * 200_000}"),
        call("search", pattern="x" * 200_000),
        call("run_command", command="mkfifo pipe"),
        call("write_file", path="pipe", content="x"),
        call("search", pattern="x", path="pipe"),
        call("run_command", command="echo \ud800"),
        call("read_file", path="\ud800"),
        call("read_file", path="greet.py", more=json.loads(deep)),
        {"tool_calls": [{"id": "deep", "type": "function", "function": {"name": "read_file", "arguments": deeper}}]},
        call("write_file", path="lines.txt", content="a\x0cb\u2028c\r\nd\n"),
        call("read_file", path="lines.txt"),
        call("run_command", command="rm pipe; touch $(printf 'odd\\377.tmp')"),
        call("list_files", glob="*.tmp"),
        call("run_command", command="rm *.tmp"),
    ]
    end = [call("final_result", summary="It\0 is \ud83d done.")], [call("final_result", summary="It\0 is done.")]
    plane.script = steps(*([{"content": "A \ud83d"}, one] for one in odd), *end)

    roomy = ModelAccess(base_url=f"{plane.url}/model/v1", name="scripted", window=1_000_000)
    outcome = carry_out(plane.assignment(model=roomy), tmp_path / "run", WorkOutcome)

    tools = plane.parts("tool")
    assert [part.state for part in tools if part.tool != "final_result"] == [
        *["failed"] * 8, "done", "failed", "done", *["failed"] * 4, *["done"] * 5,
    ]  # fmt: skip
    assert tools[10].output == "No match."
    assert "too long" in tools[6].output
    assert tools[16].output == "    1\ta\x0cb\u2028c\n    2\td\n[lines of this file end with \\r\\n]"
    assert tools[18].output == "odd\N{REPLACEMENT CHARACTER}.tmp"
    assert outcome.files == ("lines.txt",)
    assert "It\N{REPLACEMENT CHARACTER} is done." in plane.git("log", "-1", "--format=%b", outcome.commit)


def test_calls_are_told_apart_although_the_model_gives_them_one_id(plane: FakeControlPlane, tmp_path: Path) -> None:
    """Within an answer, and from one answer to the next: some providers do either."""
    plane.script = steps(
        [call("write_file", id="1", path="a.txt", content="a"), call("write_file", id="1", path="b.txt", content="b")],
        [call("read_file", id="1", path="a.txt"), call("read_file", id="2", path="b.txt")],
        [call("final_result", id="1", summary="done")],
    )

    outcome = carry_out(plane.assignment(), tmp_path / "run", WorkOutcome)

    assert outcome.files == ("a.txt", "b.txt")
    told = [(part.tool, part.input.get("path"), part.state, part.output[:20]) for part in plane.parts("tool")]
    assert told == [
        ("write_file", "a.txt", "done", "Wrote a.txt: 1 lines"),
        ("write_file", "b.txt", "done", "Wrote b.txt: 1 lines"),
        ("read_file", "a.txt", "done", "    1\ta"),
        ("read_file", "b.txt", "done", "    1\tb"),
        ("final_result", None, "done", ""),
    ]
    messages = plane.requests[-1]["messages"]
    called = [one["id"] for message in messages for one in message.get("tool_calls") or ()]
    answered = [message["tool_call_id"] for message in messages if message["role"] == "tool"]
    assert answered == called
    assert len(set(called)) == 4


def test_a_text_without_end_is_kept_to_a_limit(plane: FakeControlPlane, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recording, "TEXT_CHARS", 1000)

    async def talk() -> None:
        reports = Reports(plane.assignment())
        transcript = Transcript(reports)
        part = transcript.note("text", state="open", text="x" * 400)
        for _ in range(10):
            part = transcript.more(part, "x" * 400)
            await reports.flush()
        transcript.put(part, state="done")
        transcript.note("text", text="y" * 5000)
        await reports.flush()
        await reports.close()

    asyncio.run(talk())
    assert [part.text for part in plane.parts()] == ["x" * 1000 + recording.CUT, "y" * 1000 + recording.CUT]
    assert len([record for record in plane.records if record.type == "delta"]) == 2


def test_a_refusing_provider_ends_the_attempt_with_its_own_words(plane: FakeControlPlane, tmp_path: Path) -> None:
    nowhere = ModelAccess(base_url=f"{plane.url}/git", name="none")

    outcome = carry_out(plane.assignment(model=nowhere), tmp_path / "run", FailureOutcome)

    assert outcome.reason == FailureReason.MODEL_ERROR
    assert "HTTP 404" in outcome.message
    assert plane.parts("error")[0].text == outcome.message


def test_an_answer_that_breaks_off_is_asked_for_again(plane: FakeControlPlane, tmp_path: Path) -> None:
    breaks = iter([True, False])
    later = steps([], [{"content": "Again."}, *DONE])

    def play(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
        if not any(message["role"] == "assistant" for message in messages):
            return [call("write_file", path="a", content="b")]
        return [{"content": "Half"}, {"abort": True}] if next(breaks) else later(messages)

    plane.script = play

    outcome = carry_out(plane.assignment(), tmp_path / "run", WorkOutcome)

    assert "broke off" in plane.parts("error")[0].text
    assert [part.text for part in plane.parts("text")][2:] == ["Half", "Again."]
    assert outcome.files == ("a",)


def test_nothing_that_a_command_leaves_in_the_work_tree_configures_our_git(
    plane: FakeControlPlane, tmp_path: Path
) -> None:
    trapped = tmp_path / "trapped"
    trap = (
        "mkdir -p .git/hooks sub/.git/objects sub/.git/refs; "
        f"printf '[core]\\n\\tfsmonitor = touch {trapped}\\n\\thooksPath = hooks\\n' "
        "| tee .git/config sub/.git/config; "
        "echo 'ref: refs/heads/main' | tee .git/HEAD sub/.git/HEAD; "
        f"echo 'touch {trapped}' > .git/hooks/pre-commit; chmod +x .git/hooks/pre-commit; "
        "echo '* filter=trap diff=trap' > .gitattributes; echo x > sub/file"
    )
    plane.script = steps([call("run_command", command=trap)], DONE)

    outcome = carry_out(plane.assignment(), tmp_path / "run", WorkOutcome)

    assert outcome.files == (".gitattributes", "sub/file")
    assert not trapped.exists()


def test_the_token_is_in_no_file_of_the_workspace(plane: FakeControlPlane, tmp_path: Path) -> None:
    plane.script = steps([call("write_file", path="a", content="b")], DONE)

    carry_out(plane.assignment(), tmp_path / "run", WorkOutcome)

    assert plane.git_headers
    assert set(plane.git_headers) == {"Bearer wg_attempt_token"}
    texts = [path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()]
    assert texts
    assert not [text for text in texts if b"wg_attempt_token" in text]


def test_checks_run_on_the_commit_and_tell_what_passed(plane: FakeControlPlane, tmp_path: Path) -> None:
    test = "import unittest; from greet import greet\nclass T(unittest.TestCase):\n"
    test += "  def test_a(s): s.assertEqual(greet('x'), 'hello x')\n  def test_b(s): s.fail('no')\n"
    write = f"python3 - <<'E'\nopen('/tmp/t.py','w').write({test!r})\nE\n"
    assignment = plane.assignment(
        "check",
        checks=(check("true"), check(write + "PYTHONPATH=.:/tmp python3 -m unittest t"), check("sleep 30", timeout=1)),
        model=None,
    )

    outcome = carry_out(assignment, tmp_path / "run", CheckOutcome)

    good, bad, slow = outcome.results
    assert (good.exit_code, good.passed, good.commit) == (0, None, plane.head)
    assert (bad.exit_code, bad.passed, bad.failed) == (1, 1, 1)
    assert "AssertionError: no" in bad.output
    assert slow.exit_code != 0
    assert "ran longer than 1 s" in slow.output
    assert [part.state for part in plane.parts("tool")] == ["done", "failed", "failed"]


def test_without_a_sandbox_only_the_rehearsal_runs_commands(plane: FakeControlPlane, tmp_path: Path) -> None:
    plane.script = steps([call("run_command", command="echo ran > a")], DONE)
    real = plane.assignment()
    rehearsal = plane.assignment(model=ModelAccess(base_url=f"{plane.url}/model/v1", name="x", rehearsal=True))

    with pytest.raises(SandboxMissing, match="apt-get install bubblewrap"):
        carry_out(real, tmp_path / "a", WorkOutcome, "none")
    played = carry_out(rehearsal, tmp_path / "b", WorkOutcome, "none")

    assert played.files == ("a",)
    assert "not sandboxed" in plane.parts("tool")[-2].output


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        ("Ran 5 tests in 0.1s\n\nOK\n", (5, 0)),
        ("Ran 5 tests in 0.1s\n\nOK (skipped=2)\n", (3, 0)),
        ("Ran 7 tests in 0.1s\n\nFAILED (failures=1, errors=2, skipped=1)\n", (3, 3)),
        ("Ran 2 tests in 0.1s\n\nOK\nRan 3 tests in 0.2s\n\nFAILED (errors=1)\n", (4, 1)),
        ("===== 3 failed, 12 passed, 1 skipped in 0.52s =====\n", (12, 3)),
        ("4 passed, 1 error in 0.10s\n", (4, 1)),
        ("all good\n", (None, None)),
    ],
)
def test_counts_are_read_from_unittest_and_pytest(output: str, expected: tuple[int | None, int | None]) -> None:
    assert counts(output) == expected


def test_files_that_an_agent_names_are_kept_beside_its_commit(plane: FakeControlPlane, tmp_path: Path) -> None:
    plane.script = steps(
        [call("write_file", path="greet.py", content=POLITE), call("run_command", command=BIG)],
        [call("final_result", summary="Done.", artifacts=["out/big.png", "./out/[a].txt", "greet.py"])],
    )
    assignment = plane.assignment()

    outcome = carry_out(assignment, tmp_path / "run", WorkOutcome)

    assert set(plane.artifacts) == {"out/big.png", "out/[a].txt", "greet.py"}
    media_type, fence, data = plane.artifacts["out/big.png"]
    assert (media_type, fence, len(data)) == ("image/png", str(assignment.fence), 3_000_000)
    assert plane.artifacts["greet.py"][2].decode() == POLITE
    assert len(outcome.artifacts) == 3
    assert outcome.files == ("greet.py", "out/a.txt"), "new files that are kept beside it are not in the commit"


def test_what_cannot_be_kept_goes_back_to_the_agent_in_words(plane: FakeControlPlane, tmp_path: Path) -> None:
    plane.largest = 100
    plane.script = steps(
        [
            call("write_file", path="greet.py", content=POLITE),
            call("run_command", command=f"{BIG}; ln -s /etc/passwd p"),
        ],
        [call("final_result", summary="Done.", artifacts=["out/big.png", "p", "../x", "none", "out"])],
        [call("final_result", summary="Done.", artifacts=["out/a.txt"])],
    )

    outcome = carry_out(plane.assignment(), tmp_path / "run", WorkOutcome)

    (told,) = [one["content"] for one in plane.requests[-1]["messages"] if "can be kept" in str(one.get("content"))]
    for word in (
        "out/big.png is too large",
        "symbolic link",
        "without '..'",
        "'none' cannot be read",
        "'out' is no file",
    ):
        assert word in told
    assert set(plane.artifacts) == {"out/a.txt"}
    assert len(outcome.artifacts) == 1


def test_a_long_output_of_a_check_is_kept_as_a_whole(plane: FakeControlPlane, tmp_path: Path) -> None:
    checks = (check("seq 1 60000"), check("echo short"))

    first, second = carry_out(plane.assignment("check", checks=checks), tmp_path / "run", CheckOutcome).results

    assert (first.truncated, second.artifact) == (True, None)
    assert first.artifact is not None
    assert set(plane.artifacts) == {"checks/1-the-check.log"}
    assert plane.artifacts["checks/1-the-check.log"][2].split() == [str(n).encode() for n in range(1, 60_001)]


def test_a_check_counts_although_its_long_output_is_not_kept(plane: FakeControlPlane, tmp_path: Path) -> None:
    plane.largest = 100

    (result,) = carry_out(
        plane.assignment("check", checks=(check("seq 1 60000"),)), tmp_path / "run", CheckOutcome
    ).results

    assert (result.ok, result.artifact) == (True, None)
    assert "not kept: checks/1-the-check.log is too large" in plane.parts("text")[0].text
