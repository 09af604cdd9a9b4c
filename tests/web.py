"""The web process as it really runs: uvicorn on a free port of the loopback, in a process of its own."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from django.conf import settings
from django.db import connection

from tenants.context import current_schema, in_schema

ROOT = Path(__file__).resolve().parent.parent


def free_port() -> int:
    """A port that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def database_url() -> str:
    """The database of this test run, which is not that of the settings."""
    now = connection.settings_dict
    return f"postgres://{quote(now['USER'])}:{quote(now['PASSWORD'])}@{now['HOST']}:{now['PORT']}/{now['NAME']}"


@dataclass
class Web:
    """A running web process."""

    port: int
    process: subprocess.Popen[bytes]
    log: Path

    def end(self) -> int:
        """SIGTERM, as a supervisor does, and wait."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=30)


@contextmanager
def serve(application: str, folder: Path, port: int = 0, host: str = "127.0.0.1", **environment: str) -> Iterator[Web]:
    """Run an ASGI application until the block ends, on a free port unless one is given."""
    port = port or free_port()
    log = folder / f"web-{port}.log"
    command = [
        *(sys.executable, "-m", "uvicorn", application, "--host", host, "--port", str(port)),
        *("--timeout-graceful-shutdown", "10", "--log-level", "warning", "--no-access-log"),
    ]
    known = {
        "DJANGO_SETTINGS_MODULE": "config.settings",
        "DATABASE_URL": database_url(),
        "REDIS_URL": settings.REDIS_URL,
        "WAGGLE_PORT": str(port),
        "WAGGLE_SECRET_KEY": settings.SECRET_KEY,
        "WAGGLE_DATA_DIR": str(settings.DATA_DIR),
    }
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=ROOT, env=os.environ | known | environment, stdout=output, stderr=subprocess.STDOUT
        )
    try:
        _wait_until_open((host, port), process, log)
        yield Web(port, process, log)
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


def _wait_until_open(address: tuple[str, int], process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        try:
            socket.create_connection(address, timeout=1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise AssertionError(f"the web process did not start:\n{log.read_text()}")


@dataclass
class Message:
    """One server-sent event."""

    event: str = ""
    id: str | None = None
    data: dict[str, object] = field(default_factory=dict)


class Listener:
    """A browser's EventSource, without the reconnecting: collects messages in a thread."""

    def __init__(self, port: int, path: str, **headers: str) -> None:
        self.messages: list[Message] = []
        self.retry: list[int] = []
        self.last_id: str | None = None
        self.is_closed = threading.Event()
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        self._connection.request("GET", path, headers={name.replace("_", "-"): text for name, text in headers.items()})
        self._socket = self._connection.sock
        self.answer = self._connection.getresponse()
        self.status = self.answer.status
        self._thread = threading.Thread(target=self._read, daemon=True)
        if self.status == 200:
            self._thread.start()

    def _read(self) -> None:
        message = Message()
        try:
            for raw in self.answer:
                line = raw.decode().removesuffix("\n")
                if not line:
                    self._dispatch(message)
                    message = Message()
                else:
                    self._take(message, *line.partition(": ")[::2])
        except (OSError, http.client.HTTPException, AttributeError, ValueError):
            pass  # cut, by either side
        finally:
            self.is_closed.set()

    def _take(self, message: Message, name: str, value: str) -> None:
        if name == "event":
            message.event = value
        elif name == "id":
            message.id = self.last_id = value
        elif name == "data":
            message.data = json.loads(value)
        elif name == "retry":
            self.retry.append(int(value))

    def _dispatch(self, message: Message) -> None:
        if message.event:
            self.messages.append(message)

    def positions(self) -> list[int]:
        """What durable events came, by their place in the team's stream."""
        return [int(message.id or 0) for message in self.messages if message.event == "change"]

    def cut(self) -> None:
        """Hang up without a word, as a lost network does."""
        if self._socket is not None:
            with suppress(OSError):  # the other side was faster
                self._socket.shutdown(socket.SHUT_RDWR)
        self._connection.close()
        if self._thread.is_alive():
            self._thread.join(timeout=10)


def elsewhere(verb: Callable[[], object]) -> None:
    """Do it for the same team in a thread of its own: a browser under test keeps an event loop in this one."""
    schema, failures = current_schema(), []

    def run() -> None:
        try:
            with in_schema(schema):
                verb()
        except Exception as error:
            failures.append(error)
        finally:
            connection.close()

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if failures:
        raise failures[0]


def until(condition: object, seconds: float = 30, what: str = "") -> None:
    """Wait for something that must happen; the limit is for what is broken, not for what is slow."""
    assert callable(condition)
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, what or "did not happen in time"
        time.sleep(0.02)
