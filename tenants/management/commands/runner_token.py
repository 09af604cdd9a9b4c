"""manage.py runner_token --name local"""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from tenants import runners
from tenants.models import Domain


class Command(BaseCommand):
    help = "Registers a runner, or gives a registered one a new token, and prints the token. The former one ends."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--name", required=True, help="The runner's name, e.g. local")
        parser.add_argument("--team", default="", help="Address of the one team it serves; without it, all teams")
        parser.add_argument("--untrusted", action="store_true", help="It may not run the control plane's checks")

    def handle(self, *args: Any, **options: Any) -> None:
        team = None
        if slug := options["team"]:
            domain = Domain.objects.select_related("tenant").filter(slug=slug).first()
            if domain is None:
                raise CommandError(f"--team: there is no team with the address {slug}.")
            team = domain.tenant
        try:
            secret = runners.register(options["name"], team=team, trusted=not options["untrusted"])
        except ValueError as error:
            raise CommandError(f"--name: {error}") from error
        self.stdout.write(secret)
