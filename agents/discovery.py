"""Finds OpenCode servers on the local network and lists them, quarantined, for every team.

What mDNS says is only a hint: anybody can take a name, and one host name may stand for several machines.
A server is what answers our handshake at an address; the address identifies it.
"""

import math
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from datetime import timedelta
from ipaddress import ip_address
from queue import Empty, SimpleQueue

import ifaddr
import structlog
from django.conf import settings
from django.db import DatabaseError, connection
from django.utils import timezone
from zeroconf import Error as ZeroconfError

from agents import hosting, servers, sightings
from agents.handshake import (
    PROBE_SECONDS,
    Health,
    NoServer,
    announced_rule,
    candidate_urls,
    given_rule,
    shake,
)
from agents.hosting import Proof, Untried
from agents.neighbourhood import HTTP, WAGGLE, Gone, Hint, Name, Neighbourhood
from agents.servers import Locked
from agents.sightings import Found

logger = structlog.get_logger(__name__)

LOST_AFTER = 3
"""Rounds without an answer until a server counts as lost."""
AT_ONCE, ROUNDS_AT_ONCE = 48, 24
"""Handshakes at once, and of these with what is known already: a find never waits behind those."""
AGAIN = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0)
"""Seconds after which an announcement behind which nobody answered is looked at again; then with each round."""
SHARED_HOST = "opencode.local."
"""The host name that every OpenCode server takes unless it is told another: it may mean several machines."""


@dataclass(frozen=True)
class Met:
    """What came of an announcement: the servers behind it, and the addresses at which it was tried."""

    name: Name
    urls: tuple[str, ...]
    found: tuple[Found, ...]


@dataclass(frozen=True)
class Round:
    """What came of asking everything that is known."""

    found: tuple[Found, ...]
    unlocked: tuple[tuple[Locked, Health | NoServer], ...]
    shared: tuple[tuple[Untried, tuple[Proof, ...]], ...] = ()


def of_hint(hint: Hint, answers: Mapping[str, Health]) -> list[Found]:
    """The servers behind one announcement, given what answered at which address. Pure.

    Addresses of one host name are one server, if all say the same of themselves; those of the name that all OpenCode
    servers share may be several machines, and are one server each.
    """
    if not answers:
        return []
    urls = list(answers)
    if hint.host not in ("", SHARED_HOST) and len({(one.version, one.wants_password) for one in answers.values()}) == 1:
        return [_found(hint.name, urls[0], answers[urls[0]], also_at=tuple(urls[1:]))]
    fourth = [url for url in urls if "[" not in url]
    return [_found(hint.name, url, answers[url]) for url in fourth or urls]


def _found(name: str, url: str, health: Health, also_at: tuple[str, ...] = ()) -> Found:
    return Found(
        name,
        url,
        health.version,
        also_at=also_at,
        wants_password=health.wants_password,
        latency_ms=health.latency_ms,
    )


class Look:
    """Handshakes in threads of their own, so that one that is slow or lies delays nobody else's."""

    def __init__(self, inbox: "SimpleQueue[object]", *, loopback: bool) -> None:
        self._inbox, self._loopback = inbox, loopback
        self._finds = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="find")
        self._probes = ThreadPoolExecutor(ROUNDS_AT_ONCE, thread_name_prefix="probe")
        self._meetings = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="meet")

    def meet(self, name: Name, resolve: Callable[[Name], Hint | None]) -> None:
        """Look who is behind an announcement; a Met comes into the inbox."""
        self._meetings.submit(self._meet, name, resolve)

    def _meet(self, name: Name, resolve: Callable[[Name], Hint | None]) -> None:
        try:
            hint = resolve(name)
            urls = candidate_urls(hint.addresses, hint.port, loopback=self._loopback) if hint else []
            answers = self._ask({url: announced_rule() for url in urls}, self._finds)
            self._inbox.put(Met(name, tuple(urls), tuple(of_hint(hint, answers)) if hint else ()))
        except Exception:  # a thread's last words: its announcement is met again in the next round
            logger.exception("an announcement could not be looked at", name=name.instance)

    def again(
        self, known: Mapping[str, tuple[str, bool]], locked: Iterable[Locked], untried: Iterable[Untried] = ()
    ) -> None:
        """Ask everything that is known; a Round comes into the inbox."""
        asked = [known, list(locked), list(untried)]
        threading.Thread(target=self._again, args=asked, name="round", daemon=True).start()

    def _again(self, known: Mapping[str, tuple[str, bool]], locked: list[Locked], untried: list[Untried]) -> None:
        rules = {url: given_rule() if is_given else announced_rule() for url, (_, is_given) in known.items()}
        try:
            unlocking = [(one, self._probes.submit(servers.asked, one)) for one in locked]
            trying = [(one, self._probes.submit(hosting.proved, one)) for one in untried]
            answers = self._ask(rules, self._probes, seconds=PROBE_SECONDS)
            found = tuple(_found(known[url][0], url, health) for url, health in answers.items())
            told = tuple((one, future.result()) for one, future in unlocking)
            self._inbox.put(Round(found, told, tuple((one, future.result()) for one, future in trying)))
        except RuntimeError:
            logger.debug("a round was broken off: the pool is closed")

    def _ask(self, rules: Mapping[str, object], pool: ThreadPoolExecutor, **options: float) -> dict[str, Health]:
        asking = {url: pool.submit(shake, url, rule, **options) for url, rule in rules.items()}  # type: ignore[arg-type]
        wait(asking.values())
        return {url: health for url, future in asking.items() if (health := _answer(url, future))}

    def close(self) -> None:
        """Nothing more is asked; what is under way ends by itself."""
        for pool in (self._meetings, self._finds, self._probes):
            pool.shutdown(wait=False, cancel_futures=True)


def _answer(url: str, future: "Future[Health]") -> Health | None:
    try:
        return future.result()
    except NoServer as error:
        logger.debug("no handshake", url=url, error=str(error))
        return None


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
            self._look.meet(name, self._near.resolve)

    def _take(self) -> None:
        """Waits for news for a moment, and takes one."""
        now = time.monotonic()
        for name in [name for name, (due, _) in self._later.items() if due <= now]:
            self._later[name] = (math.inf, self._later[name][1])
            self._look.meet(name, self._near.resolve)
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
        elif isinstance(news, Gone):
            self._near.forget(news.name)
            self._later.pop(news.name, None)
            if urls := self._urls.pop(news.name, ()):
                # That may be a lie, too: it is asked.
                self._leaving.add(news.name)
                self._look.meet(news.name, lambda name: _at(name, urls))
        elif isinstance(news, Name) and self._near.hear(news):
            self._leaving.discard(news)
            self._look.meet(news, self._near.resolve)

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
