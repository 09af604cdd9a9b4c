"""manage.py fork_swarm textkit#12 --at 340 --plan plan.yaml"""

import sys
from argparse import ArgumentTypeError
from pathlib import Path
from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser

from swarms.models import Swarm
from swarms.naming import NoSuch, find
from swarms.plan_yaml import PlanFaults
from swarms.replay import fork as forks
from tenants.context import in_schema
from tenants.models import User


def _text_of(path: str) -> str:
    try:
        return sys.stdin.read() if path == "-" else Path(path).read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise ArgumentTypeError(f"{path} cannot be read: {error}") from error


class Command(BaseCommand):
    help = "States a goal that goes on from an event of a swarm; with --show only prints the rest of its plan as YAML."

    def add_arguments(self, parser: CommandParser) -> None:
        """From where, with which plan, in whose name."""
        parser.add_argument("swarm", help="<project>#<number>, e.g. textkit#12, or the swarm's id")
        parser.add_argument("--at", type=int, required=True, help="Number of the event")
        parser.add_argument("--team", help="Address of the team; needed where several teams have such a swarm")
        parser.add_argument("--plan", type=_text_of, help="File with the plan as YAML, or -; else the rest")
        parser.add_argument("--goal", default="", help="What is wanted; the swarm's goal unless it is said")
        parser.add_argument(
            "--by", help="Address of the member who states it; who stated the swarm's goal, unless said"
        )
        parser.add_argument("--show", action="store_true", help="Change nothing")

    def handle(self, *args: Any, swarm: str, team: str | None, **options: Any) -> None:
        """Fork. Raises CommandError when that is not possible, with the reason."""
        try:
            schema, pk = find(swarm, team)
        except NoSuch as error:
            raise CommandError(str(error)) from error
        with in_schema(schema):
            found = Swarm.objects.select_related("project", "goal__created_by").get(pk=pk)
            try:
                if options["show"]:
                    self.stdout.write(forks.proposal(found, options["at"]).yaml)
                    return
                by = _member(schema, options["by"]) if options["by"] else found.goal.created_by
                made = forks.fork(found, options["at"], plan=options["plan"] or "", goal=options["goal"], by=by)
            except PlanFaults as error:
                raise CommandError("\n".join(["The plan has faults:", *error.faults])) from error
            except ValidationError as error:
                raise CommandError(" ".join(error.messages)) from error
        self.stdout.write(f"{made} ({made.pk}) goes on from {found} at event {options['at']}: {made.state}")


def _member(schema: str, address: str) -> User:
    found = User.objects.filter(email__iexact=address, memberships__team__schema_name=schema).first()
    if found is None:
        raise CommandError(f"--by: the team has no member {address}.")
    return found
