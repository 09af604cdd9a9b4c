"""`manage.py services start|stop|status`: the embedded Postgres and Valkey, without the rest."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from config.services import StartFailed, embedded
from config.services.layout import data_dir, external_database, external_redis


class Command(BaseCommand):
    """Start, stop or show the embedded services in the background."""

    help = "Start or stop the embedded Postgres and Valkey in the background, or say whether they run."
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        """One word: start, stop or status."""
        parser.add_argument("action", choices=["start", "stop", "status"])

    def handle(self, *args: Any, action: str, **options: Any) -> None:
        """Do it and say what runs where."""
        root = data_dir()
        if action == "start":
            given = {"postgres": external_database(), "valkey": external_redis()}
            try:
                embedded.ensure(root, only=tuple(name for name, url in given.items() if not url))
            except StartFailed as error:
                raise CommandError(str(error)) from error
        if action == "stop":
            embedded.stop(root)
        running = embedded.marks(root)
        for name in embedded.SERVICES:
            mark = running.get(name)
            self.stdout.write(f"{name:9} {f'runs, pid {mark.pid}' if mark else 'stopped'}")
        self.stdout.write(f"data      {root}")
