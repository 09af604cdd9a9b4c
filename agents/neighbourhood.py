"""The announcements of the local network, and our own."""

import re
import socket
from dataclasses import dataclass
from ipaddress import ip_address
from queue import SimpleQueue

import ifaddr
import structlog
from zeroconf import DNSPointer, InterfaceChoice, ServiceBrowser, ServiceInfo, ServiceStateChange, Zeroconf

logger = structlog.get_logger(__name__)

HTTP = "_http._tcp.local."
WAGGLE = "_waggle._tcp.local."
CONTROL_PLANE = "waggle-"
"""How our own announcements begin: these are no servers."""
MOST_NAMES = 500
RESOLVE_MILLISECONDS, FIRST_MILLISECONDS = 2000, 500
"""How long an announcement is waited for that is not here whole: the first times, others wait behind it."""
_OPENCODE_NAME = re.compile(r"opencode-\d+(?: \(\d+\)|-\d+)?")
"""With a number at its end when the name was taken: Apple's and zeroconf's ways of that."""


@dataclass(frozen=True)
class Name:
    """Something is announced."""

    service: str
    instance: str


@dataclass(frozen=True)
class Gone:
    """An announcement was taken back."""

    name: Name


@dataclass(frozen=True)
class Hint:
    """What the network claims: somebody at these addresses offers something."""

    service: str
    name: str
    port: int
    addresses: tuple[str, ...]
    host: str = ""


def may_be_agent_server(service: str, instance: str) -> bool:
    """Whether an instance is worth a handshake: printers and cameras announce `_http._tcp` too."""
    if service == WAGGLE:
        return not instance.startswith(CONTROL_PLANE)
    return bool(_OPENCODE_NAME.fullmatch(instance))


class Neighbourhood:
    """What is announced now, kept up to date by zeroconf's own thread; news come into `inbox` as Name and Gone.

    `interfaces` are addresses of our own to listen at; none means all but loopback.
    Raises OSError, RuntimeError or zeroconf.Error when the network cannot be listened to.
    """

    def __init__(self, inbox: "SimpleQueue[object]", interfaces: tuple[str, ...] = ()) -> None:
        self.names: set[Name] = set()
        self.has_left_out = False
        """There were too many names."""
        self._inbox, self._interfaces = inbox, interfaces
        self._zeroconf = Zeroconf(interfaces=list(interfaces) or InterfaceChoice.All)
        self._browser = ServiceBrowser(self._zeroconf, [HTTP, WAGGLE], handlers=[self._hear])

    def _hear(self, zeroconf: Zeroconf, service_type: str, name: str, state_change: ServiceStateChange) -> None:
        found = Name(service_type, name.removesuffix(f".{service_type}"))
        if may_be_agent_server(found.service, found.instance):
            self._inbox.put(Gone(found) if state_change is ServiceStateChange.Removed else found)

    def hear(self, name: Name) -> bool:
        """Somebody is there. Returns False when there are too many names already."""
        if name not in self.names and self.is_full:
            if not self.has_left_out:
                logger.warning("announcements are left out: there are too many", most=MOST_NAMES)
            self.has_left_out = True
            return False
        self.names.add(name)
        return True

    @property
    def is_full(self) -> bool:
        """Whether there is no room for another name."""
        return len(self.names) >= MOST_NAMES

    def left_out(self) -> list[Name]:
        """Names that were left out and are still announced, as many as there is room for now."""
        found: dict[Name, None] = {}
        for service in (HTTP, WAGGLE):
            for record in self._zeroconf.cache.entries_with_name(service):
                if isinstance(record, DNSPointer):
                    found[Name(service, record.alias.removesuffix(f".{service}"))] = None
        news = [name for name in found if name not in self.names and may_be_agent_server(name.service, name.instance)]
        room = max(MOST_NAMES - len(self.names), 0)
        self.has_left_out = len(news) > room
        return news[:room]

    def forget(self, name: Name) -> None:
        """It was taken back."""
        self.names.discard(name)

    def resolve(self, name: Name, milliseconds: int = RESOLVE_MILLISECONDS) -> Hint | None:
        """Where an announcement leads; None when nobody says."""
        info: ServiceInfo | None = self._zeroconf.get_service_info(
            name.service, f"{name.instance}.{name.service}", milliseconds
        )
        if info is None or info.port is None:
            return None
        return Hint(name.service, name.instance, info.port, tuple(info.parsed_scoped_addresses()), info.server or "")

    def announce(self, port: int) -> None:
        """Tell the network that a control plane is at this port of this machine; nothing else is told."""
        addresses = self._interfaces or tuple(
            str(ip.ip) for adapter in ifaddr.get_adapters() for ip in adapter.ips if ip.is_IPv4
        )
        packed = [socket.inet_aton(one) for one in addresses if self._interfaces or not ip_address(one).is_loopback]
        info = ServiceInfo(
            WAGGLE,
            f"{CONTROL_PLANE}{port}.{WAGGLE}",
            addresses=packed,
            port=port,
            server=f"{CONTROL_PLANE}{socket.gethostname().partition('.')[0]}.local.",
            properties={"path": "/"},
        )
        self._zeroconf.register_service(info, allow_name_change=True)
        logger.info("announced on the local network", service=WAGGLE, port=port)

    def close(self) -> None:
        """Stops listening and announcing; zeroconf's threads and sockets are gone afterwards."""
        self._zeroconf.close()
