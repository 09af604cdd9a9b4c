"""Postgres as django-prometheus counts it, with a pool that gives out warm connections."""

import select
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary

from django.core.exceptions import ImproperlyConfigured
from django_prometheus.db.backends.postgresql import base

_swapping = threading.Lock()
FRESH_SECONDS = 1.0


class LastInFirstOut(deque[Any]):
    """Connections that wait: who asks gets the one that came back last.

    psycopg_pool passes them round in turn. What a backend of Postgres has planned and looked up is worth 10 to 20 ms to
    the first work on it, so that after each pause every one of them would be cold.
    """

    def popleft(self) -> Any:
        """The last one."""
        return self.pop()


class QuickCheck:
    """Whether a connection from the pool lives: the database is asked, but not again within a second of the last answer
    while nothing came on the connection since. A server that goes away says so there."""

    def __init__(self, ask: Callable[[Any], None]) -> None:
        self._ask = ask
        self._asked: WeakKeyDictionary[Any, float] = WeakKeyDictionary()

    def __call__(self, connection: Any) -> None:
        """Raises what psycopg raises when it does not."""
        now = time.monotonic()
        if now - self._asked.get(connection, 0) > FRESH_SECONDS or _is_readable(connection.fileno()):
            self._asked.pop(connection, None)
            self._ask(connection)
            self._asked[connection] = now


def _is_readable(file: int) -> bool:
    poll = select.poll()
    poll.register(file, select.POLLIN | select.POLLPRI)
    return bool(poll.poll(0))


class DatabaseWrapper(base.DatabaseWrapper):
    """See the module."""

    def get_connection_params(self) -> dict[str, Any]:
        """What to connect with. Raises ImproperlyConfigured with the remedy where there is no database."""
        if self.settings_dict["NAME"] == "":  # None: to make one
            raise ImproperlyConfigured(
                "no database runs. Start the embedded one with `manage.py services start` (or all of Waggle with"
                " `make up`), or set DATABASE_URL, for example DATABASE_URL=postgresql://waggle:secret@db.example/waggle."
            )
        return dict(super().get_connection_params())

    @property
    def pool(self) -> Any:
        """The pool of this process, or None."""
        pool = super().pool
        if pool is not None and not isinstance(pool._pool, LastInFirstOut):
            with _swapping:
                if not isinstance(pool._pool, LastInFirstOut):  # not open yet: nothing is in it
                    if pool._check:
                        pool._check = QuickCheck(pool._check)
                    pool._pool = LastInFirstOut(pool._pool)
        return pool
