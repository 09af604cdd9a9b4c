"""`manage.py setup`: data folder, database and secrets, without starting the platform."""

import os
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError

from config.services import StartFailed, embedded
from config.services.layout import Layout, data_dir, external_database, external_redis
from config.services.prepare import check_reachable, prepare
from config.services.programs import Site


class Command(BaseCommand):
    """Make everything ready that `manage.py up` would make ready."""

    help = "Prepare data folder, databases, migrations and the local runner's token, and stop again."
    requires_system_checks = ()

    def handle(self, *args: Any, **options: Any) -> None:
        """Prepare, and leave the embedded services as they were."""
        layout = Layout(data_dir()).create()
        urls = {"DATABASE_URL": external_database(), "REDIS_URL": external_redis()}
        own = [name for name, spec in embedded.SERVICES.items() if not urls[spec[1]]]
        try:
            started = embedded.ensure(layout.root, only=own, bound=True)
            site = Site(
                root=layout.root,
                port=8000,
                database_url=urls["DATABASE_URL"] or started["DATABASE_URL"],
                redis_url=urls["REDIS_URL"] or started["REDIS_URL"],
                mark="",
                rehearsal_port=None,
            )
            check_reachable(site)
            prepare(layout, site, os.environ, self.stdout.write)
        except (StartFailed, ImproperlyConfigured) as error:
            raise CommandError(str(error)) from error
        finally:
            embedded.stop(layout.root, only_bound=True)
        self.stdout.write(f"ready in {layout.root}")
