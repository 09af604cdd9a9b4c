"""`manage.py prepare`: what a database needs before the first start, in one process."""

from argparse import ArgumentParser
from io import StringIO
from pathlib import Path
from typing import Any

from django.core.management import call_command
from django.core.management.base import BaseCommand

from config.services.layout import write_private


class Command(BaseCommand):
    """Migrate, issue the local runner's token, make a team: each only where asked for."""

    help = "Migrate the database, and make what a platform begins with. `up` and `setup` call it."
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        """What to do."""
        parser.add_argument("--migrate", action="store_true", help="Apply migrations to all schemas.")
        parser.add_argument("--runner-token", metavar="FILE", help="Write a new token of the runner 'local' here.")
        parser.add_argument("--team", nargs=3, metavar=("NAME", "SLUG", "OWNER"), help="Make this team.")

    def handle(
        self, *args: Any, migrate: bool, runner_token: str | None, team: list[str] | None, **options: Any
    ) -> None:
        """Do it in this order: each step needs the one before."""
        if migrate:
            call_command("migrate_schemas", interactive=False, verbosity=options["verbosity"])
        if runner_token:
            printed = StringIO()
            call_command("runner_token", name="local", stdout=printed)
            write_private(Path(runner_token), printed.getvalue().strip() + "\n")
        if team:
            name, slug, owner = team
            call_command("make_team", name=name, slug=slug, owner=owner)
