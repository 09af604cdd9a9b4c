"""Primary keys of our rows."""

from uuid import UUID

from uuid_utils import compat


def uuid7() -> UUID:
    """A time-ordered UUID (RFC 9562, version 7), made here so that any Postgres will do."""
    return compat.uuid7()
