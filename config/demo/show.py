"""Progress in the terminal: a live board where there is one, else a line for each event."""

import time
from typing import Protocol

from rich.console import Console

from config.demo.watch import Told, View


class Screen(Protocol):
    """Where progress is shown."""

    def show(self, view: View) -> None:
        """Show the swarm as it is now."""

    def say(self, text: str) -> None:
        """A line of the demo itself."""

    def close(self) -> None:
        """No more is shown."""


class Lines:
    """One line for each event: for logs, pipes and small terminals."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._began = time.monotonic()
        self._doing: dict[str, str] = {}

    def show(self, view: View) -> None:
        """Print what was told since the last look."""
        for told in view.told:
            self._line((told.at - view.swarm.created_at).total_seconds(), sentence(told))

    def say(self, text: str) -> None:
        """Print a line of the demo itself."""
        self._line(time.monotonic() - self._began, text)

    def close(self) -> None:
        """Nothing to end."""

    def _line(self, seconds: float, text: str) -> None:
        self._console.print(f"{seconds:6.1f} s  {text}", markup=False, highlight=False, soft_wrap=True)


def sentence(told: Told) -> str:
    """An event in one line."""
    text, why = told.sentence.text, told.sentence.why
    return f"{text} ({_short(why)})" if why else text


def _short(text: str, width: int = 160) -> str:
    line = " ".join(text.split())
    return line if len(line) <= width else line[: width - 1] + "…"
