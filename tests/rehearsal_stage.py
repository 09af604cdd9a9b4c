"""Plays scenes of the rehearsal on real clones, by hand: for tests only."""

import json
import re
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agents.rehearsal.scenes import Scene, load
from agents.rehearsal.talk import Request, turn
from swarms.sample import GOAL

SCENES: tuple[Scene, ...] = load()
TOOLS = ("list_files", "read_file", "search", "write_file", "edit_file", "run_command", "final_result")
PLAN_BRIEFING = f"# Plan a goal\nProject textkit · Branch main · Goal #1\n\n## Goal\n{GOAL}\n"


def briefing(key: str, reason: str = "", role: str = "developer") -> str:
    """What a worker is told about its node, as the control plane writes it."""
    text = f"# Node `{key}`: A title\nRole: {role} · Attempt {2 if reason else 1} · Swarm textkit #1\n\n"
    text += f"## Goal\n{GOAL}\n\n## Your part\nDo it.\n"
    if reason:
        text += f"\n## Why there is another attempt\nReason: {reason}\n\nevidence\n"
    return text


def body(messages: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    tools = [{"type": "function", "function": {"name": name, "parameters": {}}} for name in TOOLS]
    return {"model": "rehearsal", "messages": messages, "tools": tools, **more}


def git(folder: Path, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    who = ["-c", "user.name=Test", "-c", "user.email=test@waggle.invalid"]
    return subprocess.run(["git", *who, "-C", str(folder), *arguments], capture_output=True, text=True, check=check)


def passes(command: str, folder: Path) -> bool:
    return subprocess.run(command, shell=True, cwd=folder, capture_output=True, check=False).returncode == 0


@dataclass
class Actor:
    """One attempt: a clone, and the tools as the builtin runtime gives them."""

    folder: Path
    commands: dict[str, int] = field(default_factory=dict)
    """Exit code of each command that was run."""

    def play(self, told: str) -> dict[str, Any]:
        """Follow the script to its end; returns the final answer's arguments."""
        messages: list[dict[str, Any]] = [
            {"role": "system", "content": "You are a developer."},
            {"role": "user", "content": told},
        ]
        while True:
            calls = turn(Request.model_validate(body(messages)), SCENES).step.call
            messages.append({"role": "assistant", "content": ""})
            for call in calls:
                if call.tool == "final_result":
                    return call.args
                messages.append({"role": "tool", "content": json.dumps(getattr(self, call.tool)(**call.args))})

    def _path(self, path: str) -> Path:
        assert not path.startswith("/")
        assert ".." not in Path(path).parts
        return self.folder / path

    def list_files(self, path: str = ".", glob: str = "**/*") -> list[str]:
        found = [str(file) for file in self._path(path).glob(glob) if ".git" not in file.parts]
        assert found, f"nothing in {path}"
        return found

    def read_file(self, path: str, start: int = 1, lines: int = 400) -> str:
        return "\n".join(self._path(path).read_text().splitlines()[start - 1 : start - 1 + lines])

    def search(self, pattern: str, path: str = ".") -> list[str]:
        texts = [file.read_text() for file in self._path(path).rglob("*.py")]
        found = [line for text in texts for line in text.splitlines() if re.search(pattern, line)]
        assert found, f"{pattern} is nowhere in {path}"
        return found

    def write_file(self, path: str, content: str) -> str:
        self._path(path).parent.mkdir(parents=True, exist_ok=True)
        self._path(path).write_text(content)
        return "written"

    def edit_file(self, path: str, old: str, new: str) -> str:
        text = self._path(path).read_text()
        assert text.count(old) == 1, f"{old!r} is {text.count(old)} times in {path}"
        self._path(path).write_text(text.replace(old, new))
        return "edited"

    def run_command(self, command: str) -> str:
        done = subprocess.run(command, shell=True, cwd=self.folder, capture_output=True, text=True, check=False)
        self.commands[command] = done.returncode
        return done.stdout + done.stderr
