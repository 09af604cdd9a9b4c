"""`manage.py demo`: the sample swarm, from goal to landing, in the terminal."""

import os
import signal
import subprocess
import sys
import time
from argparse import ArgumentParser
from dataclasses import replace
from types import FrameType
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError

from config.demo.options import FAILED, REHEARSAL_ONLY, STOPPED, WRONG_CALL, Options, add_arguments
from config.env import PROJECT_ROOT, env
from config.services import StartFailed
from config.services.launch import death_signal, tail
from config.services.supervisor import Platform

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
HEARD_SECONDS, FOLLOWER_SECONDS = 3, 10


class Stop(BaseException):
    """Somebody asked us to stop, with this signal."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class Command(BaseCommand):
    """Join or start a platform, follow one swarm to its end, stop only what was started here."""

    help = "Run the sample swarm to its end (or your own goal, with a real model), and prove the result."
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Options."""
        add_arguments(parser)

    def handle(self, *args: Any, **parsed: Any) -> None:
        """Exit code 0 only when the landing is on the target branch and its tests, red before, are green."""
        options = Options.of(parsed)
        if parsed["runtime"]:
            os.environ["WAGGLE_RUNTIME"] = parsed["runtime"]  # for all programs of the platform
        platform = Platform(sink=self._sink)
        if options.needs_real_model and not env("WAGGLE_MODEL_BASE_URL", "") and not platform.pids():
            raise CommandError(REHEARSAL_ONLY, returncode=WRONG_CALL)
        self._began = time.monotonic()
        for number in SIGNALS:
            signal.signal(number, _stop)
        try:
            code = self._run(platform, options)
        except Stop:
            code = STOPPED
        except (StartFailed, ImproperlyConfigured) as error:
            raise CommandError(str(error)) from error
        finally:
            for number in SIGNALS:
                signal.signal(number, signal.SIG_IGN)
            platform.stop()
        if code:
            sys.exit(code)

    def _run(self, platform: Platform, options: Options) -> int:
        self._say(f"starting Waggle in {platform.layout.root}")
        joined = platform.join_or_start()
        if joined:
            self._say(f"joined the platform that runs at {platform.url}, whose settings count")
        platform.wait_ready()
        self._say("web, worker, ticker, runner and discover are ready")
        code = self._follow(platform, replace(options, keep=options.keep or joined))
        if options.keep and not joined and not platform.failed:
            self._say(f"Waggle goes on at {platform.url} until Ctrl-C")
            while not platform.failed:
                time.sleep(0.5)
        if platform.failed:
            raise CommandError(platform.failed)
        return code

    def _follow(self, platform: Platform, options: Options) -> int:
        """Run the follower with the platform's environment. What it logs goes to a file."""
        log = platform.layout.log / "demo.log"
        with log.open("a", encoding="utf-8") as errors:
            follower = subprocess.Popen(
                [sys.executable, "-m", "config.demo", *options.arguments()],
                env=platform.environment(),
                cwd=PROJECT_ROOT,
                stderr=errors,
                preexec_fn=death_signal(signal.SIGTERM),
            )
        try:
            while follower.poll() is None and not platform.failed:
                time.sleep(0.1)
        except Stop as stop:
            _end(follower, heard_it=stop.number == signal.SIGINT)
            raise
        finally:
            _end(follower, heard_it=False)
        if follower.returncode not in (0, FAILED, WRONG_CALL, STOPPED) and not platform.failed:
            raise CommandError(f"The demo broke. The end of {log}:\n{tail(log, 15)}")
        return follower.returncode

    def _sink(self, name: str, line: str) -> None:
        # All other lines are in the log files.
        if name == "up" or line.startswith("[up]"):
            self._say(line.removeprefix("[up] "))

    def _say(self, line: str) -> None:
        self.stdout.write(f"{time.monotonic() - self._began:6.1f} s  {line}")
        self.stdout.flush()


def _end(follower: "subprocess.Popen[bytes]", *, heard_it: bool) -> None:
    """Let the follower say its last words. It has `heard_it` when Ctrl-C went to the whole terminal."""
    if heard_it and _ends(follower, HEARD_SECONDS):
        return
    if follower.poll() is None:
        follower.send_signal(signal.SIGINT)
    if not _ends(follower, FOLLOWER_SECONDS):
        follower.kill()
        follower.wait()


def _ends(follower: "subprocess.Popen[bytes]", seconds: float) -> bool:
    try:
        follower.wait(seconds)
    except subprocess.TimeoutExpired:
        return False
    return True


def _stop(number: int, frame: FrameType | None) -> None:
    # A second signal must not interrupt the stopping.
    for each in SIGNALS:
        signal.signal(each, signal.SIG_IGN)
    raise Stop(number)
