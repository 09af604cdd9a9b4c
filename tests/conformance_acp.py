"""A driver of the conformance suite: a small agent over the Agent Client Protocol."""

import json
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import acp

from tests.conformance import Act, Finish, ModelDriver, Run, Say, Wait, Write, process_of
from tests.fake_control_plane import call

AGENT = Path(__file__).parent / "acp_agent.py"
PACKAGES = Path(acp.__file__).parent.parent


def command(kind: str = "") -> str:
    """The command line of the small agent; `kind` makes it another one."""
    return f"env PYTHONPATH={PACKAGES} python3 {AGENT} {kind}"


class Acp(ModelDriver):
    """Its turn ends with its answer; told something after that, it answers so again."""

    runtime = "acp"

    def environment(self, folder: Path) -> dict[str, str]:
        return {"WAGGLE_RUNNER_ACP": command(), "WAGGLE_RUNNER_ACP_SHOWS": f"{AGENT}:{PACKAGES}"}

    def calls(self, act: Act) -> list[dict[str, Any]]:
        match act:
            case Write(path, text):
                return [call("write", path=path, text=text)]
            case Run(command):
                return [call("run", command=command)]
            case Finish():
                return [{"content": f"```json\n{json.dumps(act.result)}\n```"}]
        raise AssertionError(f"it has no way to {act}")

    def _answers(self, acts: Sequence[Act]) -> Iterator[list[dict[str, Any]]]:
        answer: list[dict[str, Any]] = []
        count = sum(not isinstance(act, Say | Wait) for act in acts)
        for answer in islice(super()._answers(acts), count):
            yield answer
        while True:
            yield answer

    def agent(self, folder: Path, marker: str) -> int:
        return agent_in(folder)


def agent_in(folder: Path) -> int:
    """The process of the small agent that works in a folder; 0 when there is none."""
    return process_of(folder, lambda words: any(word.endswith(b"acp_agent.py") for word in words[1:3]))
