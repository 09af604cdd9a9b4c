"""Which team this thread works for. The only module that switches schema; imports no model.

`connection.set_schema` belongs to a thread's connection, not to a request, message or socket. So scope and query always
sit inside one synchronous call, and a guard on every connection refuses a query whose schema is not the scope's.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from django.db import connection as _connection
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created
from django_tenants.signals import schema_migrated, schema_pre_migration

PUBLIC = "public"
# django_tenants gives every connection its schema; the types of Django do not know.
connection: Any = _connection
_scope: ContextVar[str] = ContextVar("team_scope", default=PUBLIC)


class OutOfScope(RuntimeError):
    """A query was about to run in another schema than the one of its scope."""


def current_schema() -> str:
    """The schema of the innermost scope."""
    return _scope.get()


@contextmanager
def in_schema(name: str, *, alone: bool = False) -> Iterator[None]:
    """Work for one team (or `public`); the scope before comes back at the end, whatever happens.

    With `alone` the tables of `public` are out of sight: for looking at what the schema itself holds.
    """
    before = getattr(connection, "tenant", None)
    marker = _scope.set(name)
    connection.set_schema(name, include_public=not alone)
    try:
        yield
    finally:
        _scope.reset(marker)
        if before is not None and before.schema_name != PUBLIC:
            connection.set_tenant(before)
        else:
            connection.set_schema_to_public()


@contextmanager
def in_scope(name: str) -> Iterator[None]:
    """Work for one team without the database: a query would be refused."""
    marker = _scope.set(name)
    try:
        yield
    finally:
        _scope.reset(marker)


def enter(name: str) -> None:
    """Set the scope without an end, for a request or message whose middleware calls `leave`."""
    _scope.set(name)
    connection.set_schema(name)


def leave() -> None:
    """Back to public."""
    _scope.set(PUBLIC)
    connection.set_schema_to_public()


def each_team() -> Iterator[str]:
    """Schemas of all ready teams."""
    from django.apps import apps

    with in_schema(PUBLIC):
        names = list(
            apps.get_model("tenants", "Team").objects.filter(state="ready").values_list("schema_name", flat=True)
        )
    yield from names


def _follow_migrations(schema_name: str, **kwargs: Any) -> None:
    """`migrate_schemas` switches by itself, one schema after the other; the scope goes with it."""
    _scope.set(schema_name)


def _after_migrations(**kwargs: Any) -> None:
    _scope.set(connection.schema_name)


def _guard(execute: Callable[..., Any], sql: str, params: Any, many: bool, context: dict[str, Any]) -> Any:
    schema = context["connection"].schema_name
    if schema != _scope.get():
        raise OutOfScope(f"a query for {schema} ran in the scope of {_scope.get()}: use tenants.context.in_schema")
    return execute(sql, params, many, context)


def _add_guard(connection: BaseDatabaseWrapper, **kwargs: Any) -> None:
    if hasattr(connection, "schema_name") and _guard not in connection.execute_wrappers:
        connection.execute_wrappers.append(_guard)


def install_guard() -> None:
    """Watch every query of every connection made from now on."""
    connection_created.connect(_add_guard, dispatch_uid="tenants.context.guard")
    schema_pre_migration.connect(_follow_migrations, dispatch_uid="tenants.context.migrations")
    schema_migrated.connect(_after_migrations, dispatch_uid="tenants.context.migrated")
