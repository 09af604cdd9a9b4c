"""The same step in the tools of another agent: scripts are written for ours. Pure."""

import json
from collections.abc import Callable, Collection, Mapping
from typing import Any

from agents.rehearsal.scenes import Call, Step

Arguments = dict[str, Any]


def _renamed(**names: str) -> Callable[[Arguments], Arguments]:
    return lambda given: {names[name]: value for name, value in given.items() if name in names}


def _listing(given: Arguments) -> Arguments:
    pattern = given.get("glob", "**/*")
    return {"pattern": pattern} | ({"path": given["path"]} if given.get("path", ".") != "." else {})


def _running(given: Arguments) -> Arguments:
    return {"command": given["command"], "description": "Runs what the script says"}


def _asking(given: Arguments) -> Arguments:
    options = [{"label": option, "description": option} for option in given.get("options") or ()]
    return {"questions": [{"question": given["question"], "header": "Question", "options": options}]}


OPENCODE: Mapping[str, tuple[str, Callable[[Arguments], Arguments]]] = {
    "list_files": ("glob", _listing),
    "read_file": ("read", _renamed(path="filePath")),
    "search": ("grep", _renamed(pattern="pattern", path="path")),
    "write_file": ("write", _renamed(path="filePath", content="content")),
    "edit_file": ("edit", _renamed(path="filePath", old="oldString", new="newString")),
    "run_command": ("bash", _running),
    "ask_person": ("question", _asking),
    "final_result": ("StructuredOutput", dict),
}
"""OpenCode's tools by ours."""


FINISH = "final_result"


def spoken(step: Step, offered: Collection[str]) -> Step:
    """The step with calls of tools that are offered, where a dialect has them; other calls stay as they are.

    An agent that has a tool of its own for everything but the end says its answer.
    """
    calls = tuple(_said(call, offered) for call in step.call)
    last = next((call for call in calls if call.tool == FINISH and FINISH not in offered), None)
    if last is None or not offered:
        return step.model_copy(update={"call": calls})
    answer = f"```json\n{json.dumps(last.args, ensure_ascii=False, indent=1)}\n```"
    said = f"{step.say}\n\n{answer}" if step.say else answer
    return step.model_copy(update={"say": said, "call": tuple(call for call in calls if call is not last)})


def _said(call: Call, offered: Collection[str]) -> Call:
    name, convert = OPENCODE.get(call.tool, ("", dict))
    if call.tool in offered or name not in offered:
        return call
    return Call(tool=name, args=convert(call.args))
