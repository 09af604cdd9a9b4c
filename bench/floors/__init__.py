"""What the same machine does with next to nothing around it, in the same run."""

from typing import NamedTuple


class Floor(NamedTuple):
    """A DAG on a floor: seconds from its first start to its last end, CPU seconds with the databases', commits."""

    seconds: float
    cpu: float
    commits: int
