"""The network between processes is slow, cut, silent or half open, at random, while work goes on over it."""

import time
from collections.abc import Callable
from uuid import UUID

import redis
from django.conf import settings

from bench.chaos.acts.pauses import ASLEEP, report_late
from bench.chaos.chaos import Chaos
from bench.chaos.platform import RUNNERS
from bench.chaos.proxy import Proxy

SLOW_SECONDS = 0.15
"""By which everything is late, in each direction, on a slow network."""


def network_cut(chaos: Chaos) -> None:
    """Workers and Postgres, workers and Valkey, runners and web: cut in each manner, in random order."""
    cuts = [(way, manner) for way in (_postgres, _valkey, _web) for manner in MANNERS] * chaos.size.cuts or SOME
    chaos.dice.shuffle(cuts)
    for way, manner in cuts:
        way(chaos, manner)
    chaos.settle(*chaos.swarms)


def _slow(proxy: Proxy) -> None:
    proxy.delay = SLOW_SECONDS


MANNERS: dict[str, Callable[[Proxy], object]] = {
    "slow": _slow,
    "reset": Proxy.reset,
    "silent beyond the lease": Proxy.silence,
    "half open beyond the lease": Proxy.half_open,
}


SLOW, RESET, SILENT, HALF_OPEN = MANNERS


def _last(manner: str) -> None:
    """As long as this lasts."""
    time.sleep(ASLEEP if "beyond" in manner else 1.0 if manner == "slow" else 0.0)


def _postgres(chaos: Chaos, manner: str) -> None:
    """Of one worker, while it holds nodes. Where its words are only held up, they come too late and are refused."""
    pk, caught = chaos.catch()
    proxy = chaos.of.postgres[caught.name]
    MANNERS[manner](proxy)
    caught.release()
    chaos.report.inject(f"network between worker and Postgres {manner}", hits=True)
    if "silent" in manner:
        report_late(chaos, caught, proxy.heal)
    else:
        _last(manner)
        proxy.heal()
    chaos.settle(pk)


def _valkey(chaos: Chaos, manner: str) -> None:
    """Of all workers, while messages wait."""
    proxy = chaos.of.valkey
    MANNERS[manner](proxy)
    pk = chaos.submit()
    with redis.Redis.from_url(settings.BROKER_URL) as client:
        waiting = sum(client.hlen(key) for key in client.scan_iter("dramatiq:*.msgs"))
    chaos.report.inject(f"network between workers and Valkey {manner}", hits=bool(waiting))
    _last(manner)
    proxy.heal()
    chaos.settle(pk)


def _web(chaos: Chaos, manner: str) -> None:
    """Of all runners and their agents, while they work."""
    held: tuple[UUID, ...] = chaos.samples.at_work(*RUNNERS)
    MANNERS[manner](chaos.of.web)
    chaos.report.inject(f"network between runners and web {manner}", hits=bool(held))
    _last(manner)
    chaos.of.web.heal()


SOME = [(_postgres, RESET), (_postgres, SILENT), (_valkey, SLOW), (_valkey, HALF_OPEN), (_web, RESET), (_web, SILENT)]
"""Each way and each manner in a short run."""
