"""Handshakes with what is announced and with what is known, many at once, and what came of them."""

import threading
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from dataclasses import dataclass
from queue import SimpleQueue

import structlog

from agents import hosting, servers
from agents.handshake import (
    PROBE_SECONDS,
    Health,
    NoServer,
    NotAsked,
    announced_rule,
    candidate_urls,
    given_rule,
    near_rule,
    shake,
)
from agents.hosting import Proof, Untried
from agents.neighbourhood import Hint, Name
from agents.servers import Locked
from agents.sightings import Found

logger = structlog.get_logger(__name__)

AT_ONCE, ROUNDS_AT_ONCE = 48, 24
"""Handshakes at once, and of these with what is known already: a find never waits behind those."""
MOST_TOLD = 1000
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
        self._visits = ThreadPoolExecutor(ROUNDS_AT_ONCE, thread_name_prefix="visit")
        self._visited: set[Name] = set()
        self._told: set[str] = set()
        """Addresses of which was said why they are left alone."""

    def meet(self, name: Name, resolve: Callable[[Name], Hint | None]) -> None:
        """Look who is behind an announcement; a Met comes into the inbox."""
        self._meetings.submit(self._meet, name, resolve)

    def revisit(self, name: Name, resolve: Callable[[Name], Hint | None]) -> None:
        """The same for one that was looked at before: what is new does not wait behind it. Nothing while it is under
        way."""
        if name not in self._visited:
            self._visited.add(name)
            self._visits.submit(self._meet, name, resolve)

    def _meet(self, name: Name, resolve: Callable[[Name], Hint | None]) -> None:
        try:
            hint = resolve(name)
            urls = candidate_urls(hint.addresses, hint.port, loopback=self._loopback) if hint else []
            answers = self._ask(dict.fromkeys(urls, near_rule()) if urls else {}, self._finds)
            self._inbox.put(Met(name, tuple(urls), tuple(of_hint(hint, answers)) if hint else ()))
        except CancelledError:
            logger.debug("a look was broken off: the pool is closed")
        except Exception:  # a thread's last words: its announcement is met again in the next round
            logger.exception("an announcement could not be looked at", name=name.instance)
        finally:
            self._visited.discard(name)

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
        except (RuntimeError, CancelledError):
            logger.debug("a round was broken off: the pool is closed")

    def _ask(self, rules: Mapping[str, object], pool: ThreadPoolExecutor, **options: float) -> dict[str, Health]:
        asking = {url: pool.submit(shake, url, rule, **options) for url, rule in rules.items()}  # type: ignore[arg-type]
        # No wait() for all: it never hears of those that are cancelled.
        return {url: health for url, future in asking.items() if (health := self._answer(url, future))}

    def _answer(self, url: str, future: "Future[Health]") -> Health | None:
        try:
            return future.result()
        except NotAsked as error:
            if url not in self._told and len(self._told) < MOST_TOLD:
                self._told.add(url)
                logger.warning("an announced address is left alone", url=url, because=str(error))
        except NoServer as error:
            logger.debug("no handshake", url=url, error=str(error))
        return None

    def close(self) -> None:
        """Nothing more is asked; what is under way ends by itself."""
        for pool in (self._meetings, self._visits, self._finds, self._probes):
            pool.shutdown(wait=False, cancel_futures=True)
