"""What was done to the platform, how it took it, and whether that is what was promised."""

import json
import os
import platform
import subprocess
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from config.env import PROJECT_ROOT

FILE = PROJECT_ROOT / "bench" / "chaos.json"


@dataclass(frozen=True)
class Figure:
    """A measured value beside its threshold."""

    value: float
    bound: float
    at_least: bool = False
    speed: bool = False
    """It says how fast, not whether: a short run among others does not judge it."""

    @property
    def reached(self) -> bool:
        return self.value >= self.bound if self.at_least else self.value <= self.bound


@dataclass
class Report:
    """Everything that a run has to say. Figures of one name keep the worse value."""

    seed: int
    judges_speed: bool = True
    injected: Counter[str] = field(default_factory=Counter)
    hit: Counter[str] = field(default_factory=Counter)
    """How many of what was injected hit work in progress."""
    recovered: Counter[str] = field(default_factory=Counter)
    figures: dict[str, Figure] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def inject(self, what: str, *, hits: bool = False) -> None:
        """Something was done to the platform; `hits` says that it met work in progress."""
        self.injected[what] += 1
        self.hit[what] += hits

    def at_most(self, name: str, value: float, bound: float, *, speed: bool = False) -> None:
        """A figure that must not be larger."""
        before = self.figures.get(name)
        self.figures[name] = Figure(max(value, before.value) if before else value, bound, speed=speed)

    def at_least(self, name: str, value: float, bound: float) -> None:
        """A figure that must not be smaller: else the run has proved nothing."""
        self.figures[name] = Figure(value, bound, at_least=True)

    def verdict(self, figure: Figure) -> str:
        """In one word."""
        if figure.speed and not self.judges_speed:
            return "not judged"
        return "reached" if figure.reached else "missed"

    @property
    def missed(self) -> list[str]:
        """Names of the figures that miss their thresholds."""
        return [name for name, figure in self.figures.items() if self.verdict(figure) == "missed"]

    def show(self) -> None:
        """Print it for people."""
        print("\nInjected")
        for what, count in sorted(self.injected.items()):
            met = f"{self.hit[what]} met work in progress" if self.hit[what] else ""
            print(f"  {count:6} × {what:58} {met}")
        print("\nRecovered")
        for what, count in sorted(self.recovered.items()):
            print(f"  {count:6} × {what}")
        print()
        for name, figure in self.figures.items():
            sign = "≥" if figure.at_least else "≤"
            print(f"{name:66} {figure.value:10.3f}  {sign} {figure.bound:<7g} {self.verdict(figure)}")
        for note in self.notes:
            print(note)
        print(f"\nMissed: {', '.join(self.missed)}" if self.missed else "\nEvery threshold is reached.")

    def keep(self, path: Path, command: str) -> None:
        """Write it for programs, with what it was measured on."""
        commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=PROJECT_ROOT, capture_output=True, text=True).stdout
        told: dict[str, Any] = {
            "command": command,
            "seed": self.seed,
            "at": datetime.now(UTC).isoformat(timespec="seconds"),
            "commit": commit.strip(),
            "machine": {
                "cores": os.cpu_count(),
                "python": platform.python_version(),
                "system": platform.system(),
                "load": [round(one, 2) for one in os.getloadavg()],
            },
            "injected": {what: {"count": n, "met_work": self.hit[what]} for what, n in sorted(self.injected.items())},
            "recovered": dict(sorted(self.recovered.items())),
            "figures": {
                name: {
                    "value": round(figure.value, 4),
                    "at_least" if figure.at_least else "at_most": figure.bound,
                    "verdict": self.verdict(figure),
                }
                for name, figure in self.figures.items()
            },
            "notes": self.notes,
        }
        path.write_text(json.dumps(told, indent=2, ensure_ascii=False) + "\n")
