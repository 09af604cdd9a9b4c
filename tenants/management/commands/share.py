"""manage.py share acme --weight 2 --cap 32"""

from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser

from tenants.models import Domain, TeamShare

SETTABLE = ("weight", "cap", "max_waiting", "max_swarms")


class Command(BaseCommand):
    help = "Shows a team's share of the fleet, or changes it."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("team", help="The team's address, e.g. acme")
        parser.add_argument("--weight", type=float, help="Twice the weight is twice the turns when others wait as well")
        parser.add_argument("--cap", type=int, help="Executions at once; 0: none")
        parser.add_argument("--max-waiting", type=int, help="Nodes that may wait; beyond it a new goal is refused")
        parser.add_argument("--max-swarms", type=int, help="Swarms that have not ended; beyond it a goal is refused")

    def handle(self, *args: Any, **options: Any) -> None:
        domain = Domain.objects.filter(slug=options["team"]).first()
        if domain is None:
            raise CommandError(f"team: there is no team with the address {options['team']}.")
        share = TeamShare.objects.get(team=domain.tenant_id)
        wanted = {name: options[name] for name in SETTABLE if options[name] is not None}
        for name, value in wanted.items():
            setattr(share, name, value)
        try:
            share.full_clean()
        except ValidationError as error:
            faults = [f"--{name.replace('_', '-')}: {' '.join(texts)}" for name, texts in _faults(error)]
            raise CommandError(" ".join(faults)) from error
        if wanted:
            share.save(update_fields=list(wanted))
        for name in SETTABLE:
            self.stdout.write(f"{name.replace('_', '-')}: {getattr(share, name):g}")


def _faults(error: ValidationError) -> list[tuple[str, list[str]]]:
    """Each option with what is wrong with it. A constraint names no field: the only one is on the weight."""
    return [("weight" if name == "__all__" else name, texts) for name, texts in error.message_dict.items()]
