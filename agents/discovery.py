"""Finds OpenCode servers on the local network and lists them, quarantined, for every team.

What mDNS says is only a hint: anybody can take a name, and one host name may stand for several machines.
A server is what answers our handshake at an address; the address identifies it.
"""

import math
import threading
import time
from collections.abc import Iterable
from datetime import timedelta
from ipaddress import ip_address
from queue import Empty, SimpleQueue

import ifaddr
import structlog
from django.conf import settings
from django.db import DatabaseError, connection
from django.utils import timezone
from zeroconf import Error as ZeroconfError

from agents import hosting, sightings
from agents.looking import Look, Met, Round
from agents.neighbourhood import FIRST_MILLISECONDS, HTTP, WAGGLE, Gone, Hint, Name, Neighbourhood
from sessions import deltas
from tenants.context import PUBLIC

logger = structlog.get_logger(__name__)

LOST_AFTER = 3
"""Rounds without an answer until a server counts as lost."""
AGAIN = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0)
"""Seconds after which an announcement behind which nobody answered is looked at again; then with each round."""


def watch(stop: threading.Event, *, interfaces: tuple[str, ...] = (), every: float = 30.0) -> None:
    """Looks at once at what is announced, and every `every` seconds at all that is known, until `stop` is set.

    Without a usable network it says so once, asks the servers that were given by their address, and waits for one.
    """
    loopback = any(ip_address(address).is_loopback for address in interfaces)
    silent = False
    while not stop.is_set():
        inbox: SimpleQueue[object] = SimpleQueue()
        try:
            neighbourhood = Neighbourhood(inbox, interfaces)
            if settings.ANNOUNCE:
                neighbourhood.announce(settings.WAGGLE_PORT)
        except (OSError, RuntimeError, ZeroconfError) as error:
            if not silent:
                logger.warning("no network to look for servers on, waiting for one", error=str(error))
            silent = True
            stop.wait(every)
            continue
        silent = False
        logger.info("looking for servers", services=[HTTP, WAGGLE], every=every)
        look = Look(inbox, loopback=loopback)
        try:
            _Watch(neighbourhood, look, inbox, every).run(stop, interfaces)
        finally:
            look.close()
            neighbourhood.close()


class _Watch:
    """One network's announcements, until the process ends or this machine's addresses change. Writes the rows alone."""

    def __init__(self, neighbourhood: Neighbourhood, look: Look, inbox: "SimpleQueue[object]", every: float) -> None:
        self._near, self._look, self._inbox, self._every = neighbourhood, look, inbox, every
        self._urls: dict[Name, tuple[str, ...]] = {}
        self._later: dict[Name, tuple[float, int]] = {}
        """Announcements behind which nobody answered yet: when to look again, and how often that was done."""
        self._leaving: set[Name] = set()
        self._round_due = timezone.now()

    def run(self, stop: threading.Event, interfaces: tuple[str, ...]) -> None:
        """Returns when `stop` is set or when this machine's addresses have changed."""
        at_start = own_addresses()
        while not stop.is_set():
            try:
                self._take()
                if timezone.now() >= self._round_due:
                    self._begin_round()
                    if not interfaces and own_addresses() != at_start:
                        logger.info("the network changed, listening anew")
                        return
            except DatabaseError as error:
                logger.error("servers not recorded, trying again", error=str(error))
                self._round_due = min(self._round_due, timezone.now() + timedelta(seconds=1))
            finally:
                connection.close()

    def _begin_round(self) -> None:
        self._round_due = timezone.now() + timedelta(seconds=self._every)
        self._look.again(sightings.known(), sightings.locked(), hosting.untried_everywhere())
        for name in self._near.names:
            self._look.revisit(name, self._near.resolve)
        if self._near.has_left_out:
            for name in [name for name, (_, times) in self._later.items() if times >= len(AGAIN)]:
                self._forget(name)
            for name in self._near.left_out():
                self._inbox.put(name)

    def _forget(self, name: Name) -> None:
        self._near.forget(name)
        self._later.pop(name, None)

    def _hear(self, name: Name) -> None:
        """Something is announced. Where there are too many names, one behind which nobody answered makes room."""
        if self._near.is_full and name not in self._near.names and self._later:
            self._forget(next(iter(self._later)))
        if self._near.hear(name):
            self._leaving.discard(name)
            self._look.meet(name, self._soon)

    def _soon(self, name: Name) -> Hint | None:
        return self._near.resolve(name, FIRST_MILLISECONDS)

    def _take(self) -> None:
        """Waits for news for a moment, and takes one."""
        now = time.monotonic()
        for name in [name for name, (due, _) in self._later.items() if due <= now]:
            self._later[name] = (math.inf, self._later[name][1])
            self._look.revisit(name, self._soon)
        try:
            news = self._inbox.get(timeout=min(self._every, 0.2))
        except Empty:
            return
        if isinstance(news, Met):
            self._met(news)
        elif isinstance(news, Round):
            sightings.still(news.found, lost_before=timezone.now() - LOST_AFTER * timedelta(seconds=self._every))
            for one, answer in news.unlocked:
                sightings.told(one, answer)
            for one_of, proofs in news.shared:
                if proofs:
                    sightings.shared(one_of, proofs)
            deltas.hint(PUBLIC, "server.seen")  # how soon they answered, and when
        elif isinstance(news, Gone):
            self._forget(news.name)
            if urls := self._urls.pop(news.name, ()):
                # That may be a lie, too: it is asked.
                self._leaving.add(news.name)
                self._look.meet(news.name, lambda name: _at(name, urls))
        elif isinstance(news, Name):
            self._hear(news)

    def _met(self, met: Met) -> None:
        if met.name in self._leaving:
            self._leaving.discard(met.name)
            sightings.gone(set(met.urls) - {url for one in met.found for url in (one.url, *one.also_at)})
        elif met.found:
            self._urls[met.name] = met.urls
            self._later.pop(met.name, None)
        elif met.name in self._near.names and met.name not in self._urls:
            # A server may announce itself before it listens, and a name may be told before its address.
            _, times = self._later.get(met.name, (0, 0))
            if times < len(AGAIN):
                self._later[met.name] = (time.monotonic() + AGAIN[times], times + 1)
        if met.found:
            sightings.record(met.found)


def _at(name: Name, urls: Iterable[str]) -> Hint:
    """An announcement that is gone, as it was."""
    parts = [url.removeprefix("http://").rpartition(":") for url in urls]
    return Hint(name.service, name.instance, int(parts[0][2]), tuple(host.strip("[]") for host, _, _ in parts))


def own_addresses() -> frozenset[str]:
    """This machine's addresses as zeroconf sees them."""
    return frozenset(str(ip.ip) for adapter in ifaddr.get_adapters() for ip in adapter.ips)
