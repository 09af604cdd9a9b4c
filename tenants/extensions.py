"""Postgres extensions that all schemas share, kept in a schema of their own."""

from django.apps.registry import Apps
from django.db import DatabaseError, transaction
from django.db.backends.base.schema import BaseDatabaseSchemaEditor

SCHEMA = "extensions"
NEEDED = {
    "vector": "pgvector, for example the package postgresql-16-pgvector",
    "pg_trgm": "part of postgresql-contrib",
    "btree_gist": "part of postgresql-contrib",
}


class ExtensionMissing(RuntimeError):
    """The database server cannot give us what we need; the text says what an administrator must do."""


def create(apps: Apps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    """Create schema and extensions where they are missing. Raises ExtensionMissing with the remedy."""
    connection = schema_editor.connection
    with connection.cursor() as cursor:
        cursor.execute("SELECT name FROM pg_available_extensions WHERE name = ANY(%s)", [list(NEEDED)])
        available = {row[0] for row in cursor.fetchall()}
        cursor.execute("SELECT extname, extnamespace::regnamespace::text FROM pg_extension")
        installed = dict(cursor.fetchall())
    if absent := NEEDED.keys() - available - installed.keys():
        names = "; ".join(f"{name} ({NEEDED[name]})" for name in sorted(absent))
        raise ExtensionMissing(f"The Postgres server of DATABASE_URL lacks extensions: {names}. Install them there.")
    wanted = [f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}"]
    for name in NEEDED:
        if installed.get(name, SCHEMA) != SCHEMA:
            wanted.append(f"ALTER EXTENSION {name} SET SCHEMA {SCHEMA}")
        elif name not in installed:
            wanted.append(f"CREATE EXTENSION IF NOT EXISTS {name} SCHEMA {SCHEMA}")
    try:
        with transaction.atomic(using=connection.alias), connection.cursor() as cursor:
            for statement in wanted:
                cursor.execute(statement)
    except DatabaseError as error:
        remedy = "; ".join(wanted)
        raise ExtensionMissing(
            f"The role of DATABASE_URL may not create extensions ({str(error).strip()}). "
            f"Let an administrator run in this database: {remedy};"
        ) from error
