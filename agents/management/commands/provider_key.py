"""manage.py provider_key {list,add,replace,models,try,prefer,revoke,remove} [NAME] --team acme"""

import sys
from argparse import ArgumentParser
from getpass import getpass
from typing import Any

from django.core.management.base import CommandError

from agents import credentials
from agents.models import Provider
from agents.routes import IN_ORDER
from sessions.team_command import TeamCommand

BY = "an operator"


class Command(TeamCommand):
    subject, called = "name", "the name of the provider"
    help = (
        "Lists and changes a team's own providers of models. A key is read from standard input, or typed; never from "
        "the command line, where everybody on the machine sees it."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        """What to do, and with which provider."""
        super().add_arguments(parser)
        parser.add_argument("verb", choices=["list", "add", "replace", "models", "try", "prefer", "revoke", "remove"])
        parser.add_argument("name", nargs="?", default="", help="What the team calls the provider")
        parser.add_argument("--url", default="", help="With add, or replace: its API, e.g. https://api.example/v1")
        parser.add_argument(
            "--models", nargs="+", default=[], metavar="MODEL", help="With add, or models: the first is the default"
        )

    def carry_out(self, verb: str, subject: str, options: dict[str, Any]) -> str:
        """See TeamCommand."""
        return _do(verb, subject, options)

    def show(self, options: dict[str, Any]) -> None:
        """See TeamCommand."""
        for row in Provider.objects.order_by(*IN_ORDER):
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
        credentials.replace(provider, _key(), by=BY, base_url=options["url"])
        return f"The key of {name} is replaced."
    if verb == "models":
        credentials.change(provider, options["models"], by=BY)
        return f"{name} is asked for {', '.join(provider.serves)}."
    if verb == "try":
        trial = credentials.try_out(provider)
        if not trial.is_good:
            raise CommandError(trial.text)
        return trial.text
    if verb == "prefer":
        return f"{name} is asked first." if credentials.prefer(provider, by=BY) else "It was the first already."
    if verb == "revoke":
        return f"The key of {name} is gone." if credentials.revoke(provider, by=BY) else "It was revoked already."
    credentials.remove(provider, by=BY)
    return f"{name} is removed."


def _key() -> str:
    if sys.stdin.isatty():
        return getpass("Key of the provider: ").strip()
    return sys.stdin.readline().strip()
