"""manage.py remove_team acme --confirm acme"""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from swarms import removal
from swarms.refusals import NotNow
from tenants.context import PUBLIC, in_schema
from tenants.models import Domain, Removal
from tenants.states import TeamState


class Command(BaseCommand):
    help = "Deletes a team with all that it has, for ever. Refuses while one of its swarms has not ended."

    def add_arguments(self, parser: CommandParser) -> None:
        """Which one, twice."""
        parser.add_argument("team", help="The team's address, e.g. acme")
        parser.add_argument("--confirm", required=True, metavar="TEAM", help="The same address once more")

    def handle(self, *args: Any, team: str, confirm: str, **options: Any) -> None:
        """Delete it here and now; a second time, what an earlier try left. Raises CommandError."""
        if confirm != team:
            raise CommandError(f"--confirm: to delete the team, name it twice: remove_team {team} --confirm {team}")
        with in_schema(PUBLIC):
            domain = Domain.objects.select_related("tenant").filter(slug=team).first()
            if domain is None:
                raise CommandError(f"team: there is no team with the address {team}.")
            if domain.tenant.state == TeamState.REMOVING:
                found = Removal.objects.get(team=domain.tenant_id)
            else:
                try:
                    found = removal.ask(domain.tenant, by="manage.py remove_team")
                except NotNow as error:
                    raise CommandError(" ".join(error.messages)) from error
        done = removal.carry_out(found.pk)
        held = ", ".join(f"{count} {noun}" for noun, count in found.held.items())
        self.stdout.write(f"Deleted: {found}, with {held}." if done else f"{found}: a worker is deleting it.")
