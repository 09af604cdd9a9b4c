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


CANARIES = {"berries": "kumquat", "palms": "rambutan", "myrtles": "jabuticaba"}
"""Teams, and a word of each that stands in all that it says."""


def plan_with(word: str) -> dict[str, Any]:
    """One node, with a check that says the word, and is to be seen for a while."""
    check = {"name": f"{word} check", "command": f"echo {word}; sleep 0.5"}
    node = next(node for node in PLAN["nodes"] if node["key"] == "write")
    words = {"title": f"Write {word}", "instructions": f"Add {word} to {FILE}.", "depends_on": [], "checks": [check]}
    return {"summary": f"All about {word}.", "nodes": [node | words]}


def _scene(name: str, when: str, *calls: Call, say: str = "Done.") -> Scene:
    steps = tuple(Step(say=say, call=(call,), pause=0, chunk_delay=0) for call in calls)
    return Scene(name=name, when=(when,), steps=steps)


def _writing(when: str, line: str, summary: str) -> Scene:
    edit = Call(tool="edit_file", args={"path": FILE, "old": "(end)\n", "new": f"{line}\n(end)\n"})
    return _scene("write", when, edit, Call(tool="final_result", args={"summary": summary}), say=summary)


SCENES = (
    _scene("plan", "^# Plan a goal$", Call(tool="final_result", args=PLAN)),
    *(_writing(f"^# Node `write`: Write {word}$", word, f"Wrote {word}.") for word in CANARIES.values()),
    _writing("^# Node `write`", "a line", "A line more."),
)
application = Rehearsal(SCENES, pace=0)
