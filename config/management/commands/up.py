"""`manage.py up`: the whole platform in the foreground."""

import os
import signal
import subprocess
import sys
import threading
import time
from argparse import ArgumentParser
from types import FrameType
from typing import Any, TextIO

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError

from config.services import StartFailed
from config.services.prepare import django
from config.services.supervisor import Platform

WIDTH = 9
COLOURS = {"web": 32, "worker": 34, "ticker": 33, "runner": 35, "discover": 36, "rehearsal": 31, "up": 1}
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stop(BaseException):
    """Somebody asked us to stop."""


class Lines:
    """Prints lines with the name of the process before them, coloured on a terminal."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._lock = threading.Lock()
        self._colours = out.isatty() and not os.environ.get("NO_COLOR")

    def __call__(self, name: str, line: str) -> None:
        """Print one line of a process."""
        label = f"{name:{WIDTH}}"
        if self._colours:
            label = f"\033[{COLOURS.get(name, 37)}m{label}\033[0m"
        with self._lock:
            self._out.write(f"{label} | {line}\n")
            self._out.flush()


class Command(BaseCommand):
    """Start everything, show all logs, stop everything on Ctrl-C."""

    help = "Start the whole platform (databases, web, worker, ticker, runner, discover) until Ctrl-C."
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Options."""
        parser.add_argument("--port", type=int, help="Port of the web server (default: WAGGLE_PORT or 8000).")
        parser.add_argument("--team", default="acme", help="Team of the sign-in link (default: acme).")
        parser.add_argument(
            "--once-ready",
            metavar="CMD",
            help="Run this shell command when all is ready, then stop with its exit code.",
        )

    def handle(self, *args: Any, port: int | None, team: str, once_ready: str | None, **options: Any) -> None:
        """Run until a signal, a failure, or the end of --once-ready's command."""
        lines = Lines(sys.stdout)
        platform = Platform(port=port, sink=lines)
        code = 0
        for number in SIGNALS:
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:  # nohup
                signal.signal(number, _stop)
        try:
            platform.start()
            platform.wait_ready()
            self._welcome(platform, team, lines)
            code = self._wait(platform, once_ready)
        except Stop:
            lines("up", "stopping")
        except (StartFailed, ImproperlyConfigured) as error:
            raise CommandError(str(error)) from error
        finally:
            for number in SIGNALS:
                signal.signal(number, signal.SIG_IGN)
            platform.stop()
        if platform.failed:
            raise CommandError(platform.failed)
        if code:
            sys.exit(code)

    def _wait(self, platform: Platform, once_ready: str | None) -> int:
        if once_ready:
            return subprocess.run(once_ready, shell=True, check=False).returncode
        while not platform.failed:
            time.sleep(0.5)
        return 1

    def _welcome(self, platform: Platform, team: str, lines: Lines) -> None:
        lines("up", f"Waggle runs at {platform.url} (Ctrl-C stops it; logs are in {platform.layout.log})")
        try:
            link = django("signin_link", "--team", team, environment=platform.environment()).strip()
        except StartFailed as error:
            lines(
                "up", f"No sign-in link for team {team!r}: {str(error).splitlines()[-1].removeprefix('CommandError: ')}"
            )
            lines("up", f"Sign up at {platform.url}/signup/, or run `make demo` for a team with a project")
            return
        lines("up", f"Sign in to team {team} (works once): {link}")


def _stop(number: int, frame: FrameType | None) -> None:
    # A second signal must not interrupt the stopping.
    for each in SIGNALS:
        signal.signal(each, signal.SIG_IGN)
    raise Stop
