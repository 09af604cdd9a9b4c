"""An agent's own list of what it has to do: it keeps it in mind, and people see it."""

from collections.abc import Sequence
from typing import Literal

from pydantic import BaseModel, Field

MARKS = {"pending": " ", "in_progress": "…", "done": "x"}


class Step(BaseModel):
    """One thing to do."""

    text: str = Field(min_length=1, max_length=500)
    state: Literal["pending", "in_progress", "done"] = "pending"


class Plan:
    """The list as it is now."""

    def __init__(self, steps: Sequence[Step] = ()) -> None:
        self.steps = list(steps)

    def shown(self) -> str:
        """As Markdown; empty when there is none."""
        return "\n".join(f"- [{MARKS[step.state]}] {step.text}" for step in self.steps)

    def in_short(self) -> str:
        """How far it is, for people, in a few words."""
        done = sum(step.state == "done" for step in self.steps)
        now = next((step.text for step in self.steps if step.state == "in_progress"), "")
        return f"{done} of {len(self.steps)} done" + (f": {now}" if now else "")
