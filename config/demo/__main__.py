"""`python -m config.demo`: runs with the environment of a platform, and follows one swarm to its end."""

import sys
import traceback
from argparse import ArgumentParser

import django


def main(arguments: list[str]) -> int:
    """Run the demo; returns the exit code."""
    # Before anything is imported that needs settings.
    django.setup()
    from config.demo.options import BROKEN, Options, add_arguments
    from config.demo.run import run

    parser = ArgumentParser(prog="manage.py demo")
    add_arguments(parser)
    options = Options.of(vars(parser.parse_args(arguments)))
    try:
        return run(options)
    except Exception:
        # An exit code of its own, so that whoever started us knows where to look.
        traceback.print_exc()
        return BROKEN


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
