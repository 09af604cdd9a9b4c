"""Figures beside their thresholds, printed and kept."""

import json
import os
import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path

from config.env import PROJECT_ROOT

FILE = PROJECT_ROOT / "bench" / "results.json"
AT_MOST = {
    "engine.chain100.ratio": 4,
    "engine.fan200.ratio": 4,
    "engine.layered500.ratio": 4,
    "engine.cpu_ratio": 4,
    "engine.ready_to_started_p95_ms": 25,
    "engine.idle_to_started_p95_ms": 60,
    "engine.scaling": 1.2,
    "engine.validate5000_ms": 200,
    "engine.ready_query_100k_ms": 10,
    "engine.teams1000_tick_ms": 20,
    "engine.overhead30s_share": 0.05,
    "engine.plan_to_first_agent_p95_s": 1,
    "engine.guard_us": 20,
}
AT_LEAST = {"engine.events_per_second_one_swarm": 200}


def verdict(name: str, value: float) -> str:
    """Whether a figure reaches its threshold; empty where none is set."""
    if name in AT_MOST:
        return "reached" if value <= AT_MOST[name] else "missed"
    if name in AT_LEAST:
        return "reached" if value >= AT_LEAST[name] else "missed"
    return ""


def line(name: str, value: float) -> str:
    """A figure for people."""
    goal = f"≤ {AT_MOST[name]}" if name in AT_MOST else f"≥ {AT_LEAST[name]}" if name in AT_LEAST else ""
    return f"{name:42} {value:12.3f}  {goal:10} {verdict(name, value)}"


def keep(figures: dict[str, float], left_out: dict[str, str], command: str) -> None:
    """Write what was measured, with what it was measured on; figures of other cases stay."""
    before = json.loads(FILE.read_text()) if FILE.exists() else {}
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=PROJECT_ROOT, capture_output=True, text=True).stdout
    known = before.get("figures", {})
    now = datetime.now(UTC).isoformat(timespec="seconds")
    for name, value in figures.items():
        known[name] = {
            "value": round(value, 4),
            "threshold": AT_MOST.get(name, AT_LEAST.get(name)),
            "verdict": verdict(name, value),
            "at": now,
            "commit": commit.strip(),
        }
    machine = {
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "system": platform.system(),
        "load": [round(one, 2) for one in os.getloadavg()],
    }
    whole = {"command": command, "machine": machine, "figures": dict(sorted(known.items())), "left_out": left_out}
    FILE.write_text(json.dumps(whole, indent=2, ensure_ascii=False) + "\n")


def path() -> Path:
    """Where the results are."""
    return FILE
