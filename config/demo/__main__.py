"""`python -m config.demo`: runs with the environment of a platform, and follows one swarm to its end."""

import sys
from argparse import ArgumentParser

import django


def main(arguments: list[str]) -> int:
    """Run the demo; returns the exit code."""
    # Before anything is imported that needs settings.
    django.setup()
    from config.demo.options import Options, add_arguments
    from config.demo.run import run

    parser = ArgumentParser(prog="manage.py demo")
    add_arguments(parser)
    return run(Options.of(vars(parser.parse_args(arguments))))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
