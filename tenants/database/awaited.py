"""Single rows for code on an event loop, where a thread and the ORM would take longer than the question itself."""

import asyncio
from collections.abc import Sequence
from typing import Any

import psycopg
from django.db import DatabaseError, connections
from psycopg_pool import AsyncConnectionPool, PoolTimeout

MOST = 4
"""Connections of a process for this: a question takes a millisecond, and more of them would only wait in Postgres."""
_OF_THE_ORM = {"cursor_factory", "prepare_threshold", "context", "server_side_binding"}
_pool: AsyncConnectionPool | None = None
_loop: asyncio.AbstractEventLoop | None = None


async def row(statement: str, values: Sequence[Any]) -> tuple[Any, ...] | None:
    """The first row of a statement that changes nothing and names the schemas of its tables itself.

    It commits nothing and sees what is committed; asked often, it is prepared once a connection. A connection that died
    while nobody asked is replaced. Raises django.db.DatabaseError; its cause is psycopg's own.
    """
    try:
        pool = _pool_of_this_loop()
        await pool.open()
        try:
            return await _asked(pool, statement, values)
        except PoolTimeout:
            raise
        except psycopg.OperationalError:
            await pool.check()
            return await _asked(pool, statement, values)
    except psycopg.Error as error:
        raise DatabaseError(str(error)) from error


async def _asked(pool: AsyncConnectionPool, statement: str, values: Sequence[Any]) -> tuple[Any, ...] | None:
    async with pool.connection() as connection:
        return await (await connection.execute(statement, values)).fetchone()


def _pool_of_this_loop() -> AsyncConnectionPool:
    global _pool, _loop
    if _pool is None or _loop is not asyncio.get_running_loop():
        _loop = asyncio.get_running_loop()
        wrapper = connections["default"]
        known = wrapper.get_connection_params().items()
        parameters = {name: value for name, value in known if name not in _OF_THE_ORM}
        timeout = wrapper.settings_dict["OPTIONS"]["pool"]["timeout"]
        _pool = AsyncConnectionPool(
            kwargs={**parameters, "autocommit": True}, min_size=1, max_size=MOST, timeout=timeout, open=False
        )
    return _pool
