"""`python -m bench.chaos [seed] [--short] [--out FILE] [--acts NAME …]`: see docs/chaos.md."""

import argparse
import logging
import shlex
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bench.chaos.report import FILE, Report
from bench.chaos.size import CLOCK, FULL, SHORT, Size
from bench.stage import Stage, stage

if TYPE_CHECKING:
    from bench.chaos.chaos import Chaos

Act = Callable[["Chaos"], None]
TEAMS = ("milestones", "acme", "rivals")


def main(arguments: list[str]) -> int:
    """Inject, recover, check. Returns 1 when a figure misses its threshold."""
    given = _read(arguments)
    report = Report(given.seed, judges_speed=not given.short)
    with stage(**CLOCK) as at:
        logging.disable(logging.CRITICAL)
        _run(at, SHORT if given.short else FULL, report, given.acts)
    report.show()
    report.keep(given.out, shlex.join(["python", "-m", "bench.chaos", *arguments]))
    return 1 if report.missed else 0


def _read(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.chaos", description=__doc__)
    parser.add_argument("seed", nargs="?", type=int, default=1, help="Of the dice: which victim, and when")
    parser.add_argument("--short", action="store_true", help="Everything a few times only; says nothing about speed")
    parser.add_argument("--out", type=Path, default=FILE, help="Where the results go")
    parser.add_argument("--acts", nargs="+", default=[], metavar="NAME", help="Only these acts")
    return parser.parse_args(arguments)


def _run(at: Stage, size: Size, report: Report, wanted: list[str]) -> None:
    # Models can be imported only now.
    from bench import swarm
    from bench.chaos import checker
    from bench.chaos.acts import ALL
    from bench.chaos.chaos import Chaos
    from bench.chaos.platform import MODEL, MUTE, RUNNERS, TICKER, WEBS, WORKERS, Platform
    from bench.chaos.samples import Samples
    from tenants.context import PUBLIC, in_schema
    from tenants.models import TeamShare

    of = Platform(at)
    try:
        team, agents, rivals = (swarm.team(slug) for slug in TEAMS)
        with in_schema(PUBLIC):
            # Runners are for the agents: rivals' races must not take their places.
            TeamShare.objects.filter(team__in=[team, rivals]).update(cap=0)
        samples = Samples(of, agents)
        everybody = (MODEL, TICKER, *WORKERS, MUTE, *WEBS, *RUNNERS)
        of.start(*everybody)
        of.ready(*everybody)
        of.stop(MUTE)
        samples.prepare()
        chaos = Chaos(of, team, rivals, samples, size, report)
        report.at_most("acts that came to no end", sum(not _play(act, chaos) for act in _wanted(ALL, wanted)), 0)
        checker.check(chaos)
        samples.close()
    finally:
        of.close()
    remains = of.remains()
    for command in remains:
        print(f"left behind: {command}")
    report.at_most("processes left behind", len(remains), 0)


def _wanted(acts: Sequence[Act], names: list[str]) -> list[Act]:
    """The acts of these names, or all. Raises SystemExit for a name that there is not."""
    if unknown := set(names) - {act.__name__ for act in acts}:
        raise SystemExit(f"There is no act {', '.join(sorted(unknown))}. Acts: {', '.join(a.__name__ for a in acts)}.")
    return [act for act in acts if not names or act.__name__ in names]


def _play(act: Act, chaos: "Chaos") -> bool:
    """Whether it came to its end."""
    print(f"--- {act.__name__}: {act.__doc__}", flush=True)
    began = time.monotonic()
    try:
        act(chaos)
    except TimeoutError as error:
        print(f"this act came to no end: {error}", flush=True)
        return False
    finally:
        print(f"    {time.monotonic() - began:.0f} s", flush=True)
    return True


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
