"""The schema of a thread's connection, and the guard that watches it."""

import asyncio
import threading
from collections.abc import Callable

import pytest
from asgiref.sync import async_to_sync
from channels.db import database_sync_to_async
from django.core.management import call_command
from django.test import Client

from sessions.models import Subject
from tenants.context import PUBLIC, OutOfScope, connection, current_schema, each_team, in_schema
from tenants.models import Team
from tests.conftest import user_of


def names() -> set[str]:
    return set(Subject.objects.values_list("name", flat=True))


def both(acme: Team, globex: Team) -> None:
    for team in (acme, globex):
        with in_schema(team.schema_name):
            Subject.objects.create(name=f"of {team.slug}")


def test_a_scope_sees_its_own_rows_and_gives_back_the_one_before(acme: Team, globex: Team) -> None:
    both(acme, globex)
    with in_schema(acme.schema_name):
        assert names() == {"of acme"}
        with in_schema(globex.schema_name):
            assert names() == {"of globex"}
        assert names() == {"of acme"}
        assert current_schema() == connection.schema_name == acme.schema_name
    assert current_schema() == connection.schema_name == PUBLIC


def test_a_scope_ends_when_its_block_raises(acme: Team) -> None:
    with pytest.raises(ZeroDivisionError), in_schema(acme.schema_name):
        _ = 1 / 0
    assert current_schema() == connection.schema_name == PUBLIC


def test_a_query_in_another_schema_than_its_scope_is_refused(acme: Team, globex: Team) -> None:
    with in_schema(acme.schema_name):
        # What the widespread recipes do; only tenants.context may.
        connection.set_schema(globex.schema_name)
        with pytest.raises(OutOfScope, match=r"use tenants\.context\.in_schema"):
            names()
        connection.set_schema_to_public()
        with pytest.raises(OutOfScope):
            Team.objects.count()


def test_every_team_that_is_ready_is_visited(acme: Team, globex: Team) -> None:
    Team.objects.filter(pk=globex.pk).update(state="suspended")
    assert set(each_team()) == {acme.schema_name}


def test_threads_do_not_disturb_each_other(committed_team: Team) -> None:
    other = Team.objects.get(domains__slug="globex").schema_name
    barrier = threading.Barrier(2, timeout=20)
    seen: dict[str, set[str]] = {}

    def work(schema: str) -> None:
        try:
            with in_schema(schema):
                barrier.wait()
                for _ in range(20):
                    with connection.cursor() as cursor:
                        cursor.execute("SELECT current_schema()")
                        seen.setdefault(schema, set()).add(cursor.fetchone()[0])
                barrier.wait()
            seen[f"after {schema}"] = {connection.schema_name}
        finally:
            connection.close()

    threads = [threading.Thread(target=work, args=[schema]) for schema in (committed_team.schema_name, other)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == {
        committed_team.schema_name: {committed_team.schema_name},
        other: {other},
        f"after {committed_team.schema_name}": {PUBLIC},
        f"after {other}": {PUBLIC},
    }


def test_sockets_that_share_a_thread_keep_to_their_teams(acme: Team, globex: Team) -> None:
    """Scope and query in one call: with the scope set in an earlier call, one socket read the other's rows."""
    both(acme, globex)

    def read(schema: str) -> set[str]:
        with in_schema(schema):
            return names()

    async def socket(schema: str) -> list[set[str]]:
        rows = []
        for _ in range(5):
            rows.append(await database_sync_to_async(read)(schema))
            await asyncio.sleep(0)
        return rows

    async def talk() -> list[list[set[str]]]:
        return list(await asyncio.gather(socket(acme.schema_name), socket(globex.schema_name)))

    assert async_to_sync(talk)() == [[{"of acme"}] * 5, [{"of globex"}] * 5]


def test_a_scope_from_an_earlier_call_does_not_let_a_later_call_read(acme: Team, globex: Team) -> None:
    both(acme, globex)

    async def talk() -> None:
        await database_sync_to_async(lambda: connection.set_schema(acme.schema_name))()
        await database_sync_to_async(names)()

    with pytest.raises(OutOfScope):
        async_to_sync(talk)()
    connection.set_schema_to_public()


def test_a_request_leaves_the_scope_of_its_caller_alone(team: Team, client_for: Callable[..., Client]) -> None:
    assert client_for(user_of("alice", "acme"), team).get("/team/").status_code == 200
    assert client_for().get("/").status_code == 200
    assert current_schema() == connection.schema_name == team.schema_name


def test_alone_hides_the_tables_of_public(acme: Team) -> None:
    def teams_table() -> object:
        with connection.cursor() as cursor:
            cursor.execute("SELECT to_regclass('tenants_team')")
            return cursor.fetchone()[0]

    with in_schema(acme.schema_name, alone=True):
        assert teams_table() is None
    with in_schema(acme.schema_name):
        assert teams_table() == "tenants_team"


def test_migrating_all_schemas_keeps_the_guard_quiet(acme: Team) -> None:
    call_command("migrate_schemas", verbosity=0)
    assert current_schema() == connection.schema_name == PUBLIC
