#!/usr/bin/env python
"""Waggle's command line."""

import os
import sys


def main() -> None:
    """Run a management command."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    from django.core.exceptions import ImproperlyConfigured
    from django.core.management import execute_from_command_line

    if any("\udc80" <= letter <= "\udcff" for word in sys.argv for letter in word):
        sys.exit("An argument is not UTF-8: nothing here has such a name.")
    try:
        execute_from_command_line(sys.argv)
    except ImproperlyConfigured as error:
        if "--traceback" in sys.argv:
            raise
        sys.exit(f"Settings: {error}")


if __name__ == "__main__":
    main()
