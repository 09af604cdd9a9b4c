"""Asking an address whether an agent server is there: one small GET, bounded, without redirects, to what was looked up.

Whatever answers may lie: nothing of it is kept but a version of a known form.
"""

import base64
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address, ip_interface
from typing import Any
from urllib.parse import urlencode, urlsplit

import ifaddr
from django.conf import settings

from tenants.outward import EXCERPT, Answer, NoAnswer, Way
from tenants.reachable import PORTS, Network, NotAllowed, Rule, check, meant, port_of

FIND_SECONDS, ASK_SECONDS, PROBE_SECONDS = 2.0, 5.0, 15.0
"""The longest that a handshake may take: the first, one for which a member waits, one with a server that is known (a
busy one answers late)."""
MOST_ADDRESSES = 8
LOWEST_PORT = 1024
"""Announcements of lower ports are left alone: these are other services."""
USERNAME = "opencode"
_VERSION = re.compile(r"[0-9A-Za-z.+\-]{1,40}")
_PATH = "/global/health"


@dataclass(frozen=True)
class Health:
    """What answered."""

    version: str = ""
    wants_password: bool = False
    latency_ms: int = 0


class NoServer(Exception):
    """No agent server is there; the text says what is instead."""


class NotAsked(NoServer):
    """Nobody was asked: the address may not be gone to; the text says why, and what to do."""


def announced_rule() -> Rule:
    """For servers that were found by their announcements: literal addresses, which `near_rule` has let through."""
    return Rule(True, frozenset(), "")


def near_rule() -> Rule:
    """For addresses out of announcements, which `candidate_urls` has let through: of networks that this machine is on
    now. Whoever announces another one would have this machine ask a stranger."""
    return Rule(True, frozenset(), "", own_networks())


def own_networks() -> tuple[Network, ...]:
    """The networks that this machine is on: those of its interfaces' addresses."""
    found = (ip for adapter in ifaddr.get_adapters() for ip in adapter.ips)
    return tuple({_network(str(ip.ip if ip.is_IPv4 else ip.ip[0]), ip.network_prefix) for ip in found})


def _network(address: str, prefix: int) -> Network:
    own = ip_interface(address)
    # An address that a server gave out (DHCPv6) says nothing of its network, which is a /64 as every one of IPv6.
    known = min(prefix, 64) if own.version == 6 and not own.is_loopback else prefix
    return ip_interface(f"{address}/{known}").network


def given_rule() -> Rule:
    """For addresses that members give."""
    return Rule(settings.LOCAL_SERVERS, settings.SERVER_HOSTS, "WAGGLE_SERVER_HOSTS")


def checked(url: str) -> str:
    """The address of a server as a member gives it, without a path. Raises NotAllowed, with the remedy."""
    root = url.strip().rstrip("/")
    check(root, given_rule())
    if root.count("/") > 2 or len(root) > 300:
        raise NotAllowed("Give the server's own address, without a path: https://gpu1.example:4096")
    parts = urlsplit(root)
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    # However it is written, it is one server.
    return f"{parts.scheme}://{host}" + (f":{port}" if (port := port_of(parts)) != PORTS[parts.scheme] else "")


def candidate_urls(addresses: Iterable[str], port: int, *, loopback: bool = False) -> list[str]:
    """Where an announcement may lead, IPv4 first.

    Leaves out what no other machine can mean, also when another form of address wraps it: unspecified, multicast and
    link-local addresses (cloud metadata among them), and loopback unless the browser listens there.
    """
    if port < LOWEST_PORT:
        return []
    parsed = {ip_address(address.split("%", 1)[0]) for address in addresses}
    urls = []
    for address in sorted(parsed, key=lambda each: (each.version, int(each))):
        inner = meant(address)
        if any(each.is_unspecified or each.is_multicast or each.is_link_local for each in inner):
            continue
        if not loopback and any(each.is_loopback for each in inner):
            continue
        host = f"[{address}]" if isinstance(address, IPv6Address) else str(address)
        urls.append(f"http://{host}:{port}")
    return urls[:MOST_ADDRESSES]


def shake(url: str, rule: Rule, *, seconds: float = FIND_SECONDS, username: str = "", password: str = "") -> Health:
    """Ask the address what it is. Raises NoServer."""
    headers = _headers(username, password)
    way = Way(f"{url}{_PATH}", rule, seconds=seconds)
    try:
        answer = way.get(headers)
    except NotAllowed as error:
        raise NotAsked(str(error)) from error
    except NoAnswer as error:
        raise NoServer(str(error)) from error
    finally:
        way.close()
    latency = round(answer.seconds * 1000)
    if answer.status == 401:
        if password:
            raise NoServer("it refuses the password")
        return Health(wants_password=True, latency_ms=latency)
    if answer.status != 200:
        raise NoServer(f"it answers HTTP {answer.status}, as no OpenCode server does")
    return Health(_version(answer.excerpt), latency_ms=latency)


@dataclass(frozen=True)
class Known:
    """A server that a member trusts, and how it is spoken to."""

    url: str
    rule: Rule
    username: str = ""
    password: str = ""

    def ask(self, method: str, path: str, query: Mapping[str, str], *, most: int = EXCERPT) -> Answer:
        """One request; of its answer so many characters. Raises NoServer."""
        way = Way(f"{self.url}{path}?{urlencode(query)}", self.rule, seconds=PROBE_SECONDS, most=most)
        content = b"{}" if method == "POST" else None
        sort: dict[bytes | str, bytes | str] = {"Content-Type": "application/json"} if content else {}
        try:
            return way.ask(method, content, _headers(self.username, self.password) | sort)
        except (NoAnswer, NotAllowed) as error:
            raise NoServer(str(error)) from error
        finally:
            way.close()

    def read(self, directory: str, name: str) -> str:
        """What the server reads in a small file of its machine; empty where there is none. Raises NoServer."""
        answer = self.ask("GET", "/file/content", {"directory": directory, "path": name})
        # Looking into a directory costs it memory until it is told that this was all.
        self.ask("POST", "/instance/dispose", {"directory": directory})
        if answer.status != 200:
            raise NoServer(f"it answers HTTP {answer.status} when it is asked for a file")
        found = parsed(answer.excerpt, "it answers, and reads no files as OpenCode does")
        return str(found.get("content", "")) if isinstance(found, dict) else ""


def _headers(username: str, password: str) -> dict[bytes | str, bytes | str]:
    headers: dict[bytes | str, bytes | str] = {"Accept": "application/json", "User-Agent": "waggle"}
    if password:
        pair = f"{username or USERNAME}:{password}".encode()
        headers["Authorization"] = f"Basic {base64.b64encode(pair).decode()}"
    return headers


def _version(text: str) -> str:
    health = parsed(text, "it answers, and is no OpenCode server")
    if not isinstance(health, dict) or health.get("healthy") is not True:
        raise NoServer("it does not say that it is healthy")
    version = str(health.get("version", ""))
    if not _VERSION.fullmatch(version):
        raise NoServer("it does not say which version it is")
    return version


def parsed(text: str, otherwise: str) -> Any:
    """The JSON of an answer. Raises NoServer, with these words."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise NoServer(otherwise) from error
