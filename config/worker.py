"""What Dramatiq workers load, and `python -m config.worker`, which starts them: with Dramatiq's own options."""

import os
import sys

POLL_MS = "50"
"""Idle workers poll in steps of up to so many milliseconds: with Dramatiq's 1,000 a hint waits up to 0.7 s."""

if __name__ == "__main__":
    # Before Dramatiq is imported, which reads it once: `dramatiq config.worker` would come here too late.
    os.environ.setdefault("dramatiq_worker_timeout", POLL_MS)
    from dramatiq import cli

    sys.argv[1:] = ["config.worker", *sys.argv[1:]]
    sys.exit(cli.main())

import django  # noqa: E402

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
django.setup()

import dramatiq  # noqa: E402
from django.apps import apps  # noqa: E402
from django.utils.module_loading import module_has_submodule  # noqa: E402

broker = dramatiq.get_broker()
for app in apps.get_app_configs():
    if app.module and module_has_submodule(app.module, "actors"):
        __import__(f"{app.name}.actors")
