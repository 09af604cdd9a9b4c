"""The clock of a run, and how often things are done."""

from dataclasses import dataclass

LEASE, HEARTBEAT, TICK = 3.0, 1.0, 0.2
CLOCK = {
    "WAGGLE_LEASE_SECONDS": str(LEASE),
    "WAGGLE_HEARTBEAT_SECONDS": str(HEARTBEAT),
    "WAGGLE_TICK_SECONDS": str(TICK),
}
NODES = 10
"""Of a swarm of milestones."""


@dataclass(frozen=True)
class Size:
    """How often things are done."""

    deaths: int = 5
    kills: int = 100
    hints: int = 5
    wipes: int = 5
    samples: int = 3
    runner_kills: int = 4
    stops: int = 2
    cuts: int = 1
    valkey_seconds: float = 10
    races: int = 1000


FULL = Size()
SHORT = Size(
    deaths=1,
    kills=4,
    hints=1,
    wipes=1,
    samples=1,
    runner_kills=1,
    stops=1,
    cuts=0,
    valkey_seconds=3,
    races=40,
)
