"""Primary keys of our rows."""

from datetime import UTC, datetime
from uuid import UUID

from uuid_utils import compat


def uuid7() -> UUID:
    """A time-ordered UUID (RFC 9562, version 7), made here so that any Postgres will do."""
    return compat.uuid7()


def made_at(key: UUID) -> datetime:
    """When a key of ours was made: its first 48 bits are milliseconds."""
    return datetime.fromtimestamp((key.int >> 80) / 1000, UTC)
