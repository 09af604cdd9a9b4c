"""The clock has contents pruned now and then, beside its ticks: team after team."""

import threading

import structlog
from django.db import connection

from sessions.artifacts import contents
from tenants.context import PUBLIC, in_schema
from tenants.models import Team

logger = structlog.get_logger(__name__)
EVERY_SECONDS = 600.0


def run(stop: threading.Event) -> None:
    """Look every ten minutes until `stop` is set. For a thread of its own."""
    while not stop.wait(EVERY_SECONDS):
        look(stop)


def look(stop: threading.Event | None = None) -> int:
    """Prune every team once. Returns how many contents were removed."""
    removed = 0
    try:
        with in_schema(PUBLIC):
            schemas = list(Team.objects.filter(state="ready").values_list("schema_name", flat=True))
        for schema in schemas:
            if stop is not None and stop.is_set():
                break
            removed += _prune(schema)
    except Exception:
        # The database or the store is away: the same rows are there the next time.
        logger.exception("contents of artifacts could not be pruned")
    finally:
        if not connection.in_atomic_block:
            connection.close()
    return removed


def _prune(schema: str) -> int:
    with in_schema(schema):
        count, size = contents.prune()
    if count:
        logger.info("contents that nothing names were removed", team=schema, contents=count, bytes=size)
    return count
