"""A scripted model for small swarms, behind its HTTP interface: `uvicorn tests.crash_model:application`."""

from typing import Any

from agents.rehearsal.app import Rehearsal
from agents.rehearsal.scenes import Call, Scene, Step

FILE = "written.txt"
TEAM = "crash"
PLAN: dict[str, Any] = {
    "summary": "A milestone, what an agent writes, and another milestone.",
    "nodes": [
        {"key": "begin", "title": "Begin", "kind": "noop"},
        {
            "key": "write",
            "title": "Write a line",
            "role": "developer",
            "instructions": f"Add a line to {FILE}.",
            "writes": [FILE],
            "depends_on": ["begin"],
            "budget_usd": 5.0,
        },
        {"key": "end", "title": "End", "kind": "noop", "depends_on": ["write"]},
    ],
}
"""What the coordinator proposes, and what people give."""


def _scene(name: str, when: str, *calls: Call) -> Scene:
    steps = tuple(Step(say="Done.", call=(call,), pause=0, chunk_delay=0) for call in calls)
    return Scene(name=name, when=(when,), steps=steps)


SCENES = (
    _scene("plan", "^# Plan a goal$", Call(tool="final_result", args=PLAN)),
    _scene(
        "write",
        "^# Node `write`",
        Call(tool="edit_file", args={"path": FILE, "old": "(end)\n", "new": "a line\n(end)\n"}),
        Call(tool="final_result", args={"summary": "A line more."}),
    ),
)
application = Rehearsal(SCENES, pace=0)
