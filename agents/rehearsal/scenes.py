"""Scenes: what the rehearsal model says to which briefing, step by step."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, field_validator

SCRIPTS = Path(__file__).parent / "scripts"


class Part(BaseModel):
    """A piece of a script: no unknown fields, never changed."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Call(Part):
    """One tool call."""

    tool: str
    args: dict[str, Any] = {}


class Step(Part):
    """One answer of the model."""

    think: str = ""
    """Reasoning, sent before the text."""
    say: str = ""
    call: tuple[Call, ...] = ()
    """Several calls are made at once, so they must not depend on each other."""
    pause: float = Field(default=0.08, ge=0, le=5)
    """Seconds before the first piece."""
    chunk_delay: float = Field(default=0.008, ge=0, le=1)
    """Seconds before each further piece, so that people can watch."""


class Scene(Part):
    """The answers to one kind of briefing."""

    name: str
    when: tuple[re.Pattern[str], ...] = Field(min_length=1)
    """Regular expressions, with ^ and $ at lines; all must be found in the briefing."""
    steps: tuple[Step, ...] = Field(min_length=1)

    @field_validator("when", mode="before")
    @classmethod
    def _at_lines(cls, patterns: Sequence[str]) -> tuple[re.Pattern[str], ...]:
        return tuple(re.compile(pattern, re.MULTILINE) for pattern in patterns)

    def step(self, played: int) -> Step:
        """The answer after `played` answers; the last one again when the script is over."""
        return self.steps[min(played, len(self.steps) - 1)]


def load(folder: Path = SCRIPTS) -> tuple[Scene, ...]:
    """All scenes of all scripts below a folder, in the order of file names and then as written.

    Raises ValueError when a script is not as it should be, naming the file.
    """
    scenes: list[Scene] = []
    for path in sorted(folder.rglob("*.yaml")):
        try:
            scenes.extend(Scene(**scene) for scene in yaml.safe_load(path.read_text(encoding="utf-8"))["scenes"])
        except (yaml.YAMLError, re.error, TypeError, KeyError, ValueError) as fault:
            raise ValueError(f"{path.relative_to(folder)} is not a script: {fault}") from fault
    return tuple(scenes)


def find(scenes: Iterable[Scene], briefing: str) -> Scene | None:
    """The first scene that knows this briefing."""
    return next((scene for scene in scenes if all(pattern.search(briefing) for pattern in scene.when)), None)
