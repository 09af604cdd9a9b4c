"""HTTP to addresses that members give: where it goes, what it bears, and that it ends."""

import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

from tenants import outward, reachable
from tenants.outward import Answer, NoAnswer, Way
from tenants.reachable import NotAllowed, Rule, check
from tests.receiver import Receiver, Reply, receiving
from tests.test_attacks_sources import NO_ADDRESS, PRIVATE

STRICT = Rule(False, frozenset(), "WAGGLE_WEBHOOK_HOSTS")
LAPTOP = Rule(True, frozenset(), "WAGGLE_WEBHOOK_HOSTS")


def post(url: str, rule: Rule = LAPTOP) -> Answer:
    way = Way(url, rule)
    try:
        return way.post(b'{"a": 1}', {"Content-Type": "application/json"})
    finally:
        way.close()


@pytest.mark.parametrize("url", [each for url in PRIVATE for each in (url, url.replace("http://", "https://"))])
def test_private_addresses_are_reached_only_where_the_operator_says_so(url: str) -> None:
    with pytest.raises(NotAllowed):
        check(url, STRICT)


@pytest.mark.parametrize(
    "url", [*NO_ADDRESS, "https://8.8.8.8/#x", "https://a@8.8.8.8/", "//8.8.8.8/x", "", "https:8.8.8.8"]
)
def test_what_is_no_plain_address_is_refused_even_on_a_laptop(url: str) -> None:
    with pytest.raises(NotAllowed):
        check(url, LAPTOP)


@pytest.mark.parametrize(
    "url", ["https://8.8.8.8/höök", "https://8.8.8.8/a?b=ü", "https://8.8.8.8/\x7f", "https://8.8.8.8/\x01"]
)
def test_what_no_request_can_name_is_refused_with_the_remedy(url: str) -> None:
    with pytest.raises(NotAllowed, match="%C3%A4"):
        check(url, LAPTOP)


@pytest.mark.parametrize("host", ["[fec0::1]", "[::7f00:1]", "[64:ff9b:1::7f00:1]", "192.0.0.8"])
def test_addresses_of_one_site_are_private_whatever_they_are_called(host: str) -> None:
    with pytest.raises(NotAllowed, match="private network"):
        check(f"https://{host}/", STRICT)


def test_public_addresses_are_fine_with_tls_and_others_when_they_are_named() -> None:
    assert check("https://8.8.8.8/hook?a=b", STRICT) == [ip_address("8.8.8.8")]
    assert check("https://[2606:2800:220:1::1]:8443/", STRICT) == [ip_address("2606:2800:220:1::1")]
    with pytest.raises(NotAllowed, match="Use https://"):
        check("http://8.8.8.8/hook", STRICT)
    for named, url, is_fine in (
        ("127.0.0.1", "http://127.0.0.1:9/x", True),
        ("127.0.0.1:9", "http://127.0.0.1:9/x", True),
        ("127.0.0.1:9", "http://127.0.0.1:10/x", False),
        ("127.0.0.1:443", "https://127.0.0.1/x", True),
        ("localhost", "http://127.0.0.1/x", False),
    ):
        rule = Rule(False, frozenset({named}), "WAGGLE_WEBHOOK_HOSTS")
        if is_fine:
            check(url, rule)
        else:
            with pytest.raises(NotAllowed, match=r"WAGGLE_WEBHOOK_HOSTS|https"):
                check(url, rule)


def test_one_private_address_among_public_ones_is_one_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    def answers(*args: object, **kwargs: object) -> list[Any]:
        return [(0, 0, 0, "", (address, 443)) for address in ("8.8.8.8", "10.0.0.1")]

    monkeypatch.setattr(reachable.socket, "getaddrinfo", answers)
    with pytest.raises(NotAllowed, match="private network"):
        check("https://both.example/", STRICT)


def test_the_connection_is_held_to_the_address_that_was_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    real, asked = socket.getaddrinfo, []

    def rebinding(host: Any, *args: Any, **kwargs: Any) -> list[Any]:
        if host != "rebind.example":
            return real(host, *args, **kwargs)
        asked.append(host)
        return real("127.0.0.1" if len(asked) == 1 else "192.0.2.1", *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", rebinding)
    with receiving() as server:
        way = Way(server.url.replace("127.0.0.1", "rebind.example"), LAPTOP)
        for _ in range(3):
            assert way.post(b"x", {}).status == 200
        way.close()
        assert server.got[0].headers["host"] == f"rebind.example:{server.server_port}"
    assert len(asked) == 1


def test_what_comes_back_is_told() -> None:
    reply = Reply(429, "später".encode(), {"Retry-After": "17"})
    with receiving(lambda got: reply) as server:
        answer = post(server.url)
        assert (answer.status, answer.excerpt, answer.retry_after) == (429, "später", 17)
        assert server.got[0].body == b'{"a": 1}'
        reply.headers = {"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT"}
        assert post(server.url).retry_after is None
        reply.body = b"\x00\xff" * 100_000
        assert len(post(server.url).excerpt) == outward.EXCERPT
        assert "\0" not in post(server.url).excerpt


def test_a_redirect_leads_nowhere() -> None:
    with receiving() as inside, receiving(lambda got: Reply(302, headers={"Location": inside.url})) as outside:
        assert post(outside.url).status == 302
        assert inside.got == []


def test_proxies_of_the_environment_are_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    with receiving() as proxy, receiving() as server:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url)
        assert post(server.url).status == 200
        assert proxy.got == []


@pytest.mark.parametrize("reply", [Reply(wait=5), Reply(body=b"x" * 500, drip=0.1)], ids=["silent", "dripping"])
def test_who_is_slow_is_left_in_time(monkeypatch: pytest.MonkeyPatch, reply: Reply) -> None:
    monkeypatch.setattr(outward, "ANSWER_SECONDS", 1.0)
    with receiving(lambda got: reply) as server:
        began = time.monotonic()
        with pytest.raises(NoAnswer, match="no answer within 1 s"):
            post(server.url)
        assert time.monotonic() - began < 4


def test_headers_without_end_are_left_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outward, "ANSWER_SECONDS", 1.0)

    with socket.create_server(("127.0.0.1", 0)) as server:

        def drip() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(65_536)
                connection.sendall(b"HTTP/1.1 200 OK\r\n")
                try:
                    for _ in range(100):
                        connection.sendall(b"a: b\r\n")
                        time.sleep(0.05)
                except OSError:
                    return

        threading.Thread(target=drip, daemon=True).start()
        with pytest.raises(NoAnswer, match="no answer within 1 s"):
            post(f"http://127.0.0.1:{server.getsockname()[1]}/")


def test_a_broken_connection_is_told() -> None:
    with receiving(lambda got: Reply(reset=True)) as server, pytest.raises(NoAnswer, match="broke off"):
        post(server.url)
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    with pytest.raises(NoAnswer, match="no connection"):
        post(f"http://127.0.0.1:{port}/")
    with pytest.raises(NotAllowed, match="No machine is called"):
        post("https://no-such-machine.invalid/")


@pytest.fixture
def certified(tmp_path: Path) -> Iterator[tuple[Receiver, Path]]:
    """A receiver with a certificate for 127.0.0.1 that it has signed itself, and that certificate."""
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    words = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=hook"
    command = ["openssl", *words.split(), "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run([*command, "-keyout", str(key), "-out", str(certificate)], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with receiving(context=context) as server:
        yield server, certificate


@pytest.fixture
def trusting(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Lets this process trust a certificate, as SSL_CERT_FILE does for all of its processes."""

    def trust(certificate: Path) -> None:
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        outward._trusted.cache_clear()

    outward._trusted.cache_clear()
    yield trust
    outward._trusted.cache_clear()


def test_a_certificate_that_nobody_vouches_for_is_refused(certified: tuple[Receiver, Path], trusting: Any) -> None:
    server, certificate = certified
    with pytest.raises(NoAnswer, match="certificate verify failed"):
        post(server.url)
    assert server.got == []
    trusting(certificate)
    assert post(server.url).status == 200


def test_a_certificate_for_another_name_is_refused(
    certified: tuple[Receiver, Path], trusting: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    server, certificate = certified
    trusting(certificate)
    real = socket.getaddrinfo
    monkeypatch.setattr(socket, "getaddrinfo", lambda host, *a, **k: real("127.0.0.1", *a, **k))
    with pytest.raises(NoAnswer, match="Hostname mismatch"):
        post(server.url.replace("127.0.0.1", "another.example"))
    assert server.got == []
