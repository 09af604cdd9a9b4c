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
}
PLAN = {"summary": "One file.", "nodes": [NODE], "acceptance": [{"name": "greets", "command": CHECK}]}


def model(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Plans, writes the file, and is done."""
    briefing = next(str(message["content"]) for message in messages if message["role"] == "user")
    if "# Plan a goal" in briefing:
        return [call("StructuredOutput", **PLAN)]
    if not any(message["role"] == "assistant" for message in messages):
        return [call("write", filePath="hello.txt", content="Hello\n")]
    return [call("StructuredOutput", summary="It greets.")]


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
        assert re.search(r"Nodes +1 of 1 succeeded", demo.text), demo.text
        assert (own / "hello.txt").read_text() == "Hello\n"
        # It was OpenCode that worked: its tools were offered to the model, which was reached by the gateway alone.
        offered = {tool["function"]["name"] for request in plane.requests for tool in request["tools"]}
        assert {"bash", "edit", "StructuredOutput"} <= offered
        assert not demo.remains()
