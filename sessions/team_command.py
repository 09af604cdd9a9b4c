"""Commands about one team."""

from abc import ABC, abstractmethod
from argparse import ArgumentParser
from typing import Any, ClassVar

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError

from sessions.events import acting
from tenants.context import in_schema
from tenants.models import Domain


class TeamCommand(BaseCommand, ABC):
    """`manage.py <command> <verb> [<subject>] --team <slug>`: what a verb refuses is said in words.

    A command says which option names the subject, and what that is called.
    """

    subject: ClassVar[str]
    called: ClassVar[str]

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Which team."""
        parser.add_argument("--team", required=True, metavar="SLUG", help="Address of the team, e.g. acme")

    def handle(self, *args: Any, team: str, verb: str, **options: Any) -> None:
        """Do it, as the system. Raises CommandError with what is wrong."""
        domain = Domain.objects.select_related("tenant").filter(slug=team, tenant__state="ready").first()
        if domain is None:
            raise CommandError(f"--team {team}: there is no ready team of that address.")
        with in_schema(domain.tenant.schema_name), acting("system"):
            if verb == "list":
                self.show(options)
                return
            if not options[self.subject]:
                raise CommandError(f"{verb} needs {self.called}: {verb} {self.subject.upper()} --team {team}")
            try:
                self.stdout.write(self.carry_out(verb, options[self.subject], options))
            except ValidationError as error:
                raise CommandError(" ".join(error.messages)) from error

    @abstractmethod
    def show(self, options: dict[str, Any]) -> None:
        """Print what there is."""

    @abstractmethod
    def carry_out(self, verb: str, subject: str, options: dict[str, Any]) -> str:
        """Do it; the line that says so. May raise CommandError or ValidationError."""
