"""A receiver of webhooks: a real HTTP server on the loopback that answers as it is told and notes what it got."""

import http.server
import json
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from standardwebhooks import Webhook as Verifier


@dataclass
class Got:
    """One request."""

    headers: dict[str, str]
    body: bytes
    path: str

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    @property
    def data(self) -> dict[str, Any]:
        """What it tells of the event."""
        found: dict[str, Any] = json.loads(self.body)["data"]
        return found

    def verified(self, secret: str) -> Any:
        """The body, if it is signed with this secret: as a receiver checks it, with the library. Raises otherwise."""
        return Verifier(secret).verify(self.body, self.headers)


@dataclass
class Reply:
    """What is answered."""

    status: int = 200
    body: bytes = b"ok"
    headers: dict[str, str] = field(default_factory=dict)
    wait: float = 0.0
    """Seconds before the first byte."""
    drip: float = 0.0
    """Seconds between single bytes."""
    reset: bool = False
    """Instead of an answer the connection is reset."""


Replies = Callable[[Got], Reply]


class Receiver(http.server.ThreadingHTTPServer):
    """Answers with what `reply` says to a request; 200 unless told otherwise."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(
        self, reply: Callable[[Got], Reply] = lambda got: Reply(), context: ssl.SSLContext | None = None
    ) -> None:
        self.got: list[Got] = []
        self.reply = reply
        self._arrived = threading.Condition()
        super().__init__(("127.0.0.1", 0), _Handler)
        self.scheme = "https" if context else "http"
        if context:
            self.socket = context.wrap_socket(self.socket, server_side=True)
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.server_port}/hook"

    @property
    def seqs(self) -> list[tuple[str, int]]:
        """Subject and number of each event, as they came."""
        return [(got.data["subject"], got.data["seq"]) for got in self.got]

    def note(self, got: Got) -> None:
        with self._arrived:
            self.got.append(got)
            self._arrived.notify_all()

    def wait_for(self, count: int, seconds: float = 60) -> None:
        """Until so many requests have come."""
        with self._arrived:
            assert self._arrived.wait_for(lambda: len(self.got) >= count, seconds), f"{len(self.got)} of {count} came"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Quiet: who sends is cut off on purpose."""


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Receiver
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        got = Got({name.lower(): value for name, value in self.headers.items()}, body, self.path)
        self.server.note(got)
        reply = self.server.reply(got)
        time.sleep(reply.wait)
        if reply.reset:
            linger = struct.pack("ii", 1, 0)  # closing sends RST
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            self.connection.close()
            self.close_connection = True
            return
        self.send_response(reply.status)
        for name, value in reply.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(reply.body)))
        self.end_headers()
        for byte in reply.body if reply.drip else [reply.body]:
            self.wfile.write(bytes([byte]) if isinstance(byte, int) else byte)
            self.wfile.flush()
            time.sleep(reply.drip)

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


@contextmanager
def receiving(reply: Replies = lambda got: Reply(), **options: Any) -> Iterator[Receiver]:
    """A receiver until the block ends."""
    server = Receiver(reply, **options)
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
