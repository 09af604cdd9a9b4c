"""What Dramatiq workers load: `dramatiq config.worker`."""

import os

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
# Idle workers poll in steps of this many milliseconds: with the default of 1,000 a hint waits up to 0.7 s.
os.environ.setdefault("dramatiq_worker_timeout", "50")
django.setup()

import dramatiq  # noqa: E402
from django.apps import apps  # noqa: E402
from django.utils.module_loading import module_has_submodule  # noqa: E402

broker = dramatiq.get_broker()
for app in apps.get_app_configs():
    if app.module and module_has_submodule(app.module, "actors"):
        __import__(f"{app.name}.actors")
