"""How the invariants stood when the clock last looked; kept in Redis, because it is the web process that is asked."""

import json
from collections.abc import Iterator, Mapping

import redis
import structlog
from django.conf import settings
from prometheus_client.core import REGISTRY, GaugeMetricFamily
from prometheus_client.registry import Collector
from redis.backoff import NoBackoff
from redis.retry import Retry

logger = structlog.get_logger(__name__)
KEY = "waggle:verify"
PATIENCE = 1
"""Seconds to wait for Redis."""


def keep(counts: Mapping[str, int], seconds: float) -> None:
    """Let every web process show this. Raises redis.RedisError."""
    with _client() as client:
        client.set(KEY, json.dumps({"counts": dict(counts), "seconds": seconds}))


class LastLook(Collector):
    """waggle_violations{invariant} and waggle_verify_seconds; nothing before the first look."""

    def describe(self) -> Iterator[GaugeMetricFamily]:
        """Nothing, so that nobody asks Redis when a process starts."""
        return iter(())

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """What was kept last."""
        try:
            with _client() as client:
                kept = client.get(KEY)
        except redis.RedisError as error:
            logger.warning("the last look at the invariants is not known", error=str(error))
            return
        if not isinstance(kept, bytes):
            return
        found = json.loads(kept)
        violations = GaugeMetricFamily(
            "waggle_violations", "Rows for which an invariant does not hold, when last looked.", labels=["invariant"]
        )
        for name, count in found["counts"].items():
            violations.add_metric([name], count)
        yield violations
        yield GaugeMetricFamily(
            "waggle_verify_seconds", "How long the last look at all invariants took.", value=found["seconds"]
        )


def register() -> None:
    """Have this process show it."""
    REGISTRY.register(LastLook())


def _client() -> redis.Redis:
    return redis.Redis.from_url(
        settings.STREAM_URL, socket_timeout=PATIENCE, socket_connect_timeout=PATIENCE, retry=Retry(NoBackoff(), 0)
    )
