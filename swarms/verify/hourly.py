"""The clock has every invariant looked at now and then, beside its ticks."""

import threading

import redis
import structlog
from django.conf import settings
from django.db import DatabaseError, connection

from swarms.verify.metrics import keep
from swarms.verify.run import Report, verify

logger = structlog.get_logger(__name__)
TOLD = 10
"""Violations that one look writes to the log."""


def run(stop: threading.Event) -> None:
    """Look every WAGGLE_VERIFY_SECONDS until `stop` is set; 0 is never. For a thread of its own."""
    every = settings.VERIFY_SECONDS
    while every > 0 and not stop.wait(every):
        look()


def look() -> Report | None:
    """Look once, say what is wrong and keep it for /metrics; None when the database is away: next time."""
    try:
        report = verify()
    except DatabaseError as error:
        logger.warning("invariants could not be looked at", error=str(error))
        return None
    finally:
        if not connection.in_atomic_block:
            connection.close()
    try:
        keep(report.counts, report.seconds)
    except redis.RedisError as error:
        logger.warning("invariants are not shown in /metrics", error=str(error))
    for each in report.violations[:TOLD]:
        logger.error(
            "an invariant is violated", team=each.team, swarm=each.swarm, invariant=each.invariant, what=each.says
        )
    logger.info(
        "invariants looked at", violations=sum(report.counts.values()), teams=report.teams, seconds=report.seconds
    )
    return report
