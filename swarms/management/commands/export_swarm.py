"""manage.py export_swarm textkit#12 --to textkit-12.waggle.zip"""

from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from swarms.models import Swarm
from swarms.naming import NoSuch, find
from swarms.replay.export import export, name_of
from tenants.context import in_schema


class Command(BaseCommand):
    help = "Writes a swarm into one file, without secrets, that another installation can import and replay."

    def add_arguments(self, parser: CommandParser) -> None:
        """Which one, and where to."""
        parser.add_argument("swarm", help="<project>#<number>, e.g. textkit#12, or the swarm's id")
        parser.add_argument("--team", help="Address of the team; needed where several teams have such a swarm")
        parser.add_argument("--to", help="The file; <project>-<number>.waggle.zip here unless it is said")

    def handle(self, *args: Any, swarm: str, team: str | None, to: str | None, **options: Any) -> None:
        """Write it. Raises CommandError when there is no such swarm, or the file is there already or cannot be made."""
        try:
            schema, pk = find(swarm, team)
        except NoSuch as error:
            raise CommandError(str(error)) from error
        with in_schema(schema):
            found = Swarm.objects.select_related("project", "goal__created_by").get(pk=pk)
            path = Path(to or name_of(found))
            try:
                with path.open("xb") as file:
                    manifest = export(found, file)
            except FileExistsError as error:
                raise CommandError(f"--to: {path} is there already.") from error
            except OSError as error:
                raise CommandError(f"--to: {path} cannot be written: {error}") from error
        self.stdout.write(f"{found} is in {path} ({path.stat().st_size} bytes):")
        for name, member in manifest.members.items():
            self.stdout.write(f"  {member.lines} {name}")
        taken = ", ".join(f"{count} × {what}" for what, count in manifest.redacted.items())
        self.stdout.write(f"Taken out: {taken or 'nothing'}.")
