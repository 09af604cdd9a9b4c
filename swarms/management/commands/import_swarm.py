"""manage.py import_swarm textkit-12.waggle.zip --team acme"""

from pathlib import Path
from typing import Any
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError, CommandParser

from swarms.models import Archive
from swarms.naming import NoSuch, schema_of
from swarms.replay import archives
from tenants.context import in_schema


class Command(BaseCommand):
    help = "Brings an exported swarm into a team, to be replayed, or takes one out again (--remove)."

    def add_arguments(self, parser: CommandParser) -> None:
        """Which file, and whose it becomes."""
        parser.add_argument("file", help="What export_swarm wrote; with --remove the id of what was imported")
        parser.add_argument("--team", required=True, help="Address of the team, e.g. acme")
        parser.add_argument("--remove", action="store_true", help="Delete what was imported")

    def handle(self, *args: Any, file: str, team: str, remove: bool, **options: Any) -> None:
        """Store it, or delete it. Raises CommandError when the file is refused, with the reason."""
        try:
            schema = schema_of(team)
        except NoSuch as error:
            raise CommandError(str(error)) from error
        with in_schema(schema):
            if remove:
                self._remove(file)
                return
            try:
                with Path(file).open("rb") as source:
                    made = archives.bring_in(source, by=None)
            except OSError as error:
                raise CommandError(f"{file} cannot be read: {error}") from error
            except archives.BundleFault as error:
                raise CommandError(str(error)) from error
        self.stdout.write(f"{made} was imported as {made.pk}, with {made.last_seq} events: manage.py replay {made.pk}")

    def _remove(self, key: str) -> None:
        try:
            found = Archive.objects.filter(pk=UUID(key)).first()
        except ValueError as error:
            raise CommandError(f"{key} is no id of an archive.") from error
        if found is None:
            raise CommandError(f"The team has no archive {key}.")
        archives.take_out(found, by=None)
        self.stdout.write(f"{found} is deleted.")
