"""`python -m bench [case …]`: measure, print beside the thresholds, and keep in bench/results.json."""

import logging
import sys

from bench import results
from bench.stage import stage, workers

LEFT_OUT: dict[str, str] = {}


def main(wanted: list[str]) -> int:
    """Measure the wanted cases, or all. Returns 1 when a figure misses its threshold."""
    found: dict[str, float] = {}
    with stage() as at:
        # Models can be imported only now.
        from bench import agents, engine, queries, swarm

        logging.disable(logging.CRITICAL)
        cases = {
            "dags": engine.dags,
            "idle": engine.idle,
            "scaling": engine.scaling,
            "crowd": engine.crowd,
            "events": queries.events,
            "plans": queries.plans,
            "agents": agents.measure,
            "ready": queries.ready,
            "thousand": queries.thousand,
        }
        if unknown := set(wanted) - cases.keys():
            print(f"There is no case {', '.join(sorted(unknown))}. Cases: {', '.join(cases)}.", file=sys.stderr)
            return 2
        of = swarm.team("bench")
        workers(at)
        for name in wanted or cases:
            print(f"--- {name}", flush=True)
            figures = cases[name](at, of)
            for figure, value in figures.items():
                print(results.line(figure, value), flush=True)
            found |= figures
    results.keep(found, LEFT_OUT, "make bench")
    missed = [name for name, value in found.items() if results.verdict(name, value) == "missed"]
    print(
        f"\nKept in {results.path()}. " + (f"Missed: {', '.join(missed)}" if missed else "Every threshold is reached.")
    )
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
