"""A program of the operator's as an agent: what it finds, how it answers, how it fails. The rest is conformance."""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agents.contracts import (
    FailureOutcome,
    FailureReason,
    PermissionGiven,
    PlanOutcome,
    ReviewOutcome,
    WorkOutcome,
)
from agents.runtimes.inbox import Inbox
from tests.fake_control_plane import FakeControlPlane, serving, steps
from tests.test_steered_agents import carry_out, seen, steer

Programmed = Callable[[str], None]
NODE = {"key": "a", "title": "A", "role": "developer", "instructions": "Do it."}


@pytest.fixture
def plane(tmp_path: Path) -> Iterator[FakeControlPlane]:
    with serving(tmp_path / "plane") as plane:
        yield plane


@pytest.fixture
def programmed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Programmed:
    """Makes a shell script the runner's command."""

    def make(script: str) -> None:
        path = tmp_path / "agent.sh"
        path.write_text(script)
        monkeypatch.setenv("WAGGLE_RUNNER_COMMAND", f"sh {path} --flag 'two words'")

    return make


def test_a_program_finds_its_briefing_and_its_last_line_is_the_summary(
    plane: FakeControlPlane, tmp_path: Path, programmed: Programmed
) -> None:
    programmed('cat > told; cmp told "$WAGGLE_BRIEFING" || exit 9; echo "$WAGGLE_KIND $WAGGLE_ROLE $1 $2"; echo')

    outcome, _ = carry_out(plane.assignment(runtime="command"), tmp_path / "run")

    assert isinstance(outcome, WorkOutcome), outcome
    assert outcome.summary == "work developer --flag two words"
    told = plane.git("show", "attempts/1:told")
    assert "You are a developer" in told
    assert "# Node `greet`: Greet politely" in told
    assert "final_result" not in told
    assert "ask_person" not in told


def test_a_program_that_fails_is_a_failure_with_its_code_and_last_words(
    plane: FakeControlPlane, tmp_path: Path, programmed: Programmed
) -> None:
    programmed("echo half > half.txt; echo 'no key' >&2; exit 3")

    outcome, _ = carry_out(plane.assignment(runtime="command"), tmp_path / "run")

    assert isinstance(outcome, FailureOutcome)
    assert (outcome.reason, outcome.message) == (FailureReason.AGENT_ERROR, "The program ended with exit code 3.")
    assert "no key" in outcome.detail
    assert [part.state for part in plane.parts("tool")] == ["failed"]


def test_the_rules_of_the_team_decide_whether_the_program_runs(
    plane: FakeControlPlane, tmp_path: Path, programmed: Programmed
) -> None:
    programmed("touch ran")
    plane.judge = lambda asked: PermissionGiven(verdict="deny", why="No programs here.")

    outcome, _ = carry_out(plane.assignment(runtime="command"), tmp_path / "run")

    assert isinstance(outcome, FailureOutcome)
    assert "No programs here." in outcome.message
    assert [(asked.tool, asked.arguments) for asked in plane.asked] == [
        ("shell", {"command": os.environ["WAGGLE_RUNNER_COMMAND"]})
    ]
    assert not (tmp_path / "run" / "work" / "ran").exists()


def test_a_plan_is_held_to_its_schema_and_to_the_contract(
    plane: FakeControlPlane, tmp_path: Path, programmed: Programmed
) -> None:
    good = json.dumps({"summary": "Plan.", "nodes": [NODE]})
    programmed(
        f"""cat > /tmp/told; grep -q '"nodes"' "$WAGGLE_SCHEMA" || exit 9
        echo x >> /tmp/runs
        case $(wc -l < /tmp/runs) in
          1) ;;
          2) echo '{{"summary": 1}}' > "$WAGGLE_ANSWER" ;;
          3) grep -q 'nodes: Field required' /tmp/told && echo '{good}' > "$WAGGLE_ANSWER" ;;
          4) grep -q 'no such role' /tmp/told && echo '{good}' > "$WAGGLE_ANSWER" ;;
        esac"""
    )
    plane.faults = [["no such role"]]

    outcome, _ = carry_out(plane.assignment("plan", runtime="command"), tmp_path / "run")

    assert isinstance(outcome, PlanOutcome), outcome
    assert outcome.plan.nodes[0].key == "a"
    assert plane.outcomes == [outcome]


def test_an_answer_that_stays_wrong_fails(plane: FakeControlPlane, tmp_path: Path, programmed: Programmed) -> None:
    programmed('ln -sf /etc/passwd "$WAGGLE_ANSWER"; echo run')

    outcome, _ = carry_out(plane.assignment("plan", runtime="command"), tmp_path / "run")

    assert isinstance(outcome, FailureOutcome)
    assert outcome.reason == FailureReason.INVALID_OUTPUT
    assert "There is no answer" in outcome.message
    assert len(plane.parts("tool")) == 4


def test_a_reviewer_answers_with_its_verdict(plane: FakeControlPlane, tmp_path: Path, programmed: Programmed) -> None:
    programmed("""echo '{"verdict": "approve", "summary": "Fine."}' > "$WAGGLE_ANSWER" """)

    outcome, _ = carry_out(plane.assignment("review", runtime="command"), tmp_path / "run")

    assert isinstance(outcome, ReviewOutcome), outcome
    assert outcome.verdict == "approve"


def test_a_program_reaches_model_and_mcp_without_the_token(
    plane: FakeControlPlane, tmp_path: Path, programmed: Programmed
) -> None:
    plane.script = steps([{"content": "Hello."}], [{"content": "Hello."}])
    programmed(
        """cat > /tmp/post.py <<'END'
import json, sys, urllib.request
body = json.dumps({"messages": [], "to": sys.argv[2]}).encode()
print(urllib.request.urlopen(urllib.request.Request(sys.argv[1], body)).status)
END
        python3 /tmp/post.py "$OPENAI_BASE_URL/chat/completions" model
        python3 /tmp/post.py "$WAGGLE_MCP" mcp
        env > seen; python3 /tmp/post.py "$OPENAI_BASE_URL/elsewhere" no 2>&1 | tail -1"""
    )
    # The control plane of this test answers whatever lies below /model/.
    assignment = plane.assignment(runtime="command", mcp=f"{plane.url}/model/mcp")

    outcome, _ = carry_out(assignment, tmp_path / "run")

    assert isinstance(outcome, WorkOutcome), outcome
    assert [asked["to"] for asked in plane.requests] == ["model", "mcp"]
    assert "404" in outcome.summary
    assert "wg_attempt_token" not in plane.git("show", "attempts/1:seen")


def test_what_is_said_while_it_ends_makes_it_run_again(
    plane: FakeControlPlane, tmp_path: Path, programmed: Programmed
) -> None:
    programmed("if [ ! -e told ]; then touch held; until [ -e go ]; do sleep 0.05; done; rm go held; fi; cat > told")
    work = tmp_path / "run" / "work"

    async def talk(inbox: Inbox) -> None:
        await seen((work / "held").exists)
        inbox.put(steer(text="And b.txt, please."))
        (work / "go").touch()

    outcome, taken = carry_out(plane.assignment(runtime="command"), tmp_path / "run", talk)

    assert isinstance(outcome, WorkOutcome), outcome
    assert len(taken) == 1
    assert "And b.txt, please." in plane.git("show", "attempts/1:told")


def test_a_runner_without_a_command_says_so(
    plane: FakeControlPlane, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WAGGLE_RUNNER_COMMAND", raising=False)

    outcome, _ = carry_out(plane.assignment(runtime="command"), tmp_path / "run")

    assert isinstance(outcome, FailureOutcome)
    assert "WAGGLE_RUNNER_COMMAND is not set" in outcome.message
