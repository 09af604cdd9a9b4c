"""manage.py verify [--team acme] [--swarm textkit#12] [--git] [--artifacts] [--replay] [--json]"""

import json
from argparse import ArgumentTypeError
from dataclasses import asdict
from typing import IO, Any, cast

from django.core.management.base import BaseCommand, CommandError, CommandParser
from rich.console import Console
from rich.table import Table

from swarms import naming
from swarms.terminal import plain
from swarms.verify import hashes, registry, replay, repositories, stored
from swarms.verify.run import MOST, Report, Scope, teams, verify

SAYS = {each.name: each.says for each in registry.ALL} | {hashes.NAME: hashes.SAYS, replay.NAME: replay.SAYS}
MOST_TOLD = 100_000
SAYS |= repositories.NAMES | stored.NAMES


class Command(BaseCommand):
    help = "Counts the violations of every invariant, over all teams. Ends with 1 when there is any."

    def add_arguments(self, parser: CommandParser) -> None:
        """See docs/operations.md."""
        parser.add_argument("--team", metavar="SLUG", help="Only this team, e.g. acme")
        parser.add_argument("--swarm", help="Only this swarm (textkit#12, or its id); its events are folded, too")
        parser.add_argument("--replay", action="store_true", help="Fold all events and compare them with the tables")
        parser.add_argument("--git", action="store_true", help="Look whether git has what the tables say: slow")
        parser.add_argument("--artifacts", action="store_true", help="Ask the object store for every artifact: slow")
        parser.add_argument("--json", action="store_true", help="For programs: one object on standard output")
        parser.add_argument(
            "--most", type=_most, default=MOST, help="Violations that are told of one invariant and team"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Look and tell. Raises CommandError for a team or swarm that is not there; ends the process with 1."""
        swarm, slug = options["swarm"], options["team"]
        wanted, only = teams(slug), None
        if slug is not None and not wanted:
            raise CommandError(f"--team {slug}: there is no ready team of that address.", returncode=2)
        if swarm is not None:
            schema, only = _found(str(swarm), slug)
            wanted = [team for team in wanted if team[1] == schema]
        scope = Scope(
            only,
            replay=options["replay"] or only is not None,
            git=options["git"],
            artifacts=options["artifacts"],
            most=options["most"],
        )
        report = verify(wanted, scope)
        if options["json"]:
            self.stdout.write(json.dumps(asdict(report), indent=1))
        else:
            self._show(report)
        if not report.is_clean:
            raise SystemExit(1)

    def _show(self, report: Report) -> None:
        console = Console(file=cast(IO[str], self.stdout), markup=False, highlight=False, soft_wrap=True)
        found = sum(report.counts.values())
        if found:
            table = Table("violations", "invariant", "what holds", box=None, pad_edge=False)
            for name, count in report.counts.items():
                if count:
                    table.add_row(str(count), name, SAYS[name])
            console.print(table)
            console.print()
        for each in report.violations:
            console.print(plain(f"{each.team}  {each.invariant}  {each.says}  [{each.id}]"))
        looked = f"{len(report.counts)} invariants, {report.teams} teams, {report.seconds:.1f} s"
        console.print(f"{found} violations: {looked}" if found else f"Every invariant holds: {looked}")


def _most(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:7]) <= MOST_TOLD and len(text) < 7):
        raise ArgumentTypeError(f"{text[:20]}: it is from 1 to {MOST_TOLD}")
    return int(text)


def _found(swarm: str, team: str | None) -> naming.Named:
    try:
        return naming.find(swarm, team)
    except naming.NoSuch as error:
        raise CommandError(f"--swarm: {error}", returncode=2) from error
