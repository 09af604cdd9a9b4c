"""Progress in the terminal: a live board on a terminal, else one line for each event."""

import time
from collections import deque
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Protocol

from rich.console import Console
from rich.live import Live

from config.demo import picture
from config.demo.watch import Told, View

AGENTS_KINDS = ("attempt.started", "plan.proposed", "plan.refused", "decision.made")
"""Events that tell what a model said or is asked for."""
LATELY = 12


class Screen(Protocol):
    """Where progress is shown."""

    def show(self, view: View) -> None:
        """Show the swarm as it is now."""

    def say(self, text: str) -> None:
        """A line of the demo itself."""

    def aside(self) -> AbstractContextManager[None]:
        """Leave the terminal to a question meanwhile."""

    def close(self) -> None:
        """No more is shown."""


def screen_for(console: Console, *, rehearsal: bool) -> Screen:
    """The board where it can be drawn; lines for logs, pipes and dumb terminals."""
    if console.is_terminal and not console.is_dumb_terminal:
        return Board(console, rehearsal=rehearsal)
    return Lines(console, rehearsal=rehearsal)


class Lines:
    """One line for each event."""

    def __init__(self, console: Console, *, rehearsal: bool) -> None:
        self._console = console
        self._rehearsal = rehearsal
        self._now = 0.0

    def show(self, view: View) -> None:
        """Print what was told since the last look."""
        for told in view.told:
            self._print(seconds(told, view), sentence(told, rehearsal=self._rehearsal))
        self._now = view.seconds

    def say(self, text: str) -> None:
        """Print a line of the demo itself."""
        self._print(self._now, text)

    def aside(self) -> AbstractContextManager[None]:
        """Lines are in nobody's way."""
        return nullcontext()

    def close(self) -> None:
        """There is nothing to end."""

    def _print(self, at: float, text: str) -> None:
        self._console.print(f"{at:6.1f} s  {text}", markup=False, highlight=False, soft_wrap=True)


class Board:
    """The graph of nodes, who does what, and what happened lately, drawn again with each look."""

    def __init__(self, console: Console, *, rehearsal: bool) -> None:
        self._console = console
        self._rehearsal = rehearsal
        self._lately: deque[tuple[float, str]] = deque(maxlen=LATELY)
        self._now = 0.0
        self._live = Live(console=console, auto_refresh=False, vertical_overflow="crop")
        self._live.start()

    def show(self, view: View) -> None:
        """Draw the swarm."""
        self._lately += [(seconds(told, view), sentence(told, rehearsal=self._rehearsal)) for told in view.told]
        self._now = view.seconds
        drawn = picture.draw(
            view, list(self._lately), self._console.width, rehearsal=self._rehearsal, beat=int(time.monotonic() * 5)
        )
        self._live.update(drawn, refresh=True)

    def say(self, text: str) -> None:
        """Add a line of the demo itself; the next look shows it."""
        self._lately.append((self._now, text))

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Stop drawing while somebody is asked."""
        self._live.stop()
        try:
            yield
        finally:
            self._live.start()

    def close(self) -> None:
        """Leave the last picture standing."""
        self._live.refresh()
        self._live.stop()


def seconds(told: Told, view: View) -> float:
    """When it happened, since the goal was stated."""
    return (told.at - view.swarm.created_at).total_seconds()


def sentence(told: Told, *, rehearsal: bool) -> str:
    """An event in one line, labelled where a rehearsal speaks."""
    text, why = told.sentence.text, picture.short(told.sentence.why, 160)
    label = " · rehearsal" if rehearsal and told.kind in AGENTS_KINDS else ""
    return f"{text}{label} ({why})" if why else f"{text}{label}"
