"""Starts and stops the embedded Postgres and Valkey of a data folder."""

import fcntl
import signal
import subprocess
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from config.services import postgres, valkey
from config.services.launch import StartFailed
from config.services.layout import Layout, read_json, write_json
from config.services.marks import Mark
from config.services.ports import free_port, is_free

SERVICES: dict[str, tuple[ModuleType, str, signal.Signals]] = {
    "postgres": (postgres, "DATABASE_URL", signal.SIGINT),
    "valkey": (valkey, "REDIS_URL", signal.SIGTERM),
}
TRIES = 3
BUSY_SECONDS = 40

# Handles of what this process started, so that it also collects what ended.
_children: dict[int, "subprocess.Popen[bytes]"] = {}


def ensure(root: Path | str, *, only: Iterable[str] = ("postgres", "valkey"), bound: bool = False) -> dict[str, str]:
    """Start the embedded services of a data folder that do not run yet, and give their addresses.

    `only` names the services wanted. With `bound`, what is started here ends with the calling thread,
    however that ends (Linux). Returns DATABASE_URL and REDIS_URL of the wanted ones.
    Raises StartFailed, or ImproperlyConfigured when the data folder cannot be used.
    """
    layout, only = Layout(Path(root).expanduser().resolve()).create(), tuple(only)
    with _locked(layout):
        record = read_json(layout.services)
        for name in only:
            if not _runs(layout, name, record):
                record.update(_start(layout, name, bound))
                write_json(layout.services, record)
    return {SERVICES[name][1]: record[SERVICES[name][1]] for name in only}


def stop(root: Path | str, *, only_bound: bool = False) -> None:
    """Stop the embedded services of a data folder, Valkey first; nothing happens where none runs.

    With `only_bound`, those that `manage.py services start` or a test started go on.
    """
    layout = Layout(Path(root).expanduser().resolve())
    if not layout.services.exists():
        return
    with _locked(layout):
        record = read_json(layout.services)
        for name in reversed(SERVICES):
            if name not in record or (only_bound and not record[name]["bound"]):
                continue
            mark = Mark.parse(record.pop(name))
            SERVICES[name][0].stop(mark)
            child = _children.pop(mark.pid, None)
            if child is not None:
                child.wait()
        write_json(layout.services, record)


def marks(root: Path | str) -> dict[str, Mark]:
    """The embedded services that run now, by name."""
    record = read_json(Layout(Path(root).expanduser().resolve()).services)
    found = {name: Mark.parse(record.get(name)) for name in SERVICES}
    return {name: mark for name, mark in found.items() if mark.alive()}


def _runs(layout: Layout, name: str, record: dict[str, Any]) -> bool:
    """Whether the recorded service works. One that is on its way down is waited for.

    Raises StartFailed when it lives but does not answer.
    """
    service, variable, _ = SERVICES[name]
    mark = Mark.parse(record.get(name))
    deadline = time.monotonic() + BUSY_SECONDS
    while mark.alive():
        if service.answers(str(record[variable])):
            return True
        if time.monotonic() > deadline:
            raise StartFailed(
                f"{name} (pid {mark.pid}) runs but gives no answer. See {layout.log / name}.log, "
                f"or stop it: kill {mark.pid}"
            )
        time.sleep(0.05)
    return False


def _start(layout: Layout, name: str, bound: bool) -> dict[str, Any]:
    service, variable, goodbye = SERVICES[name]
    for ended in [pid for pid, child in _children.items() if child.poll() is not None]:
        del _children[ended]
    for attempt in range(1, TRIES + 1):
        port = _port(layout, name)
        try:
            mark, child = service.start(layout, port, dies_with_us=goodbye if bound else None)
        except StartFailed:
            # Another program may have taken the port between our look and the service's.
            if attempt == TRIES or is_free(port):
                raise
            continue
        _children[mark.pid] = child
        return {name: mark.record() | {"port": port, "bound": bound}, variable: service.address(layout, port)}
    raise AssertionError("the last attempt returns or raises")


def _port(layout: Layout, name: str) -> int:
    """The port of the last start, or a new one where that is taken; kept for the next start."""
    ports = read_json(layout.ports)
    port = int(ports.get(name, 0))
    if not port or not is_free(port):
        port = free_port()
        write_json(layout.ports, ports | {name: port})
    return port


@contextmanager
def _locked(layout: Layout) -> Iterator[None]:
    with (layout.run / "services.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
