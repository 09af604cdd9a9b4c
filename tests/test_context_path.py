"""The search path of a connection follows its scope, whatever transactions, failures and new connections do to it.

Postgres takes a `SET` back with the transaction that made it. django-tenants sends one only when the scope changes and
must know of each time when the path was lost; here programs of all these times are made up and run.
"""

from collections.abc import Callable
from contextlib import suppress
from typing import Any
from uuid import uuid4

import pytest
from django.db import DatabaseError, transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sessions.models import Message
from tenants.context import PUBLIC, connection, current_schema, in_schema
from tenants.models import Team

Program = tuple[Any, ...]
LOOK, SPOIL, CLOSE = ("look",), ("spoil",), ("close",)


class GiveUp(Exception):
    """Somebody's own error, on which a transaction is rolled back."""


def _blocks(inside: st.SearchStrategy[Program]) -> st.SearchStrategy[Program]:
    body = st.lists(inside, max_size=4).map(tuple)
    scope = st.tuples(st.just("scope"), st.sampled_from([PUBLIC, "acme", "globex"]), body)
    ends = st.sampled_from(["well", "gives up", "cannot commit"])
    return scope | st.tuples(st.just("atomic"), st.booleans(), ends, body)


PROGRAMS = st.lists(st.recursive(st.sampled_from([LOOK, LOOK, LOOK, SPOIL, CLOSE]), _blocks, max_leaves=20), max_size=6)


def look() -> None:
    """Every query runs where its scope says."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_schema()")
        assert cursor.fetchone() == (current_schema(),)


def run(steps: tuple[Program, ...] | list[Program], schemas: dict[str, str]) -> None:
    """Run a program. Whoever looks too often sets the path before anything could take it back."""
    for step in steps:
        match step:
            case ("look",):
                look()
            case ("spoil",):
                with connection.cursor() as cursor:
                    cursor.execute("SELECT 1 / 0")
            case ("close",):
                if not connection.in_atomic_block:
                    connection.close()
            case ("scope", name, body):
                with in_schema(schemas[name]):
                    run(body, schemas)
            case ("atomic", savepoint, ends, body):
                with suppress(GiveUp, DatabaseError), transaction.atomic(savepoint=savepoint):
                    _within(ends, body, schemas)


def _within(ends: str, body: tuple[Program, ...], schemas: dict[str, str]) -> None:
    run(body, schemas)
    if ends == "gives up":
        raise GiveUp
    if ends == "cannot commit":
        with in_schema(schemas["acme"]):
            Message.objects.create(id=uuid4(), session_id=uuid4(), number=1, role="user")


@pytest.fixture
def play(committed_team: Team) -> Callable[[list[Program]], None]:
    schemas = {"acme": committed_team.schema_name, "globex": Team.objects.get(domains__slug="globex").schema_name}

    def play(program: list[Program]) -> None:
        with suppress(DatabaseError):  # who spoils something outside a transaction
            run(program, schemas | {PUBLIC: PUBLIC})
        look()

    return play


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(PROGRAMS)
def test_whatever_happens_a_query_runs_in_the_schema_of_its_scope(
    play: Callable[[list[Program]], None], program: list[Program]
) -> None:
    play(program)


def test_a_scope_that_is_rolled_back_leaves_no_path(play: Callable[[list[Program]], None]) -> None:
    """The ways in which earlier versions of django-tenants answered with another team's rows."""
    for ends in ("gives up", "cannot commit"):
        for savepoint in (True, False):
            inner = ("atomic", savepoint, ends, (LOOK,))
            play([("scope", "globex", (inner, LOOK))])
            play([("scope", "globex", (("atomic", True, "well", (inner, LOOK)), LOOK))])
            play([("atomic", True, "well", (("scope", "globex", (inner, LOOK, CLOSE)), LOOK)), CLOSE])
    play([("scope", "globex", (("atomic", True, "well", (("atomic", True, "well", (LOOK, SPOIL)), LOOK)), LOOK))])


def test_who_works_for_one_team_says_so_once(committed_team: Team) -> None:
    seen: list[str] = []

    def watch(execute: Callable[..., object], sql: str, *rest: object) -> object:
        seen.append(sql)
        return execute(sql, *rest)

    with connection.execute_wrapper(watch), in_schema(committed_team.schema_name), transaction.atomic():
        for _ in range(3):
            Message.objects.count()
    assert len([sql for sql in seen if sql.startswith("SET search_path")]) == 1
