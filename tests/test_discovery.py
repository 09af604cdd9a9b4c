"""Discovery: real announcements over loopback, a real HTTP server that answers like OpenCode, real rows."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from django.conf import settings
from django.db import connection
from django.utils import timezone
from zeroconf import ServiceInfo, Zeroconf

from agents.discovery import (
    HTTP,
    WAGGLE,
    Found,
    Hint,
    candidate_urls,
    handshake,
    look_around,
    may_be_agent_server,
    record,
)
from agents.models import Server
from agents.states import ServerState
from sessions.models import Event
from tenants.context import in_schema
from tenants.models import Team

ROOT = Path(__file__).resolve().parent.parent
HEALTHY = {"healthy": True, "version": "1.18.33"}
LONG_AGO = timezone.now() - timedelta(days=1)


@contextmanager
def server(answer: Any, status: int = 200, headers: dict[str, str] | None = None) -> Iterator[tuple[str, list[str]]]:
    """An HTTP server with one answer for every path; gives its address and the paths that were asked."""
    asked: list[str] = []

    class OneAnswer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(status)
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(answer if isinstance(answer, bytes) else json.dumps(answer).encode())

        def log_message(self, format: str, *args: object) -> None:
            """Quiet."""

    http = ThreadingHTTPServer(("127.0.0.1", 0), OneAnswer)
    thread = threading.Thread(target=http.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{http.server_port}", asked
    finally:
        http.shutdown()
        http.server_close()
        thread.join()


@contextmanager
def announced(instance: str, port: int, service: str = HTTP) -> Iterator[None]:
    """The instance is announced by mDNS on loopback."""
    voice = Zeroconf(interfaces=["127.0.0.1"])
    info = ServiceInfo(
        service,
        f"{instance}.{service}",
        addresses=[socket.inet_aton("127.0.0.1")],
        port=port,
        server=f"{instance}.local.",
        properties={"path": "/"},
    )
    voice.register_service(info, allow_name_change=True)
    try:
        yield
    finally:
        voice.close()


@pytest.fixture
def client() -> Iterator[httpx.Client]:
    with httpx.Client(trust_env=False) as client:
        yield client


def test_a_healthy_opencode_server_is_recognised_by_its_answer(client: httpx.Client) -> None:
    with server(HEALTHY) as (url, asked):
        assert handshake("opencode-4096", url, client) == Found("opencode-4096", url, "1.18.33")
    assert asked == ["/global/health"]


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        pytest.param(b"<html>printer</html>", 200, id="a page"),
        pytest.param({"healthy": False, "version": "1.18.33"}, 200, id="unhealthy"),
        pytest.param({"healthy": True}, 200, id="no version"),
        pytest.param({"healthy": True, "version": "<script>"}, 200, id="a version that is none"),
        pytest.param(["healthy"], 200, id="a list"),
        pytest.param({"error": "password"}, 401, id="a password wanted"),
        pytest.param(HEALTHY, 500, id="an error"),
    ],
)
def test_whatever_else_answers_is_no_server(answer: Any, status: int, client: httpx.Client) -> None:
    with server(answer, status) as (url, asked):
        assert handshake("opencode-4096", url, client) is None
    assert asked


def test_a_redirect_is_not_followed(client: httpx.Client) -> None:
    with server(HEALTHY) as (inside, asked), server({}, 302, {"Location": f"{inside}/global/health"}) as (url, _):
        assert handshake("opencode-4096", url, client) is None
    assert asked == []


def test_nobody_at_the_address_is_no_server(client: httpx.Client) -> None:
    with server(HEALTHY) as (url, _):
        pass
    assert handshake("opencode-4096", url, client) is None


@pytest.mark.parametrize(
    ("service", "instance", "expected"),
    [
        (HTTP, "opencode-4096", True),
        (HTTP, "opencode-4096 (2)", True),
        (HTTP, "Office printer", False),
        (HTTP, "opencode", False),
        (WAGGLE, "workshop", True),
    ],
)
def test_only_likely_announcements_are_asked(service: str, instance: str, expected: bool) -> None:
    assert may_be_agent_server(service, instance) is expected


def test_each_address_of_a_shared_host_name_is_a_candidate_and_useless_ones_are_not() -> None:
    addresses = ("10.0.0.9", "10.0.0.7", "fe80::1%eth0", "169.254.169.254", "127.0.0.1", "0.0.0.0", "fd00::5")
    hint = Hint(HTTP, "opencode-4096", 4096, addresses)
    found = ["http://10.0.0.7:4096", "http://10.0.0.9:4096", "http://[fd00::5]:4096"]
    assert candidate_urls(hint) == found
    assert candidate_urls(hint, loopback=True)[-2] == "http://127.0.0.1:4096"


def test_two_announcements_of_one_address_are_one_server(client: httpx.Client) -> None:
    with server(HEALTHY) as (url, asked):
        port = int(url.rsplit(":", 1)[1])
        hints = [Hint(HTTP, name, port, ("127.0.0.1",)) for name in ("opencode-1", "opencode-2")]
        found = look_around(hints, {url: "opencode-0"}, client, loopback=True)
    assert [(each.url, each.name) for each in found] == [(url, "opencode-2")]
    assert len(asked) == 1


def test_a_found_server_is_listed_quarantined_for_every_team(acme: Team, globex: Team) -> None:
    record([Found("opencode-1", "http://10.0.0.7:4096", "1.18.33")], lost_before=LONG_AGO)
    for each in (acme, globex):
        with in_schema(each.schema_name):
            (row,) = Server.objects.all()
            assert (row.name, row.state, row.version) == ("opencode-1", ServerState.QUARANTINED, "1.18.33")


def test_an_enrolled_server_stays_trusted_when_it_is_seen_again(team: Team) -> None:
    Server.objects.create(
        name="opencode-1", url="http://10.0.0.7:4096", version="1.18.30", state=ServerState.TRUSTED, last_seen=LONG_AGO
    )
    record([Found("opencode-1", "http://10.0.0.7:4096", "1.18.33")], lost_before=LONG_AGO)
    (row,) = Server.objects.all()
    assert (row.state, row.version) == (ServerState.TRUSTED, "1.18.33")
    assert row.last_seen > LONG_AGO


def test_a_silent_server_is_lost_and_quarantined_again_when_it_answers(team: Team) -> None:
    found = Found("opencode-1", "http://10.0.0.7:4096", "1.18.33")
    Server.objects.create(name=found.name, url=found.url, state=ServerState.TRUSTED, last_seen=LONG_AGO)
    record([], lost_before=timezone.now())
    assert Server.objects.get().state == ServerState.LOST
    record([found], lost_before=LONG_AGO)
    assert Server.objects.get().state == ServerState.QUARANTINED
    moves = Event.objects.filter(kind="server.moved").order_by("seq").values_list("payload", flat=True)
    assert [(move["before"], move["after"]) for move in moves] == [("trusted", "lost"), ("lost", "quarantined")]


def environment() -> dict[str, str]:
    """For a process that works on the tests' database."""
    database = connection.settings_dict
    address = f"{database['USER']}:{database['PASSWORD']}@{database['HOST']}:{database['PORT']}"
    return os.environ | {
        "DJANGO_SETTINGS_MODULE": "config.settings",
        "DATABASE_URL": f"postgresql://{address}/{database['NAME']}",
        "REDIS_URL": settings.REDIS_URL,
        "WAGGLE_DATA_DIR": str(settings.DATA_DIR),
        "WAGGLE_LOG_FORMAT": "json",
    }


def wait_for_state(state: str, process: subprocess.Popen[str]) -> Server:
    """The only server, once it has the state; the test's timeout is the limit."""
    while process.poll() is None:
        if row := Server.objects.filter(state=state).first():
            return row
        time.sleep(0.1)
    pytest.fail(f"discover ended by itself: {process.stderr.read() if process.stderr else ''}")


@contextmanager
def discover(*options: str) -> Iterator[subprocess.Popen[str]]:
    """`manage.py discover` in a process of its own, ended if it still runs."""
    command = [sys.executable, "manage.py", "discover", *options]
    process = subprocess.Popen(command, cwd=ROOT, env=environment(), stderr=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        if process.stderr:
            process.stderr.close()


def test_the_command_lists_a_server_notices_its_end_and_stops_cleanly(committed_team: Team) -> None:
    with discover("--interface", "127.0.0.1", "--every", "0.5") as process:
        with server(HEALTHY) as (url, _), server(b"paper", 404) as (printer, asked):
            port, paper = (int(each.rsplit(":", 1)[1]) for each in (url, printer))
            with announced(f"opencode-{port}", port), announced("Office printer", paper):
                row = wait_for_state(ServerState.QUARANTINED, process)
        assert (row.url, row.name, row.version) == (url, f"opencode-{port}", "1.18.33")
        assert asked == []
        wait_for_state(ServerState.LOST, process)
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate()
    assert process.returncode == 0, errors
    assert any(json.loads(line)["event"] == "server found" for line in errors.splitlines())


def test_the_command_waits_without_a_network_and_says_so_once(committed_team: Team) -> None:
    # 203.0.113.0/24 is kept for documentation: no machine has it, so nothing can be listened to there.
    with discover("--interface", "203.0.113.7", "--every", "0.2") as process:
        assert process.stderr is not None
        first = json.loads(process.stderr.readline())
        time.sleep(1)
        assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        _, rest = process.communicate()
    assert first["event"] == "no network to look for servers on, waiting for one"
    assert rest == ""
    assert process.returncode == 0
