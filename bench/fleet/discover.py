"""How soon a server that announces itself is found, verified by its handshake and listed, while others lie."""

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from zeroconf import ServiceInfo, Zeroconf

from agents.models import Server
from agents.neighbourhood import HTTP
from bench import swarm
from bench.figures import Figures, tail
from bench.stage import Stage, wait_for
from tenants.context import in_schema
from tenants.models import Team

SAMPLES, LIARS = 20, 20
HEALTHY = json.dumps({"healthy": True, "version": "1.18.33"}).encode()


def measure(at: Stage) -> Figures:
    """From the moment at which a server begins to announce itself on loopback to its row. mDNS itself asks three times,
    a quarter of a second apart, whether a name is taken, before it tells it: that is in the figure. Twenty others
    announce themselves meanwhile, take the handshake and never answer.
    """
    of = swarm.team("bench")
    at.start("discover", "manage.py", "discover", "--interface", "127.0.0.1")
    with _served(answers=False) as silent:
        liars = Zeroconf(interfaces=["127.0.0.1"])
        for number in range(LIARS):
            liars.register_service(_announcement(f"opencode-{20000 + number}", silent), strict=False)
        try:
            _found(of)  # the process is there
            took = [[_found(of)] for _ in range(SAMPLES)]
        finally:
            liars.close()
    return {"fleet.discover_p95_s": tail(took, "s"), "fleet.discover_p50_s": tail(took, "s", 0.5)}


def _found(of: Team) -> float:
    with _served(answers=True) as port:
        voice = Zeroconf(interfaces=["127.0.0.1"])
        try:
            began = time.perf_counter()
            voice.register_service(_announcement(f"opencode-{port}", port))
            wait_for(partial(_is_listed, of, port), "the server is not found", every=0.01)
            return time.perf_counter() - began
        finally:
            voice.close()


def _is_listed(of: Team, port: int) -> bool:
    with in_schema(of.schema_name):
        return Server.objects.filter(url=f"http://127.0.0.1:{port}").exists()


def _announcement(name: str, port: int) -> ServiceInfo:
    return ServiceInfo(
        HTTP, f"{name}.{HTTP}", addresses=[socket.inet_aton("127.0.0.1")], port=port, server=f"{name}.local."
    )


@contextmanager
def _served(*, answers: bool) -> Iterator[int]:
    """A server that says what OpenCode says, or nothing at all; its port."""
    over = threading.Event()

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if not answers:
                over.wait(60)
                return
            self.send_response(200)
            self.end_headers()
            self.wfile.write(HEALTHY)

        def log_message(self, format: str, *args: object) -> None:
            """Quiet."""

    http = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    http.daemon_threads, http.block_on_close = True, False
    threading.Thread(target=http.serve_forever, args=[0.05], daemon=True).start()
    try:
        yield http.server_port
    finally:
        over.set()
        http.shutdown()
        http.server_close()
