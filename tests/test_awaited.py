"""Rows for code on an event loop: a connection that died is replaced, and what goes wrong is Django's error."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from django.db import DatabaseError, connection
from psycopg.errors import UndefinedTable

from tenants.database import awaited

PID = "SELECT pg_backend_pid(), %s"


def alone(work: Callable[[], Awaitable[Any]]) -> Any:
    """In a loop of its own, whose connections end with it."""

    async def run() -> Any:
        try:
            return await work()
        finally:
            await awaited._pool_of_this_loop().close()

    return asyncio.run(run())


@pytest.mark.django_db
def test_a_connection_that_died_while_nobody_asked_is_replaced() -> None:
    async def work() -> None:
        first = await awaited.row(PID, ["a"])
        await asyncio.to_thread(_end, first[0] if first else 0)
        second = await awaited.row(PID, ["b"])
        assert first
        assert second
        assert first[0] != second[0]
        assert (first[1], second[1]) == ("a", "b")

    alone(work)


@pytest.mark.django_db
def test_many_ask_at_once_and_get_their_own_answers() -> None:
    async def work() -> list[Any]:
        return await asyncio.gather(*(awaited.row(PID, [str(number)]) for number in range(40)))

    found = alone(work)
    assert [answer for _, answer in found] == [str(number) for number in range(40)]
    assert len({pid for pid, _ in found}) <= awaited.MOST


@pytest.mark.django_db
def test_what_goes_wrong_is_an_error_of_the_database_with_its_cause() -> None:
    async def work() -> None:
        assert await awaited.row("SELECT 1 WHERE false", []) is None
        with pytest.raises(DatabaseError) as wrong:
            await awaited.row("SELECT FROM nowhere.nothing", [])
        assert isinstance(wrong.value.__cause__, UndefinedTable)
        assert await awaited.row("SELECT 2", []) == (2,)

    alone(work)


def _end(pid: int) -> None:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_terminate_backend(%s, 5000)", [pid])
    finally:
        connection.close()
