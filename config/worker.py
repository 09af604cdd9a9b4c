"""What Dramatiq workers load: `python -m dramatiq config.worker`."""

import os
from contextvars import copy_context

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
django.setup()

import dramatiq  # noqa: E402
from django.apps import apps  # noqa: E402
from django.db import connections  # noqa: E402
from django.utils.module_loading import module_has_submodule  # noqa: E402

from swarms.warming import warm  # noqa: E402

broker = dramatiq.get_broker()
for app in apps.get_app_configs():
    if app.module and module_has_submodule(app.module, "actors"):
        __import__(f"{app.name}.actors")


class Warm(dramatiq.Middleware):
    """A process looks once before it takes work: the first work on a cold one took twice as long."""

    def after_process_boot(self, broker: dramatiq.Broker) -> None:
        """See dramatiq.Middleware."""
        copy_context().run(warm)  # its trace is nobody's
        connections.close_all()  # to the pool


broker.add_middleware(Warm())
