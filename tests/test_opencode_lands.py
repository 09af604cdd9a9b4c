"""A goal that OpenCode's agents plan and work on, landed by the whole platform, with a scripted model behind it."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from config.services import stop
from tests.fake_control_plane import call, serving
from tests.test_demo import SECONDS, Demo
from tests.test_opencode_runtime import program  # noqa: F401

CHECK = "grep -q Hello hello.txt"
NODE = {
    "key": "hello",
    "title": "Greet",
    "role": "developer",
    "instructions": "Write `Hello` into hello.txt.",
    "writes": ["hello.txt"],
    "checks": [{"name": "greets", "command": CHECK}],
    "answers": [{"name": "greets_twice", "kind": "yes_no", "asks": "Is the reader greeted twice?"}],
}
ONCE = {
    "key": "once",
    "title": "Greet once",
    "role": "developer",
    "instructions": "Leave one greeting.",
    "writes": ["hello.txt"],
    "depends_on": ["hello"],
    "when": [{"parent": "hello", "field": "greets_twice", "values": ["yes"]}],
}
PLAN = {"summary": "One file.", "nodes": [NODE, ONCE], "acceptance": [{"name": "greets", "command": CHECK}]}


def model(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Plans, writes the file, and is done."""
    briefing = next(str(message["content"]) for message in messages if message["role"] == "user")
    if "# Plan a goal" in briefing:
        return [call("StructuredOutput", **PLAN)]
    if not any(message["role"] == "assistant" for message in messages):
        return [call("write", filePath="hello.txt", content="Hello\n")]
    return [call("StructuredOutput", summary="It greets.", answers={"greets_twice": "no"})]


@pytest.mark.timeout(3 * SECONDS)
def test_a_goal_lands_by_agents_of_opencode(tmp_path: Path, program: Path) -> None:  # noqa: F811
    data = tmp_path / "data"
    with serving(tmp_path / "model", model) as plane:
        own = tmp_path / "own"
        subprocess.run(["git", "clone", "--quiet", str(plane.repository), str(own)], check=True)
        demo = Demo(
            data,
            "--runtime=opencode",
            "--goal=Greet the reader",
            f"--repo={own}",
            f"--check=greets: {CHECK}",
            WAGGLE_MODEL_BASE_URL=f"{plane.url}/model/v1",
            WAGGLE_MODEL_NAME="scripted",
            WAGGLE_RUNNER_OPENCODE=str(program),
        )
        try:
            demo.process.wait(2 * SECONDS)
            assert demo.end() == 0, demo.text
        finally:
            demo.stop()
            stop(data)
        # What its agent answered left the second node out.
        assert re.search(r"Nodes +1 of 2 succeeded", demo.text), demo.text
        assert (own / "hello.txt").read_text() == "Hello\n"
        # It was OpenCode that worked: its tools were offered to the model, which was reached by the gateway alone.
        offered = {tool["function"]["name"] for request in plane.requests for tool in request["tools"]}
        assert {"bash", "edit", "StructuredOutput"} <= offered
        assert not demo.remains()
