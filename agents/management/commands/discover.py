"""`manage.py discover`: one of the five processes; lists agent servers of the local network."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from agents.discovery import watch
from tenants.ending import ending


class Command(BaseCommand):
    """Runs until SIGTERM or SIGINT."""

    help = "Looks for OpenCode servers on the local network and lists them, quarantined, for every team."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--every", type=float, default=30.0, help="Seconds between two rounds.")
        parser.add_argument(
            "--interface",
            action="append",
            default=[],
            metavar="ADDRESS",
            help="Listen only at this address of this machine; may be given several times.",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        watch(ending(), interfaces=tuple(options["interface"]), every=options["every"])
