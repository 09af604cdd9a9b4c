"""Finds OpenCode servers on the local network and lists them, quarantined, for every team.

What mDNS says is only a hint: anybody can take a name, and one host name may stand for several machines.
A server is what answers our handshake at an address; the address identifies it.
"""

import re
import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from ipaddress import IPv6Address, ip_address
from queue import Empty, SimpleQueue

import httpx
import ifaddr
import structlog
from django.db import DatabaseError, connection
from django.db.models import Q
from django.utils import timezone
from zeroconf import Error as ZeroconfError
from zeroconf import InterfaceChoice, ServiceBrowser, ServiceInfo, ServiceStateChange, Zeroconf

from agents.models import Server
from agents.states import ServerState
from sessions.transitions import move
from tenants.context import each_team, in_schema

logger = structlog.get_logger(__name__)

HTTP = "_http._tcp.local."
WAGGLE = "_waggle._tcp.local."
_OPENCODE_NAME = re.compile(r"^opencode-\d+(?: \(\d+\))?$")
_VERSION = re.compile(r"^[0-9A-Za-z.+\-]{1,40}$")

HANDSHAKE_SECONDS = 3.0
RESOLVE_MILLISECONDS = 2000
LOST_AFTER = 3
"""Rounds without an answer until a server counts as lost."""


@dataclass(frozen=True)
class Hint:
    """What the network claims: somebody at these addresses offers something."""

    service: str
    name: str
    port: int
    addresses: tuple[str, ...]


@dataclass(frozen=True)
class Found:
    """A server that answered the handshake."""

    name: str
    url: str
    version: str
    kind: str = "opencode"


def may_be_agent_server(service: str, instance: str) -> bool:
    """Whether an instance is worth a handshake: printers and cameras announce `_http._tcp` too."""
    return service == WAGGLE or bool(_OPENCODE_NAME.match(instance))


def candidate_urls(hint: Hint, *, loopback: bool = False) -> list[str]:
    """Addresses at which the handshake is tried, IPv4 first.

    Leaves out what no other machine can mean: unspecified, multicast and link-local addresses (cloud metadata
    among them), and loopback unless the browser listens there.
    """
    parsed = {ip_address(address.split("%", 1)[0]) for address in hint.addresses}
    urls = []
    for address in sorted(parsed, key=lambda each: (each.version, int(each))):
        if address.is_unspecified or address.is_multicast or address.is_link_local:
            continue
        if address.is_loopback and not loopback:
            continue
        host = f"[{address}]" if isinstance(address, IPv6Address) else str(address)
        urls.append(f"http://{host}:{hint.port}")
    return urls


def handshake(name: str, url: str, client: httpx.Client) -> Found | None:
    """Asks the address what it is; None when it is no OpenCode server or does not answer.

    One small GET without redirects: a hint may point at anything in the network.
    """
    try:
        answer = client.get(f"{url}/global/health", timeout=HANDSHAKE_SECONDS, follow_redirects=False)
        health = answer.json() if answer.status_code == httpx.codes.OK else None
    except (httpx.HTTPError, ValueError) as error:
        logger.debug("no handshake", url=url, error=str(error))
        return None
    if answer.status_code == httpx.codes.UNAUTHORIZED:
        logger.info("server asks for a password, left out", url=url)
    if not isinstance(health, dict) or health.get("healthy") is not True:
        return None
    version = str(health.get("version", ""))
    if not _VERSION.match(version):
        return None
    return Found(name=name[:120], url=url, version=version)


def record(found: Iterable[Found], *, lost_before: datetime) -> None:
    """Writes the servers that answered into every ready team; those silent since `lost_before` become lost.

    A server that comes back after it was lost is quarantined again: nobody knows whether it is the same one.
    """
    servers = list(found)
    for schema in each_team():
        with in_schema(schema):
            for server in servers:
                _upsert(server)
            for silent in Server.objects.filter(last_seen__lt=lost_before).exclude(state=ServerState.LOST):
                move(
                    silent,
                    ServerState.LOST,
                    because=f"no answer since {silent.last_seen:%H:%M:%S} UTC",
                    guard=Q(last_seen__lt=lost_before),
                )


def _upsert(found: Found) -> None:
    now = timezone.now()
    row, new = Server.objects.update_or_create(
        url=found.url,
        defaults={"name": found.name, "version": found.version, "kind": found.kind, "last_seen": now},
    )
    if new:
        logger.info("server found", server=found.name, url=found.url, version=found.version)
    if row.state == ServerState.LOST:
        move(row, ServerState.QUARANTINED, because="answers again")


class Neighbourhood:
    """The announcements of the local network, kept up to date by zeroconf's own thread.

    `interfaces` are addresses of our own to listen at; none means all but loopback.
    Raises OSError, RuntimeError or zeroconf.Error when the network cannot be listened to.
    """

    def __init__(self, interfaces: tuple[str, ...] = ()) -> None:
        self.news: SimpleQueue[tuple[str, str, ServiceStateChange]] = SimpleQueue()
        self._names: set[tuple[str, str]] = set()
        self._zeroconf = Zeroconf(interfaces=list(interfaces) or InterfaceChoice.All)
        self._browser = ServiceBrowser(self._zeroconf, [HTTP, WAGGLE], handlers=[self._hear])

    def _hear(self, zeroconf: Zeroconf, service_type: str, name: str, state_change: ServiceStateChange) -> None:
        self.news.put((service_type, name, state_change))

    def wait(self, seconds: float) -> bool:
        """Waits for news, takes all there is, and says whether a name is new or changed."""
        fresh = False
        try:
            service, name, change = self.news.get(timeout=seconds)
            while True:
                if change is ServiceStateChange.Removed:
                    self._names.discard((service, name))
                elif may_be_agent_server(service, name.removesuffix(f".{service}")):
                    self._names.add((service, name))
                    fresh = True
                service, name, change = self.news.get_nowait()
        except Empty:
            return fresh

    def hints(self) -> Iterator[Hint]:
        """Everything announced that could be resolved."""
        for service, name in sorted(self._names):
            info: ServiceInfo | None = self._zeroconf.get_service_info(service, name, RESOLVE_MILLISECONDS)
            if info is None or info.port is None:
                continue
            addresses = tuple(info.parsed_scoped_addresses())
            yield Hint(service, name.removesuffix(f".{service}"), info.port, addresses)

    def close(self) -> None:
        """Stops listening; zeroconf's threads and sockets are gone afterwards."""
        self._zeroconf.close()


def look_around(
    hints: Iterable[Hint], known: Mapping[str, str], client: httpx.Client, *, loopback: bool = False
) -> list[Found]:
    """Shakes hands with everything announced and with the `known` servers (address to name).

    Returns one entry per address that answered.
    """
    names = dict(known)
    for hint in hints:
        names |= dict.fromkeys(candidate_urls(hint, loopback=loopback), hint.name)
    return [server for url, name in names.items() if (server := handshake(name, url, client))]


def known_servers() -> dict[str, str]:
    """Address and name of every server in a team's list that is not lost: announcements may be missed."""
    known: dict[str, str] = {}
    for schema in each_team():
        with in_schema(schema):
            known |= dict(Server.objects.exclude(state=ServerState.LOST).values_list("url", "name"))
    return known


def watch(stop: threading.Event, *, interfaces: tuple[str, ...] = (), every: float = 30.0) -> None:
    """Looks around every `every` seconds, and at once when something is announced, until `stop` is set.

    Without a usable network it says so once and waits for one.
    """
    loopback = any(ip_address(address).is_loopback for address in interfaces)
    silent = False
    while not stop.is_set():
        try:
            neighbourhood = Neighbourhood(interfaces)
        except (OSError, RuntimeError, ZeroconfError) as error:
            if not silent:
                logger.warning("no network to look for servers on, waiting for one", error=str(error))
            silent = True
            stop.wait(every)
            continue
        silent = False
        logger.info("looking for servers", services=[HTTP, WAGGLE], every=every)
        try:
            _watch_network(neighbourhood, stop, interfaces, every, loopback)
        finally:
            neighbourhood.close()


def _watch_network(
    neighbourhood: Neighbourhood,
    stop: threading.Event,
    interfaces: tuple[str, ...],
    every: float,
    loopback: bool,
) -> None:
    """Returns when `stop` is set or when this machine's addresses have changed."""
    at_start = own_addresses()
    next_round = timezone.now()
    # Servers are asked directly: a proxy of the environment would answer for machines that are not there.
    with httpx.Client(trust_env=False) as client:
        while not stop.is_set():
            fresh = neighbourhood.wait(min(every, 0.5))
            if not fresh and timezone.now() < next_round:
                continue
            next_round = timezone.now() + timedelta(seconds=every)
            try:
                found = look_around(neighbourhood.hints(), known_servers(), client, loopback=loopback)
                record(found, lost_before=timezone.now() - LOST_AFTER * timedelta(seconds=every))
            except DatabaseError as error:
                logger.error("servers not recorded, trying again", error=str(error))
            finally:
                connection.close()
            if not interfaces and own_addresses() != at_start:
                logger.info("the network changed, listening anew")
                return


def own_addresses() -> frozenset[str]:
    """This machine's addresses as zeroconf sees them."""
    return frozenset(str(ip.ip) for adapter in ifaddr.get_adapters() for ip in adapter.ips)
