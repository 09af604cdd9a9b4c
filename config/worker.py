"""What Dramatiq workers load: `python -m dramatiq config.worker`."""

import os

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
django.setup()

import dramatiq  # noqa: E402
from django.apps import apps  # noqa: E402
from django.utils.module_loading import module_has_submodule  # noqa: E402

broker = dramatiq.get_broker()
for app in apps.get_app_configs():
    if app.module and module_has_submodule(app.module, "actors"):
        __import__(f"{app.name}.actors")
