"""`make bench`: measure the cases of an area, print each figure beside its threshold, and keep it in results.json."""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from bench import results, table
from bench.figures import Figure
from config.env import PROJECT_ROOT

AREAS = ("engine", "live", "fleet")


def main(words: Sequence[str]) -> int:
    """Returns 1 when a figure misses its threshold, or a case could not be measured."""
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("cases", nargs="*", metavar="case", help="all of the area, unless named")
    parser.add_argument("--area", choices=AREAS, default=AREAS[0])
    parser.add_argument("--table", action="store_true", help="only draw the tables of docs/performance.md anew")
    given = parser.parse_args(words)
    if given.table:
        table.write()
        return 0
    area = import_module(f"bench.{given.area}")
    if unknown := set(given.cases) - set(area.CASES):
        parser.error(f"there is no case {', '.join(sorted(unknown))}; cases: {', '.join(area.CASES)}")
    words = [f"AREA={given.area}"] if given.area != AREAS[0] else []
    words += [f'ARGS="{" ".join(given.cases)}"'] if given.cases else []
    command = " ".join(["make bench", *words])
    missed, failed = [], []
    for case in given.cases or area.CASES:
        print(f"--- {given.area}.{case}: {_about(given.area, case)}", flush=True)
        figures = _measure(given.area, case, command)
        if figures is None:
            failed.append(case)
            continue
        for name, figure in figures.items():
            print(results.line(name, figure), flush=True)
        missed += [name for name, figure in figures.items() if figure["verdict"] == "missed"]
    print(f"\nKept in {results.FILE.relative_to(PROJECT_ROOT)}.")
    print(f"Missed: {', '.join(missed)}" if missed else "Every threshold that was measured is reached.")
    if failed:
        print(f"Not measured, see above: {', '.join(failed)}")
    return 1 if missed or failed else 0


def _about(area: str, case: str) -> str:
    """The first sentence of a case's module, which cannot be imported without a platform."""
    text = (PROJECT_ROOT / "bench" / area / f"{case}.py").read_text()
    return text.split('"""')[1].strip().split("\n\n")[0].replace("\n", " ")


def _measure(area: str, case: str, command: str) -> dict[str, dict[str, Any]] | None:
    """One case in a process and on a platform of its own, so that none finds what another left. None: it broke."""
    commit, at = results.commit(), results.now()
    with tempfile.TemporaryDirectory(prefix="waggle-figures-") as folder:
        into = Path(folder) / "figures.json"
        done = subprocess.run([sys.executable, "-m", "bench.case", area, case, str(into)], cwd=PROJECT_ROOT)
        if done.returncode or not into.exists():
            return None
        report = json.loads(into.read_text())
    figures = {name: Figure(**one) for name, one in report["figures"].items()}
    machine = results.machine() | report["databases"]
    of = {
        "case": f"{area}.{case}",
        "seconds": report["seconds"],
        "at": at,
        "commit": commit,
        "command": command,
        "machine": machine,
        "noise": report["noise"],
    }
    found = results.told(figures, import_module(f"bench.{area}").REACH, of=of)
    results.forget(of["case"])
    results.keep(found, machine)
    return found


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
