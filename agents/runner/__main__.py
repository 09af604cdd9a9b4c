"""`python -m agents.runner`: carries out assignments beside the agents, without any database."""

import asyncio
import fcntl
import os
import signal
import sys
from pathlib import Path
from typing import TextIO

import structlog

from agents.runner.cage import clear
from agents.runner.link import Link
from agents.runner.mirror import MIRRORS, make_room, most_bytes
from agents.runner.sandbox import allowed, detect
from agents.runner.settings import RunnerSettings, SettingsError, read
from tenants.logs import configure

log = structlog.get_logger("agents.runner")

SECRETS = ("WAGGLE_RUNNER_TOKEN", "WAGGLE_RUNNER_TOKEN_FILE", "DATABASE_URL", "REDIS_URL", "WAGGLE_SECRET_KEY")
"""Nothing that a child, or what it starts, should find in its environment."""
TIDY_SECONDS = 300
"""How often it looks what its mirrors take."""


def main() -> int:
    """Runs until SIGTERM or SIGINT. Returns the exit code: 2 for wrong settings."""
    try:
        settings, mirror_bytes = read(os.environ), most_bytes(os.environ)
        lock = _claim(settings.folder)
    except SettingsError as error:
        print(error, file=sys.stderr)
        return 2
    for name in list(os.environ):
        if name in SECRETS or name.startswith("OPENAI_"):
            del os.environ[name]
    configure("runner", settings.log_format)
    with lock:
        asyncio.run(_serve(settings, mirror_bytes))
    return 0


def _claim(folder: Path) -> TextIO:
    """Makes the folder ours alone. Raises SettingsError."""
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = (folder / "lock").open("w")
    except OSError as error:
        raise SettingsError(
            f"WAGGLE_RUNNER_DIR is {str(folder)!r}, which cannot be written ({error.strerror}); name another folder."
        ) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        lock.close()
        raise SettingsError(
            f"WAGGLE_RUNNER_DIR is {str(folder)!r}, which another runner uses; name another folder."
        ) from error
    return lock


async def _serve(settings: RunnerSettings, mirror_bytes: int) -> None:
    loop = asyncio.get_running_loop()
    stopped, hurried = asyncio.Event(), asyncio.Event()

    def stop() -> None:
        (hurried if stopped.is_set() else stopped).set()

    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, stop)
    clear()
    sandbox = allowed(detect(), unconfined=settings.unconfined)
    link = Link(settings, sandbox)
    link.kept.recover()
    log.info("runner starts", name=settings.name, capacity=settings.capacity, sandbox=sandbox)
    if sandbox == "none":
        log.warning("no sandbox works here: only the rehearsal may run commands; install bubblewrap")
    elif sandbox == "unconfined":
        log.warning("NO SANDBOX: what agents run may do all that this runner may (WAGGLE_RUNNER_UNCONFINED)")
    warming = asyncio.create_task(link.pool.warm())
    linking = asyncio.create_task(link.run())
    tidying = asyncio.create_task(_tidy(settings.folder / MIRRORS, mirror_bytes))
    stopping = asyncio.create_task(stopped.wait())
    await asyncio.wait({linking, stopping}, return_when=asyncio.FIRST_COMPLETED)
    if linking.done():
        linking.result()
    log.info("runner stops")
    await _drain(link, settings.drain_seconds, hurried)
    await link.pool.close()
    ending = (linking, stopping, warming, tidying)
    for task in ending:
        task.cancel()
    await asyncio.gather(*ending, return_exceptions=True)


async def _tidy(mirrors: Path, at_most: int) -> None:
    """Keeps mirrors within their limit, for ever."""
    while True:
        await asyncio.to_thread(make_room, mirrors, at_most)
        await asyncio.sleep(TIDY_SECONDS)


async def _drain(link: Link, seconds: float, hurried: asyncio.Event) -> None:
    """Waits for what goes on, but no longer than allowed, or until somebody asks a second time."""
    draining = asyncio.create_task(link.pool.drain(seconds))
    hurrying = asyncio.create_task(hurried.wait())
    await asyncio.wait({draining, hurrying}, return_when=asyncio.FIRST_COMPLETED)
    for task in (draining, hurrying):
        task.cancel()
    await asyncio.gather(draining, hurrying, return_exceptions=True)


if __name__ == "__main__":
    sys.exit(main())
