"""A figure: what some runs showed, and whether that reaches its threshold. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import ceil
from statistics import median


@dataclass(frozen=True)
class Figure:
    """A value, with the least and the most of the runs behind it."""

    value: float
    unit: str
    least: float
    most: float
    runs: int


Figures = dict[str, Figure]


def quantile(values: Iterable[float], share: float) -> float:
    """The smallest of the values that at least `share` of them do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, ceil(len(ordered) * share) - 1)]


def typical(runs: Sequence[float], unit: str) -> Figure:
    """The median of some runs."""
    return Figure(median(runs), unit, min(runs), max(runs), len(runs))


def tail(runs: Sequence[Sequence[float]], unit: str, share: float = 0.95) -> Figure:
    """A quantile of what all runs showed together; least and most are those of single runs."""
    each = [quantile(run, share) for run in runs]
    return Figure(quantile([one for run in runs for one in run], share), unit, min(each), max(each), len(runs))


def ratio(runs: Sequence[float], floors: Sequence[float], unit: str) -> Figure:
    """How many times its floor a run takes: each with the floor that was measured right before it, so that both met
    the same noise."""
    return typical([one / floor for one, floor in zip(runs, floors, strict=True)], unit)


@dataclass(frozen=True)
class Reach:
    """A threshold: what must be reached at least and, where there are two, what is aimed at."""

    sign: str
    least: float
    aim: float | None = None

    def __str__(self) -> str:
        return f"{self.sign} {self.least:g}" + (f", aim {self.sign} {self.aim:g}" if self.aim is not None else "")

    def verdict(self, value: float) -> str:
        """reached, reached at least (but not what is aimed at), or missed."""
        if not self._holds(value, self.least):
            return "missed"
        return "reached" if self.aim is None or self._holds(value, self.aim) else "reached at least"

    def _holds(self, value: float, threshold: float) -> bool:
        return {
            "<": value < threshold,
            "<=": value <= threshold,
            ">=": value >= threshold,
        }[self.sign]
