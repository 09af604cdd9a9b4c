"""Postgres as django-prometheus counts it, with a pool that gives out warm connections."""

import threading
from collections import deque
from typing import Any

from django_prometheus.db.backends.postgresql import base

_swapping = threading.Lock()


class LastInFirstOut(deque[Any]):
    """Connections that wait: who asks gets the one that came back last.

    psycopg_pool passes them round in turn. What a backend of Postgres has planned and looked up is worth 10 to 20 ms to
    the first work on it, so that after each pause every one of them would be cold.
    """

    def popleft(self) -> Any:
        """The last one."""
        return self.pop()


class DatabaseWrapper(base.DatabaseWrapper):
    """See the module."""

    @property
    def pool(self) -> Any:
        """The pool of this process, or None."""
        pool = super().pool
        if pool is not None and not isinstance(pool._pool, LastInFirstOut):
            with _swapping:
                if not isinstance(pool._pool, LastInFirstOut):  # not open yet: nothing is in it
                    pool._pool = LastInFirstOut(pool._pool)
        return pool
