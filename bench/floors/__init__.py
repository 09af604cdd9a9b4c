"""What the same machine does with next to nothing around it, in the same run."""

from collections.abc import Sequence
from statistics import median
from typing import NamedTuple


class Floor(NamedTuple):
    """A DAG on a floor: seconds from its first start to its last end, CPU seconds with the databases', commits."""

    seconds: float
    cpu: float
    commits: int


def middle(found: Sequence[Floor]) -> Floor:
    """The median of each."""
    return Floor(
        median(one.seconds for one in found),
        median(one.cpu for one in found),
        round(median(one.commits for one in found)),
    )
