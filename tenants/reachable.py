"""Where this server may go because a member said so: to public addresses, and to what its operator has named."""

import re
import socket
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from urllib.parse import SplitResult, urlsplit

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network
PORTS = {"https": 443, "http": 80}
# Strict, since whoever reads an address must see the same host in it.
_URL = re.compile(
    r"https?://(?:[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_])?|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?(?:/[!-\"$-\[\]-~]*)?"
)
_NAT64 = IPv6Network("64:ff9b::/96")
_LOCAL: tuple[Network, ...] = (
    *map(IPv6Network, ("::/96", "64:ff9b:1::/48", "fec0::/10")),
    IPv4Network("192.0.0.0/24"),
)
"""For machines of one site as well, although ipaddress takes some of them for public."""


class NotAllowed(ValueError):
    """An address to which members may not send this server; the text says what to do."""


@dataclass(frozen=True)
class Rule:
    """What of the network behind this server may be reached, and the settings that say so."""

    is_local: bool
    """Private addresses, this machine and http:// are fine."""
    hosts: frozenset[str]
    """`host` or `host:port` that are fine all the same."""
    hosts_setting: str
    networks: tuple[Network, ...] | None = None
    """Addresses must be in one of these; None: they may be anywhere."""

    def names(self, parts: SplitResult) -> bool:
        """Whether the operator has named this host."""
        return bool({parts.hostname, f"{parts.hostname}:{port_of(parts)}"} & self.hosts)


def port_of(parts: SplitResult) -> int:
    """The port that an address means. Raises ValueError when it is none."""
    return parts.port or PORTS[parts.scheme]


def check(url: str, rule: Rule) -> list[Address]:
    """Look where an address leads now; what `rule` lets through as it is may be anywhere.

    Raises NotAllowed, with the remedy.
    """
    if not _URL.fullmatch(url):
        raise NotAllowed(
            "This is no address that can be used. Write it like https://example.org/hook, without a name; letters"
            " beyond ASCII as %C3%A4."
        )
    parts = urlsplit(url)
    try:
        port = port_of(parts)
    except ValueError as error:
        raise NotAllowed("The port in the address is no port: use 1 to 65535, or leave it out.") from error
    is_named = rule.is_local or rule.names(parts)
    if parts.scheme == "http" and not is_named:
        raise NotAllowed("Use https://: what is sent to http:// can be read on its way.")
    found = resolved(parts.hostname or "", port)
    if not is_named and not all(map(is_public, found)):
        raise NotAllowed(
            f"{parts.hostname} is a machine of a private network. Use a public address, or ask the operator to add"
            f" {parts.hostname} to {rule.hosts_setting}."
        )
    if rule.networks is not None and not all(is_within(one, rule.networks) for one in found):
        raise NotAllowed(f"{parts.hostname} is on no network that this machine is on. Give its address by hand.")
    return found


def is_within(address: Address, networks: Iterable[Network]) -> bool:
    """Whether an address, and what it wraps, is in one of these networks."""
    known = list(networks)
    return all(any(one in network for network in known) for one in meant(address))


def resolved(host: str, port: int) -> list[Address]:
    """All addresses of a host. Raises NotAllowed when it has none."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise NotAllowed(f"No machine is called {host}. Check the address.") from error
    return list(dict.fromkeys(ip_address(str(entry[4][0]).partition("%")[0]) for entry in found))


def is_public(address: Address) -> bool:
    """Whether everybody can reach this address; one that only wraps another is what it wraps."""
    return all(
        one.is_global and not one.is_multicast and not any(one in network for network in _LOCAL)
        for one in meant(address)
    )


def meant(address: Address) -> tuple[Address, ...]:
    """An address, and what it leads to if it only wraps another."""
    return (address, *_wrapped(address))


def _wrapped(address: Address) -> Iterator[IPv4Address]:
    if isinstance(address, IPv4Address):
        return
    if address.ipv4_mapped:
        yield address.ipv4_mapped
    if address.sixtofour:
        yield address.sixtofour
    if address.teredo:
        yield from address.teredo
    if address in _NAT64:
        yield IPv4Address(int(address) & 0xFFFFFFFF)
