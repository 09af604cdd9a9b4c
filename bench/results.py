"""Figures beside their thresholds: printed, and kept with what they were measured on."""

import json
import os
import platform
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.figures import Figures, Reach
from config.env import PROJECT_ROOT

FILE = PROJECT_ROOT / "bench" / "results.json"


def line(name: str, figure: Mapping[str, Any]) -> str:
    """A figure for people."""
    spread = f"{shown(figure['min'])} – {shown(figure['max'])} of {figure['runs']}"
    found = f"{name:44} {shown(figure['value']):>9} {figure['unit']:18} {spread:26}"
    return (found + f" {figure['reach']:16} {figure['verdict']}").rstrip()


def shown(value: float) -> str:
    """A number with three digits that say something."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def told(figures: Figures, reach: Mapping[str, Reach], *, of: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Figures as they are kept; `of` says what all of them were measured on."""
    found = {}
    for name, figure in figures.items():
        goal = reach.get(name)
        found[name] = {
            "value": round(figure.value, 4),
            "unit": figure.unit,
            "min": round(figure.least, 4),
            "max": round(figure.most, 4),
            "runs": figure.runs,
            "reach": str(goal) if goal else "",
            "verdict": goal.verdict(figure.value) if goal else "",
            **of,
        }
    return found


def known() -> dict[str, Any]:
    """What was kept so far."""
    return json.loads(FILE.read_text()) if FILE.exists() else {"machine": {}, "figures": {}}


def keep(figures: Mapping[str, Mapping[str, Any]], machine: Mapping[str, Any]) -> None:
    """Add figures to the file. Those of other cases stay, each with the machine, commit and command of its own run."""
    whole = {"machine": machine, "figures": known()["figures"] | figures}
    FILE.write_text(json.dumps(whole, indent=1, ensure_ascii=False) + "\n")


def forget(case: str) -> None:
    """Take the figures of a case out: it is measured anew, and may have other names now."""
    whole = known()
    whole["figures"] = {name: figure for name, figure in whole["figures"].items() if figure.get("case") != case}
    FILE.write_text(json.dumps(whole, indent=1, ensure_ascii=False) + "\n")


def now() -> str:
    """This moment."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def commit() -> str:
    """The commit that is measured, with a + when files differ from it."""
    head = _git("rev-parse", "--short=12", "HEAD").strip()
    return head + ("+" if _git("status", "--porcelain", "--untracked-files=no") else "")


def _git(*words: str) -> str:
    return subprocess.run(["git", *words], cwd=PROJECT_ROOT, capture_output=True, text=True).stdout


def machine() -> dict[str, Any]:
    """What figures depend on, of this machine."""
    information = Path("/proc/cpuinfo").read_text()
    model = next((one.partition(": ")[2] for one in information.splitlines() if one.startswith("model name")), "")
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "cores": os.cpu_count(),
        "processor": model or platform.machine(),
        "memory_gb": round(memory),
        "system": f"{platform.system()} {platform.release().partition('-')[0]}",
        "python": platform.python_version(),
    }
