"""manage.py make_team --name Acme --slug acme --owner alice@acme.example"""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from tenants import signup
from tenants.hosts import team_url
from tenants.models import User


class Command(BaseCommand):
    help = "Makes a team ready to use, with its owner; what is there already stays."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--name", required=True, help="The team's name, e.g. Acme")
        parser.add_argument("--slug", required=True, help="Its address, e.g. acme for acme.<WAGGLE_HOST>")
        parser.add_argument("--owner", required=True, help="Mail address of its owner; an account is made if needed")
        parser.add_argument("--owner-name", default="", help="Name of the owner, for a new account")

    def handle(self, *args: Any, **options: Any) -> None:
        email = options["owner"].strip().lower()
        owner = User.objects.filter(email=email).first()
        if owner is None:
            owner = signup.new_user(email=email, password=None, name=options["owner_name"])
        try:
            team = signup.make_team(name=options["name"], slug=options["slug"], owner=owner)
        except ValueError as error:
            raise CommandError(f"--slug {options['slug']}: {error}") from error
        self.stdout.write(team_url(team))
