"""manage.py signin_link --team acme"""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from tenants import signin
from tenants.models import Domain, Membership
from tenants.roles import Role


class Command(BaseCommand):
    help = "Prints an address that signs a member in once, within 15 minutes."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--team", required=True, help="The team's address, e.g. acme")
        parser.add_argument("--email", default="", help="Mail address of the member; without it, the first owner")

    def handle(self, *args: Any, **options: Any) -> None:
        domain = Domain.objects.select_related("tenant").filter(slug=options["team"]).first()
        if domain is None:
            raise CommandError(f"--team: there is no team with the address {options['team']}.")
        members = Membership.objects.filter(team=domain.tenant, user__is_active=True, is_automatic=False)
        if email := options["email"].strip().lower():
            member = members.filter(user__email=email).first()
        else:
            member = members.filter(role=Role.OWNER).order_by("created_at").first()
        if member is None:
            raise CommandError(f"--email: {email or 'an owner'} is no active member of {options['team']}.")
        self.stdout.write(signin.link_for(member.user, domain.tenant))
