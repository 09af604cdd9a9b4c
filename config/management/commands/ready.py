"""`manage.py ready`: is everything there that the platform needs; for scripts and for pods that wait."""

import time
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from config.health import missing_parts

PAUSE = 1.0


class Command(BaseCommand):
    """Ends with 0 when nothing is missing, with 1 when something still is after the wait."""

    help = "Says whether database, Redis and migrations are there, and waits for them if asked to."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--wait", type=float, default=0, metavar="SECONDS", help="How long to wait for it.")

    def handle(self, *args: Any, **options: Any) -> None:
        end = time.monotonic() + options["wait"]
        while missing := missing_parts():
            if time.monotonic() >= end:
                raise CommandError("Not ready. " + " ".join(missing.values()))
            time.sleep(PAUSE)
        self.stdout.write("ready")
