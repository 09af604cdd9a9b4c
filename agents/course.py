"""A model call on its way over the providers that have its model: who is asked now, and what the others said."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from agents.failover import Obstacle, Standing, because, told
from agents.passage import Refused
from agents.routes import Way


@dataclass(frozen=True)
class Failed:
    """The whole of an answer that is of no use, for when there is no better one."""

    status: int
    start: dict[str, Any]
    body: bytes


class NoUse(Exception):
    """A provider answered that it cannot answer."""

    def __init__(self, failed: Failed, wait: float) -> None:
        super().__init__(f"HTTP {failed.status}")
        self.failed, self.wait = failed, wait


@dataclass
class Course:
    """A call on its way over the providers that may answer it."""

    ways: Sequence[Way]
    standings: list[Standing] = field(default_factory=list)
    failures: dict[int, Failed | Refused] = field(default_factory=dict)
    now: int = 0
    """Who is asked, or was asked last."""

    def __post_init__(self) -> None:
        self.standings = [None] * len(self.ways)
        for number, way in enumerate(self.ways):
            if way.fault:
                self.hindered(number, Refused(503, "no_model", way.fault, asked=False))

    @property
    def way(self) -> Way:
        """Whose answer it is."""
        return self.ways[self.now]

    @property
    def because(self) -> str:
        """Why it is not that of one before; where nobody answered, of none."""
        answered = self.standings[self.now] is None
        return because(self.standings[: self.now] if answered else self.standings, self.now)

    def hindered(self, number: int, by: Refused | NoUse) -> None:
        """One of them does not answer."""
        name = self.ways[number].route.provider or "the platform's provider"
        if isinstance(by, Refused):
            self.failures[number] = by
            self.standings[number] = Obstacle(name, by.why, by.retry_after, by.asked)
        else:
            self.failures[number] = by.failed
            self.standings[number] = Obstacle(name, str(by), by.wait, was_asked=True)

    def end(self) -> Failed | Refused:
        """What the agent hears where nobody answers."""
        obstacles = [each for each in self.standings if each]
        self.now = told(obstacles)
        failure = self.failures[self.now]
        if isinstance(failure, Refused) and self.because:
            text = f"{failure} Nor do others that have the model answer: {self.because}."
            wait = failure.retry_after
            return Refused(failure.status, failure.code, text, why=failure.why, retry_after=wait, asked=failure.asked)
        return failure
