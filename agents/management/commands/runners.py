"""manage.py runners [list|end] [NAME] [--team acme]"""

import json
from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db.models import Q
from django.utils import timezone

from tenants import runners
from tenants.context import PUBLIC, in_schema
from tenants.models import Runner

WORDS = {
    "none": "no sandbox: agents' commands are refused",
    "unconfined": "NO SANDBOX: agents' commands may do all that this runner may (WAGGLE_RUNNER_UNCONFINED)",
}


class Command(BaseCommand):
    help = (
        "Lists the runners: whose they are, when they were last seen, and what locks in the commands of agents; or ends"
        " one, with its token. `runner_token` makes one, and gives it another token."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        """What to do, and with which runner."""
        parser.add_argument("verb", nargs="?", choices=["list", "end"], default="list")
        parser.add_argument("name", nargs="?", default="", help="With end: the runner's name")
        parser.add_argument("--team", default="", metavar="SLUG", help="Only a team's own; with end: whose it is")
        parser.add_argument("--json", action="store_true", help="With list: for programs")

    def handle(self, *args: Any, verb: str, name: str, team: str, **options: Any) -> None:
        """One line for each. Raises CommandError."""
        with in_schema(PUBLIC):
            wanted = Q(team__domains__slug=team) if team else Q()
            rows = list(Runner.objects.filter(wanted).select_related("team", "token").order_by("name"))
            if verb == "end":
                self._end(rows, name, team)
                return
        told = [(row, row.channel and _seconds(row) < settings.LEASE_SECONDS) for row in rows]
        if options["json"]:
            self.stdout.write(json.dumps([_facts(row, is_here=bool(here)) for row, here in told], indent=2))
            return
        for row, is_here in told:
            self._line(row, is_here=bool(is_here))

    def _line(self, row: Runner, *, is_here: bool) -> None:
        walls = WORDS.get(row.sandbox, f"sandbox {row.sandbox or 'unknown'}")
        state = "ended" if row.token.revoked_at else "connected" if is_here else "away"
        line = f"{row.name}  {row.team or 'platform'}  {state}  {walls}"
        line += f"  REFUSED: {row.trouble}" if row.trouble else ""
        self.stdout.write(self.style.ERROR(line) if row.sandbox in WORDS or row.trouble else line)

    def _end(self, rows: list[Runner], name: str, team: str) -> None:
        found = [row for row in rows if row.name == name and bool(row.team) == bool(team)]
        if not found:
            whose = f"of the team {team}" if team else "of the platform; give --team for one of a team's"
            raise CommandError(f"There is no runner {name or '(give its name)'} {whose}.")
        runners.end(found[0])
        self.stdout.write(f"{name} is ended. What it holds goes to others when its leases run out.")


def _seconds(row: Runner) -> float:
    """Since it was last heard."""
    return (timezone.now() - row.seen_at).total_seconds() if row.seen_at else float("inf")


def _facts(row: Runner, *, is_here: bool) -> dict[str, Any]:
    return {
        "name": row.name,
        "team": str(row.team) if row.team else None,
        "is_connected": is_here,
        "is_ended": row.token.revoked_at is not None,
        "capacity": row.capacity,
        "trusted": row.trusted,
        "sandbox": row.sandbox,
        "trouble": row.trouble,
    }
