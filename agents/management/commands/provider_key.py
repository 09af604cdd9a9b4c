"""manage.py provider_key {list,add,replace,try,revoke,remove} [NAME] --team acme"""

import sys
from argparse import ArgumentParser
from getpass import getpass
from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError

from agents import credentials
from agents.models import Provider
from sessions.events import acting
from tenants.context import in_schema
from tenants.models import Domain

BY = "an operator"


class Command(BaseCommand):
    help = (
        "Lists and changes a team's own providers of models. A key is read from standard input, or typed; never from "
        "the command line, where everybody on the machine sees it."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        """What to do, and with which provider."""
        parser.add_argument("verb", choices=["list", "add", "replace", "try", "revoke", "remove"])
        parser.add_argument("name", nargs="?", default="", help="What the team calls the provider")
        parser.add_argument("--team", required=True, metavar="SLUG", help="Address of the team, e.g. acme")
        parser.add_argument("--url", default="", help="With add: its API, e.g. https://api.example/v1")
        parser.add_argument(
            "--models", nargs="+", default=[], metavar="MODEL", help="With add: the first is the default"
        )

    def handle(self, *args: Any, verb: str, name: str, team: str, **options: Any) -> None:
        """Do it. Raises CommandError with what is wrong."""
        domain = Domain.objects.select_related("tenant").filter(slug=team, tenant__state="ready").first()
        if domain is None:
            raise CommandError(f"--team {team}: there is no ready team of that address.")
        with in_schema(domain.tenant.schema_name), acting("system"):
            if verb == "list":
                self._list()
                return
            if not name:
                raise CommandError(f"Name the provider: manage.py provider_key {verb} NAME --team {team}")
            try:
                self.stdout.write(_do(verb, name, options))
            except ValidationError as error:
                raise CommandError(" ".join(error.messages)) from error

    def _list(self) -> None:
        for row in Provider.objects.order_by("created_at", "pk"):
            key = f"revoked by {row.revoked_by}" if row.revoked_at else f"key ...{row.key_end} given by {row.set_by}"
            self.stdout.write("  ".join([row.name, row.base_url, ",".join(row.serves), key, f"{row.set_at:%F %T}"]))


def _do(verb: str, name: str, options: dict[str, Any]) -> str:
    if verb == "add":
        made = credentials.add(name=name, base_url=options["url"], serves=options["models"], key=_key(), by=BY)
        return f"{made.name} is asked for {', '.join(made.serves)} from now on."
    provider = Provider.objects.filter(name=name).first()
    if provider is None:
        raise CommandError(f"There is no provider called {name}; `provider_key list` shows all.")
    if verb == "replace":
        credentials.replace(provider, _key(), by=BY)
        return f"The key of {name} is replaced."
    if verb == "try":
        trial = credentials.try_out(provider)
        if not trial.is_good:
            raise CommandError(trial.text)
        return trial.text
    if verb == "revoke":
        return f"The key of {name} is gone." if credentials.revoke(provider, by=BY) else "It was revoked already."
    credentials.remove(provider, by=BY)
    return f"{name} is removed."


def _key() -> str:
    if sys.stdin.isatty():
        return getpass("Key of the provider: ").strip()
    return sys.stdin.readline().strip()
