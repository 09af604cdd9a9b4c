"""Discovery: real announcements over loopback, real HTTP servers that answer like OpenCode, or lie, and real rows."""

import base64
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import StringIO
from ipaddress import ip_address
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import ifaddr
import pytest
from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.management import CommandError, call_command
from django.db import connection
from django.utils import timezone
from structlog.testing import capture_logs
from zeroconf import ServiceInfo, Zeroconf

from agents import looking, neighbourhood, servers, sightings
from agents.discovery import _Watch
from agents.handshake import Health, NoServer, announced_rule, candidate_urls, checked, own_networks, shake
from agents.looking import SHARED_HOST, Look, Met, of_hint
from agents.models import Agent, Server
from agents.neighbourhood import HTTP, WAGGLE, Gone, Hint, Name, Neighbourhood, may_be_agent_server
from agents.sightings import Found
from agents.states import ServerState
from sessions.models import Event
from tenants.context import each_team, in_schema
from tenants.models import Team
from tenants.reachable import is_within
from tests.conftest import user_of
from tests.fake_control_plane import until

ROOT = Path(__file__).resolve().parent.parent
HEALTHY = {"healthy": True, "version": "1.18.33"}
LONG_AGO = timezone.now() - timedelta(days=1)
PASSWORD = "correct horse battery"


@contextmanager
def server(
    answer: Any,
    status: int = 200,
    headers: dict[str, str] | None = None,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    password: str = "",
    drip: float = 0,
) -> Iterator[tuple[str, list[str]]]:
    """An HTTP server with one answer for every path; gives its address and the paths that were asked.

    With a password it answers 401 without; with `drip` it sends a byte in so many seconds.
    """
    asked: list[str] = []

    class OneAnswer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            wanted = f"Basic {base64.b64encode(f'opencode:{password}'.encode()).decode()}"
            refused = bool(password) and self.headers.get("Authorization") != wanted
            body = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
            try:
                self.send_response(401 if refused else status)
                for name, value in (headers or {}).items():
                    self.send_header(name, value)
                self.end_headers()
                for byte in [b""] if refused else [bytes([one]) for one in body] if drip else [body]:
                    self.wfile.write(byte)
                    time.sleep(drip)
            except OSError:
                """Whoever asked has hung up."""

        def log_message(self, format: str, *args: object) -> None:
            """Quiet."""

    http = ThreadingHTTPServer((host, port), OneAnswer)
    http.daemon_threads = True
    http.block_on_close = False
    thread = threading.Thread(target=http.serve_forever, args=[0.05], daemon=True)
    thread.start()
    try:
        yield f"http://{host}:{http.server_port}", asked
    finally:
        http.shutdown()
        http.server_close()
        thread.join()


class Voice:
    """Who announces by mDNS on loopback, as many names as one likes."""

    def __init__(self) -> None:
        self._zeroconf = Zeroconf(interfaces=["127.0.0.1"])

    def announce(
        self, instance: str, port: int, service: str = HTTP, *, at: tuple[str, ...] = ("127.0.0.1",), host: str = ""
    ) -> ServiceInfo:
        """Something is there."""
        info = ServiceInfo(
            service,
            f"{instance}.{service}",
            addresses=[socket.inet_aton(address) for address in at],
            port=port,
            server=host or f"{instance}.local.",
            properties={"path": "/"},
        )
        self._zeroconf.register_service(info, allow_name_change=True)
        return info

    def say_goodbye(self, info: ServiceInfo) -> None:
        """It is not there any more, or so it is said."""
        self._zeroconf.unregister_service(info)

    def close(self) -> None:
        """All of it is gone."""
        self._zeroconf.close()


@pytest.fixture
def voice() -> Iterator[Voice]:
    made = Voice()
    yield made
    made.close()


@contextmanager
def announced(instance: str, port: int, service: str = HTTP) -> Iterator[None]:
    """The instance is announced by mDNS on loopback."""
    made = Voice()
    made.announce(instance, port, service)
    try:
        yield
    finally:
        made.close()


def port_of(url: str) -> int:
    return int(url.rsplit(":", 1)[1])


def asked(url: str, **more: Any) -> Health:
    return shake(url, announced_rule(), **more)


def test_a_healthy_opencode_server_is_recognised_by_its_answer() -> None:
    with server(HEALTHY) as (url, paths):
        found = asked(url)
    assert (found.version, found.wants_password) == ("1.18.33", False)
    assert paths == ["/global/health"]


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        pytest.param(b"<html>printer</html>", 200, id="a page"),
        pytest.param({"healthy": False, "version": "1.18.33"}, 200, id="unhealthy"),
        pytest.param({"healthy": True}, 200, id="no version"),
        pytest.param({"healthy": True, "version": "<script>"}, 200, id="a version that is none"),
        pytest.param({"healthy": True, "version": "1.1\n"}, 200, id="a version with a line"),
        pytest.param(["healthy"], 200, id="a list"),
        pytest.param({"error": "forbidden"}, 403, id="forbidden"),
        pytest.param(HEALTHY, 500, id="an error"),
        pytest.param(json.dumps(HEALTHY | {"more": "x" * 5_000_000}).encode(), 200, id="a huge answer"),
        pytest.param(b"[" * 5_000, 200, id="a deep answer"),
    ],
)
def test_whatever_else_answers_is_no_server(answer: Any, status: int) -> None:
    with server(answer, status) as (url, paths), pytest.raises(NoServer):
        asked(url)
    assert paths


def test_one_that_wants_a_password_is_found_and_says_nothing_without_it() -> None:
    with server(HEALTHY, password=PASSWORD) as (url, _):
        assert asked(url).wants_password
        assert asked(url).version == ""
        assert asked(url, password=PASSWORD).version == "1.18.33"
        with pytest.raises(NoServer, match="refuses the password"):
            asked(url, password="guess")


def test_a_redirect_is_not_followed() -> None:
    with ExitStack() as stack:
        inside, paths = stack.enter_context(server(HEALTHY))
        url, _ = stack.enter_context(server({}, 302, {"Location": f"{inside}/global/health"}))
        with pytest.raises(NoServer, match="HTTP 302"):
            asked(url)
    assert paths == []


def test_an_answer_that_drips_in_is_given_up_in_time() -> None:
    with server(HEALTHY, drip=0.2) as (url, _):
        began = time.monotonic()
        with pytest.raises(NoServer, match="no answer within 1 s"):
            asked(url, seconds=1)
    assert time.monotonic() - began < 30, "each byte alone came in time"


def test_nobody_at_the_address_is_no_server() -> None:
    with server(HEALTHY) as (url, _):
        pass
    with pytest.raises(NoServer):
        asked(url)


@pytest.mark.parametrize(
    ("service", "instance", "expected"),
    [
        (HTTP, "opencode-4096", True),
        (HTTP, "opencode-4096 (2)", True),
        (HTTP, "opencode-4096-2", True),
        (HTTP, "Office printer", False),
        (HTTP, "opencode", False),
        (HTTP, "opencode-1<b>", False),
        (WAGGLE, "workshop", True),
        (WAGGLE, "waggle-8000", False),
    ],
)
def test_only_likely_announcements_are_asked(service: str, instance: str, expected: bool) -> None:
    assert may_be_agent_server(service, instance) is expected


def test_addresses_that_no_other_machine_can_mean_are_left_alone_however_they_are_written() -> None:
    addresses = ["10.0.0.9", "10.0.0.7", "fe80::1%eth0", "169.254.169.254", "127.0.0.1", "0.0.0.0", "fd00::5"]
    addresses += ["::ffff:169.254.169.254", "::ffff:127.0.0.1", "64:ff9b::a9fe:a9fe", "224.0.0.251", "::1", "::"]
    found = ["http://10.0.0.7:4096", "http://10.0.0.9:4096", "http://[fd00::5]:4096"]
    assert candidate_urls(addresses, 4096) == found
    assert "http://127.0.0.1:4096" in candidate_urls(addresses, 4096, loopback=True)
    assert candidate_urls(["10.0.0.7"], 22) == []
    assert len(candidate_urls([f"10.0.0.{n}" for n in range(99)], 4096)) == 8


def test_an_announced_address_on_another_network_is_not_asked_and_the_log_says_why() -> None:
    inbox: SimpleQueue[object] = SimpleQueue()
    look, asked_for = Look(inbox, loopback=True), Name(HTTP, "opencode-9")
    try:
        with server(HEALTHY, host="127.0.0.9") as (url, _):
            far = ("8.8.8.8", "198.51.100.7", "2001:db8::7", "2002:808:808::1", "::ffff:8.8.8.8")
            hint = Hint(HTTP, "opencode-9", port_of(url), ("127.0.0.9", *far), "agent-9.local.")
            with capture_logs() as logs:
                for _ in range(2):
                    look.meet(asked_for, lambda _: hint)
                    met = inbox.get(timeout=10)
                    assert isinstance(met, Met)
                    assert [(one.url, one.also_at) for one in met.found] == [(url, ())]
    finally:
        look.close()
    told = {entry["url"]: entry["because"] for entry in logs if entry["event"] == "an announced address is left alone"}
    assert len(told) == len([entry for entry in logs if "left alone" in entry["event"]]) == len(far), "each once"
    assert all("is on no network that this machine is on" in because for because in told.values())


@pytest.mark.parametrize(
    ("address", "prefix", "near", "far"),
    [
        ("192.168.7.20", 24, "192.168.7.9", "192.168.8.9"),
        ("10.1.2.3", 32, "10.1.2.3", "10.1.2.4"),
        ("fd12::5", 128, "fd12::77", "fd12:0:0:1::77"),
        ("2001:db8:1::5", 64, "2001:db8:1::9", "2001:db8:2::9"),
        ("192.168.7.20", 24, "192.168.7.9", "::ffff:192.168.7.9"),
        ("192.168.7.20", 24, "192.168.7.20", "2002:c0a8:709::1"),
    ],
)
def test_networks_of_this_machine_are_those_of_its_addresses(
    monkeypatch: Any, address: str, prefix: int, near: str, far: str
) -> None:
    own = ifaddr.IP((address, 0, 0) if ":" in address else address, prefix, "eth0")  # type: ignore[arg-type]
    loopback = ifaddr.IP("127.0.0.1", 8, "lo")
    monkeypatch.setattr(ifaddr, "get_adapters", lambda: [ifaddr.Adapter("x", "x", [own, loopback])])
    found = own_networks()
    assert [is_within(ip_address(one), found) for one in (near, far, "127.8.8.8")] == [True, False, True]


def test_addresses_of_one_host_are_one_server_and_of_the_shared_name_one_each() -> None:
    at = {
        "http://10.0.0.7:4096": Health("1"),
        "http://10.0.1.7:4096": Health("1"),
        "http://[fd00::7]:4096": Health("1"),
    }
    hint = Hint(HTTP, "opencode-4096", 4096, (), host="agent-7.local.")
    [one] = of_hint(hint, at)
    assert (one.url, one.also_at) == ("http://10.0.0.7:4096", ("http://10.0.1.7:4096", "http://[fd00::7]:4096"))
    shared = of_hint(Hint(HTTP, "opencode-4096", 4096, (), host=SHARED_HOST), at)
    assert [each.url for each in shared] == ["http://10.0.0.7:4096", "http://10.0.1.7:4096"]
    differ = of_hint(hint, at | {"http://10.0.1.7:4096": Health("2")})
    assert len(differ) == 2, "one server has one version"


def test_a_found_server_is_listed_quarantined_for_every_team_and_told_once(acme: Team, globex: Team) -> None:
    for _ in range(2):
        sightings.record([Found("opencode-1", "http://10.0.0.7:4096", "1.18.33")])
    for each in (acme, globex):
        with in_schema(each.schema_name):
            (row,) = Server.objects.all()
            assert (row.name, row.state, row.version) == ("opencode-1", ServerState.QUARANTINED, "1.18.33")
            (told,) = Event.objects.filter(kind="server.changed")
            assert (told.payload["what"], told.payload["url"]) == ("found", row.url)


def test_two_hosts_with_one_name_are_two_servers_and_one_at_two_addresses_is_one(team: Team) -> None:
    two = [Found("opencode-1", f"http://10.0.0.{n}:4096", "1") for n in (7, 8)]
    sightings.record([*two, Found("opencode-2", "http://10.0.0.9:1", "1", also_at=("http://10.0.1.9:1",))])
    sightings.record([Found("opencode-2", "http://10.0.1.9:1", "1")])
    listed = list(Server.objects.order_by("url").values_list("name", "url"))
    assert listed == [
        ("opencode-1", "http://10.0.0.7:4096"),
        ("opencode-1", "http://10.0.0.8:4096"),
        ("opencode-2", "http://10.0.0.9:1"),
    ]


def test_an_enrolled_server_stays_trusted_when_it_is_seen_again(team: Team) -> None:
    Server.objects.create(
        name="opencode-1", url="http://10.0.0.7:4096", version="1.18.30", state=ServerState.TRUSTED, last_seen=LONG_AGO
    )
    sightings.record([Found("opencode-1", "http://10.0.0.7:4096", "1.18.33")])
    (row,) = Server.objects.all()
    assert (row.state, row.version) == (ServerState.TRUSTED, "1.18.33")
    assert row.last_seen > LONG_AGO


def test_a_silent_server_is_lost_and_quarantined_again_when_it_answers(team: Team) -> None:
    found = Found("opencode-1", "http://10.0.0.7:4096", "1.18.33")
    Server.objects.create(name=found.name, url=found.url, state=ServerState.TRUSTED, last_seen=LONG_AGO)
    sightings.still([], lost_before=timezone.now())
    assert Server.objects.get().state == ServerState.LOST
    sightings.record([found])
    assert Server.objects.get().state == ServerState.QUARANTINED
    moves = Event.objects.filter(kind="server.moved").order_by("seq").values_list("payload", flat=True)
    assert [(move["before"], move["after"]) for move in moves] == [("trusted", "lost"), ("lost", "quarantined")]
    assert [each.kind for each in servers.history(Server.objects.get())] == ["server.moved", "server.moved"]


def test_a_server_that_one_team_was_given_is_listed_for_no_other(acme: Team, globex: Team) -> None:
    with in_schema(acme.schema_name):
        Server.objects.create(name="mine", url="http://10.0.0.7:1", is_given=True, last_seen=LONG_AGO)
    assert sightings.known()["http://10.0.0.7:1"] == ("mine", True)
    sightings.still([Found("mine", "http://10.0.0.7:1", "2")], lost_before=LONG_AGO - timedelta(days=1))
    with in_schema(acme.schema_name):
        assert Server.objects.get().version == "2"
    with in_schema(globex.schema_name):
        assert not Server.objects.exists()


def test_names_out_of_the_network_are_cut_to_what_shows_and_a_flood_of_them_ends(team: Team, monkeypatch: Any) -> None:
    monkeypatch.setattr(servers, "MOST", 3)
    nasty = "opencode-1\u202e\n" + "x" * 200
    sightings.record([Found(nasty, f"http://10.0.0.{n}:1", "1") for n in range(9)])
    assert Server.objects.count() == 3
    assert {len(row.name) for row in Server.objects.all()} == {120}
    assert all(row.name.isprintable() for row in Server.objects.all())


def test_who_claims_anothers_address_hides_nobody(team: Team) -> None:
    liar = Found("opencode-666", "http://10.0.0.5:1", "1", also_at=("http://10.0.0.9:1",))
    for _ in range(2):
        sightings.record([liar, Found("opencode-1", "http://10.0.0.9:1", "1")])
    assert set(Server.objects.values_list("name", "url")) == {
        ("opencode-666", "http://10.0.0.5:1"),
        ("opencode-1", "http://10.0.0.9:1"),
    }


def test_a_full_list_forgets_finds_that_nobody_uses_and_no_others(team: Team, monkeypatch: Any, local: None) -> None:
    monkeypatch.setattr(servers, "MOST", 5)
    kept = {
        "given": {"is_given": True},
        "at work": {"roles": ["developer"]},
        "with a password": {"password": "sealed"},
        "an agent's": {},
    }
    for number, (name, fields) in enumerate(kept.items()):
        Server.objects.create(name=name, url=f"http://10.0.0.{number}:1", state="lost", last_seen=LONG_AGO, **fields)
    Agent.objects.create(name="ana", roles=["developer"], runtime="opencode", server="http://10.0.0.3:1")
    for name in ("first", "second"):
        sightings.record([Found(name, f"http://{name}:1", "1")])
    listed = Server.objects.values_list("name", flat=True)
    assert set(listed.all()) == {*kept, "first"}, "what was just found stays"
    Server.objects.filter(name="first").update(state="lost", last_seen=LONG_AGO)
    sightings.record([Found("second", "http://second:1", "1")])
    assert set(listed.all()) == {*kept, "second"}
    with server(HEALTHY) as (url, _):
        servers.add(url, "asked for")
        assert set(listed.all()) == {*kept, "asked for"}, "a member's own goes before what waits for one"
    with server(HEALTHY) as (url, _), pytest.raises(ValidationError, match="at most 5 servers"):
        servers.add(url)
    told = Event.objects.filter(kind="server.changed", payload__what="removed")
    assert [event.payload["name"] for event in told.order_by("seq")] == ["first", "second"]


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("http://LocalHost:04096/", "http://localhost:4096"),
        ("http://localhost:80", "http://localhost"),
        ("http://[::1]:4096", "http://[::1]:4096"),
    ],
)
def test_an_address_is_one_however_it_is_written(local: None, given: str, kept: str) -> None:
    assert checked(given) == kept


@contextmanager
def watching(*, every: float = 30) -> Iterator[tuple[_Watch, Neighbourhood]]:
    """Who looks for servers on loopback, a step at a time."""
    inbox: SimpleQueue[object] = SimpleQueue()
    near, look = Neighbourhood(inbox, ("127.0.0.1",)), Look(inbox, loopback=True)
    try:
        yield _Watch(near, look, inbox, every), near
    finally:
        look.close()
        near.close()


def look_until(seen: Callable[[], bool], watch: _Watch, *, rounds: bool = False) -> None:
    deadline = time.monotonic() + 20
    while not seen():
        assert time.monotonic() < deadline, "not found in time"
        watch._take()
        if rounds:
            watch._begin_round()


def test_names_behind_which_nobody_is_make_room_for_others(team: Team, voice: Voice, monkeypatch: Any) -> None:
    monkeypatch.setattr(neighbourhood, "MOST_NAMES", 3)
    with watching() as (watch, near), server(HEALTHY, host="127.0.0.5") as (url, _):
        for number in range(3):
            voice.announce(f"opencode-{number}", 9, at=("127.0.0.1",))
        look_until(lambda: len(watch._later) == 3, watch)
        voice.announce(f"opencode-{port_of(url)}", port_of(url), at=("127.0.0.5",))
        look_until(lambda: Server.objects.filter(url=url).exists(), watch)
        assert len(near.names) == 3


def test_a_name_that_was_left_out_is_looked_at_when_there_is_room(team: Team, voice: Voice, monkeypatch: Any) -> None:
    monkeypatch.setattr(neighbourhood, "MOST_NAMES", 1)
    with ExitStack() as stack:
        one, _ = stack.enter_context(server(HEALTHY, host="127.0.0.6"))
        other, _ = stack.enter_context(server(HEALTHY, host="127.0.0.7"))
        watch, near = stack.enter_context(watching())
        first = voice.announce(f"opencode-{port_of(one)}", port_of(one), at=("127.0.0.6",))
        look_until(lambda: Server.objects.filter(url=one).exists(), watch)
        voice.announce(f"opencode-{port_of(other)}", port_of(other), at=("127.0.0.7",))
        look_until(lambda: near.has_left_out, watch)
        voice.say_goodbye(first)
        look_until(lambda: Server.objects.filter(url=other).exists(), watch, rounds=True)


def test_a_find_does_not_wait_behind_names_that_nobody_explains() -> None:
    inbox: SimpleQueue[object] = SimpleQueue()
    look, silence = Look(inbox, loopback=True), threading.Event()
    try:
        names = [Name(HTTP, f"opencode-{number}") for number in range(200)]
        for _ in range(2):
            for name in names:
                look.revisit(name, lambda name: silence.wait(20) and None)
        with server(HEALTHY, host="127.0.0.8") as (url, _):
            hint = Hint(HTTP, "opencode-9", port_of(url), ("127.0.0.8",), "agent-9.local.")
            look.meet(Name(HTTP, "opencode-9"), lambda _: hint)
            met = inbox.get(timeout=10)
            assert isinstance(met, Met)
            assert [one.url for one in met.found] == [url]
        silence.set()
        assert {inbox.get(timeout=10).name for _ in names} == set(names)  # type: ignore[attr-defined]
        time.sleep(0.2)
        assert inbox.empty(), "who is being looked at is not looked at twice"
    finally:
        silence.set()
        look.close()


def test_who_looks_ends_with_what_he_waits_for_when_nobody_wants_to_know_any_more(monkeypatch: Any) -> None:
    monkeypatch.setattr(looking, "AT_ONCE", 1)
    look = Look(SimpleQueue(), loopback=True)
    with socket.create_server(("0.0.0.0", 0)) as silent:
        hint = Hint(HTTP, "opencode-9", silent.getsockname()[1], ("127.0.0.8", "127.0.0.9"), "agent-9.local.")
        look.meet(Name(HTTP, "opencode-9"), lambda _: hint)
        asked, _ = silent.accept()
        until(lambda: look._finds._work_queue.qsize() == 1, "the other address waits for its turn")
        look.close()
        (looks,) = look._meetings._threads
        looks.join(60)
        asked.close()
        assert not looks.is_alive(), "no process ends before its threads do"


@pytest.fixture
def local(settings: Any) -> None:
    """A laptop: servers may be on this machine."""
    settings.LOCAL_SERVERS = True


def test_a_server_is_enrolled_with_its_password_which_nobody_reads_again(team: Team, local: None) -> None:
    with server(HEALTHY, password=PASSWORD) as (url, _):
        row = servers.add(url, "gpu")
        assert (row.state, row.wants_password, row.version) == (ServerState.QUARANTINED, True, "")
        with pytest.raises(ValidationError, match="only with its password"):
            servers.enrol(row, because="test")
        with pytest.raises(ValidationError, match="refuses the password"):
            servers.enrol(row, because="test", password="guess")
        assert servers.enrol(row, because="test", password=PASSWORD)
        row.refresh_from_db()
        assert (row.state, row.version, row.username) == (ServerState.TRUSTED, "1.18.33", "opencode")
        assert PASSWORD not in row.password
        (one,) = sightings.locked()
        sightings.told(one, servers.asked(one))
    sightings.told(one, servers.asked(one, seconds=1))
    row.refresh_from_db()
    assert row.fault.startswith("no connection")
    servers.quarantine(row, because="test")
    row.refresh_from_db()
    assert (row.state, row.password, row.username) == (ServerState.QUARANTINED, "", "")


def test_one_that_wanted_a_password_and_answers_anybody_is_another_one(team: Team, local: None) -> None:
    with server(HEALTHY, password=PASSWORD) as (url, _):
        row = servers.add(url)
        servers.enrol(row, because="test", password=PASSWORD)
    sightings.still([Found("", url, "1.18.33")], lost_before=LONG_AGO)
    row.refresh_from_db()
    assert (row.state, row.password) == (ServerState.QUARANTINED, "")


def test_a_disabled_server_is_not_asked_and_not_found_anew(team: Team) -> None:
    found = Found("opencode-1", "http://10.0.0.7:4096", "1")
    sightings.record([found])
    row = Server.objects.get()
    with pytest.raises(ValidationError, match="disable it instead"):
        servers.remove(row)
    for schema in each_team():
        with in_schema(schema):
            servers.disable(Server.objects.get(), because="test")
    assert sightings.known() == {}
    row.refresh_from_db()
    sightings.record([found])
    assert [each.state for each in Server.objects.all()] == [ServerState.DISABLED]
    sightings.still([], lost_before=timezone.now())
    row.refresh_from_db()
    assert row.state == ServerState.DISABLED
    servers.remove(row)
    assert not Server.objects.exists()


@pytest.mark.parametrize(
    "url",
    [
        "http://169.254.169.254",
        "https://127.0.0.1:4096",
        "https://[::ffff:10.0.0.1]:4096",
        "https://localhost:4096",
        "http://example.com:4096",
        "https://user:secret@example.com",
        "ftp://example.com",
        "https://example.com/path",
        "opencode",
    ],
)
def test_addresses_that_a_member_must_not_give_are_refused_before_anybody_is_asked(
    url: str, team: Team, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.LOCAL_SERVERS, settings.SERVER_HOSTS = False, frozenset()
    monkeypatch.setattr("agents.handshake.Way.get", lambda *words: pytest.fail("it was asked"))
    with pytest.raises(ValidationError):
        servers.add(url)
    assert not Server.objects.exists()


def test_servers_are_managed_by_command(team: Team, local: None) -> None:
    def run(*words: str) -> str:
        out = StringIO()
        call_command("servers", *words, "--team", "acme", stdout=out)
        return out.getvalue()

    with server(HEALTHY) as (url, _):
        run("add", url, "--name", "gpu")
        run("enrol", url)
        assert Server.objects.get().state == ServerState.TRUSTED
        assert "1.18.33" in run("probe", url)
        assert url in run("list")
        run("quarantine", url)
        run("disable", url)
        assert Server.objects.get().state == ServerState.DISABLED
        run("enable", url)
        run("remove", url)
    assert not Server.objects.exists()
    with pytest.raises(CommandError, match="no server"):
        run("enrol", url)
    with pytest.raises(CommandError, match="No OpenCode server is there"):
        run("add", url)


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


def wait_until(seen: Any, process: subprocess.Popen[str]) -> None:
    """Until it is so; the test's timeout is the limit."""
    while not seen():
        if process.poll() is not None:
            pytest.fail(f"discover ended by itself: {process.stderr.read() if process.stderr else ''}")
        time.sleep(0.05)


def test_the_command_lists_a_server_notices_its_end_and_stops_cleanly(committed_team: Team) -> None:
    with discover("--interface", "127.0.0.1", "--every", "0.5") as process:
        with server(HEALTHY) as (url, _), server(b"paper", 404) as (printer, paths):
            port, paper = (port_of(each) for each in (url, printer))
            with announced(f"opencode-{port}", port), announced("Office printer", paper):
                row = wait_for_state(ServerState.QUARANTINED, process)
        assert (row.url, row.name, row.version) == (url, f"opencode-{port}", "1.18.33")
        assert paths == []
        wait_for_state(ServerState.LOST, process)
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate()
    assert process.returncode == 0, errors
    assert any(json.loads(line)["event"] == "server found" for line in errors.splitlines())


def test_an_honest_server_is_found_among_liars_and_one_that_says_goodbye_is_lost_at_once(
    committed_team: Team, voice: Voice
) -> None:
    """Three machines, and whoever else can speak on the network: slow, huge, redirecting, wrong and vanished ones."""
    with ExitStack() as stack, discover("--interface", "127.0.0.1", "--every", "20") as process:
        inside, paths = stack.enter_context(server(HEALTHY, host="127.0.0.9"))
        liars = [
            stack.enter_context(server(HEALTHY, drip=0.5)),
            stack.enter_context(server(b"x" * 3_000_000)),
            stack.enter_context(server({}, 307, {"Location": f"{inside}/global/health"})),
            stack.enter_context(server({"healthy": True, "version": "<b>1</b>"})),
        ]
        for url, _ in liars:
            voice.announce(f"opencode-{port_of(url)}", port_of(url))
        voice.announce("opencode-9999", 9999, at=("169.254.169.254", "127.0.0.1"))
        one, _ = stack.enter_context(server(HEALTHY, host="127.0.0.2"))
        with server({"healthy": True, "version": "1.18.34"}, host="127.0.0.3", port=port_of(one)) as (two, _):
            # Two machines with one name and one port: mDNS itself gives the second another name.
            name = f"opencode-{port_of(one)}"
            voice.announce(name, port_of(one), at=("127.0.0.2",), host="agent-2.local.")
            second = Voice()
            stack.callback(second.close)
            other = second.announce(name, port_of(two), at=("127.0.0.3",), host="agent-3.local.")
            ours = Server.objects.filter(url__in=[one, two]).order_by("url")
            wait_until(lambda: ours.count() == 2, process)
            assert list(ours.values_list("url", "version")) == [(one, "1.18.33"), (two, "1.18.34")]
            second.say_goodbye(other)
            time.sleep(1)
            assert set(ours.values_list("state", flat=True)) == {"quarantined"}, "it said goodbye, and still answers"
            second.announce(name, port_of(two), at=("127.0.0.3",), host="agent-3.local.")
            time.sleep(1)
        second.close()
        wait_until(lambda: Server.objects.filter(url=two, state=ServerState.LOST).exists(), process)
        assert "took its announcement back" in Server.objects.get(url=two).because
        assert Server.objects.get(url=one).state == ServerState.QUARANTINED
        assert paths == [], "a redirect was followed"
        assert not Server.objects.filter(url__in=[url for url, _ in liars]).exists()


def until_heard(heard: "SimpleQueue[object]", wanted: object) -> Iterator[object]:
    """What comes, up to what is wanted: others may speak on this network, too."""
    while True:
        news = heard.get(timeout=20)
        yield news
        if news == wanted:
            return


def test_waggle_announces_where_it_is_and_nothing_else() -> None:
    heard: SimpleQueue[object] = SimpleQueue()
    near, other = Neighbourhood(heard, ("127.0.0.1",)), Zeroconf(interfaces=["127.0.0.1"])
    try:
        near.announce(8123)
        info = other.get_service_info(WAGGLE, f"waggle-8123.{WAGGLE}", 5000)
        assert info is not None
        assert (info.port, info.properties, info.parsed_addresses()) == (8123, {b"path": b"/"}, ["127.0.0.1"])
        with server(HEALTHY) as (url, _):
            name = Name(HTTP, f"opencode-{port_of(url)}")
            with announced(name.instance, port_of(url)):
                news = list(until_heard(heard, name))
            news += until_heard(heard, Gone(name))
        assert WAGGLE not in {each.service for each in news if isinstance(each, Name)}, "it heard itself"
    finally:
        other.close()
        near.close()


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


def test_the_page_adds_enrols_and_forgets_a_server_and_never_shows_its_password(
    team: Team, local: None, client_for: Any
) -> None:
    client = client_for(user_of("alice", "acme"), team)
    assert "Nothing announced itself" in client.get("/servers/").text
    with server(HEALTHY, password=PASSWORD) as (url, _):
        assert client.post("/servers/add/", {"url": "http://nobody.invalid", "name": ""}).status_code == 422
        page = client.post("/servers/add/", {"url": url, "name": "<b>gpu</b>"}).headers["Location"]
        assert "<b>gpu</b>" not in client.get(page).text
        client.post(f"{page}enrol/", {"username": "", "password": PASSWORD})
        row = Server.objects.get()
        assert (row.state, row.version) == (ServerState.TRUSTED, "1.18.33")
        said = client.get(page).text
        assert ("kept, for the user opencode" in said, PASSWORD in said, row.password in said) == (True, False, False)
        admin = client.get(f"/admin/agents/server/{row.pk}/change/").text
        assert (row.url in admin, row.password in admin) == (True, False)
        client.post(f"{page}password/", {"username": "", "password": "guess"})
        assert "refuses the password" in client.get(page).text
        client.post(f"{page}quarantine/")
    row.refresh_from_db()
    assert (row.state, row.password) == (ServerState.QUARANTINED, "")
    assert client.post(f"{page}probe/", follow=True).text.count("no connection")
    client.post(f"{page}disable/")
    client.post(f"{page}remove/")
    assert not Server.objects.exists()


def test_a_server_that_listens_only_after_it_was_announced_is_found_all_the_same(
    committed_team: Team, voice: Voice
) -> None:
    with server(HEALTHY, host="127.0.0.4") as (url, _):
        pass  # its port is free again
    with discover("--interface", "127.0.0.1", "--every", "300") as process:
        wait_until(lambda: "looking for servers" in line_of(process), process)
        voice.announce(f"opencode-{port_of(url)}", port_of(url), at=("127.0.0.4",))
        time.sleep(0.3)
        with server(HEALTHY, host="127.0.0.4", port=port_of(url)):
            wait_until(lambda: Server.objects.filter(url=url).exists(), process)


def line_of(process: subprocess.Popen[str]) -> str:
    assert process.stderr is not None
    return process.stderr.readline()
