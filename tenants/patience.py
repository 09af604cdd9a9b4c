"""How long we wait for a row that somebody else has locked, where many wait for us."""

from collections.abc import Iterator
from contextlib import contextmanager

import structlog
from django.db import OperationalError, connection
from psycopg.errors import LockNotAvailable

logger = structlog.get_logger(__name__)
SECONDS = 0.25
"""Locks are held for milliseconds. Who holds one for longer is at something large, or has fallen silent."""


def wait_briefly(*, in_transaction: bool = False) -> None:
    """From now on this connection gives up a lock after SECONDS, or only until the transaction ends."""
    scope = "LOCAL" if in_transaction else "SESSION"
    with connection.cursor() as cursor:
        cursor.execute(f"SET {scope} lock_timeout = {int(SECONDS * 1000)}")


def is_busy(error: BaseException) -> bool:
    """Whether it says that somebody held a lock for too long."""
    return isinstance(error.__cause__, LockNotAvailable)


@contextmanager
def unless_busy() -> Iterator[None]:
    """Leave off when somebody holds what is wanted: it stays due, and is looked at again."""
    try:
        yield
    except OperationalError as error:
        if not is_busy(error):
            raise
        logger.info("somebody holds what is due", error=str(error).partition("\n")[0])
