"""`manage.py reset`: delete what a platform keeps on this machine."""

import shutil
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from config.services import embedded
from config.services.layout import Layout, check_owner, data_dir, external_database
from config.services.supervisor import AlreadyRuns, Platform


class Command(BaseCommand):
    """Delete databases, repositories, secrets and logs of the data folder, after a question."""

    help = "Delete databases, repositories, secrets and logs in the data folder."
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Options."""
        parser.add_argument("--yes", action="store_true", help="Do not ask.")

    def handle(self, *args: Any, yes: bool, **options: Any) -> None:
        """Ask, stop the embedded services, delete."""
        root = data_dir()
        if not root.exists():
            self.stdout.write(f"{root} does not exist: nothing to delete")
            return
        check_owner(root)
        found = [root / name for name in Layout.NAMES if (root / name).exists()]
        self.stdout.write(f"In {root}: {', '.join(path.name for path in found) or 'nothing to delete'}")
        if external_database():
            self.stdout.write("The database that DATABASE_URL names is left as it is.")
        if not found:
            return
        if not yes and not self._agreed():
            raise CommandError("Nothing was deleted.")
        platform = Platform(root)
        try:
            platform.hold()
        except AlreadyRuns as error:
            raise CommandError(str(error)) from error
        embedded.stop(root)
        for path in found:
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
        self.stdout.write("deleted")

    def _agreed(self) -> bool:
        try:
            return input("Delete all of this, with all teams and projects? [y/N] ").strip().lower() == "y"
        except EOFError:
            return False
