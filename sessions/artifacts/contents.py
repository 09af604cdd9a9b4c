"""Contents on their way into the object store, and out of it.

Who brings one says so first (`arrive`), sends the bytes, and then names it (`refer`). A sweep removes what nothing
names; it never touches what somebody is bringing, however they meet: rows decide, one at a time.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import IO, Any
from uuid import UUID

from django.conf import settings
from django.core.files.base import File
from django.core.files.storage import Storage, storages
from django.db import connection, transaction
from django.db.models import Exists, OuterRef, QuerySet, Sum
from django.db.models.functions import Coalesce, Now

from sessions.artifacts.models import Artifact, Content
from sessions.artifacts.stores import PIECE
from tenants.context import current_schema
from tenants.ids import uuid7

GRACE = timedelta(hours=1)
"""How long bytes may take to come in; what nothing names is kept for so long."""
ROUNDS = 3
MEGABYTE = 1 << 20
_ROOM_LOCK = 0x61727466
_ANNOUNCE = """
INSERT INTO agent_sessions_content (id, sha256, size, kept_until) VALUES (%s, %s, %s, statement_timestamp() + %s)
ON CONFLICT (sha256) DO UPDATE SET kept_until = statement_timestamp() + %s
RETURNING id, stored_at IS NOT NULL
"""


class TooMuch(ValueError):
    """One of the limits is reached; the text says which, and what can be done."""


class Gone(Exception):
    """The content was removed before anything named it: it took longer than it may."""


@dataclass(frozen=True)
class Arrived:
    """Bytes that are in the store; nothing names them yet."""

    row: UUID
    sha256: str
    size: int


def store() -> Storage:
    """Where the bytes of all teams lie."""
    return storages["artifacts"]


def place_of(sha256: str, schema: str = "") -> str:
    """The name of a content in the store: each team has its own."""
    return f"{schema or current_schema()}/{sha256[:2]}/{sha256}"


def largest() -> int:
    """Bytes that one artifact may have."""
    return settings.ARTIFACT_MB * MEGABYTE


def refuse_size(size: int, name: str) -> None:
    """Raises TooMuch for more than one artifact may have."""
    if size > largest():
        raise TooMuch(f"{name} has {_megabytes(size)}; an artifact may have {settings.ARTIFACT_MB} MB.")


def arrive(source: IO[bytes], name: str) -> Arrived:
    """Bring the bytes of a file that can be sought in, of the current team; `name` is for words.

    Raises TooMuch before anything is stored. Outside of a transaction: sending bytes takes a while.
    """
    digest, size = hashlib.sha256(), 0
    source.seek(0)
    while piece := source.read(PIECE):
        size += len(piece)
        refuse_size(size, name)
        digest.update(piece)
    sha256 = digest.hexdigest()
    row, is_stored = _announce(sha256, size, name)
    if not is_stored:
        source.seek(0)
        store().save(place_of(sha256), File(source, name=sha256))
        Content.objects.filter(pk=row, stored_at=None).update(stored_at=Now(), kept_until=Now() + GRACE)
    return Arrived(row, sha256, size)


def _announce(sha256: str, size: int, name: str) -> tuple[UUID, bool]:
    """The row of a content, kept for a while from now on; whether its bytes are there. Raises TooMuch."""
    with transaction.atomic(), connection.cursor() as cursor:
        # Two that come at once must not both fit into room that is there for one.
        cursor.execute("SELECT pg_advisory_xact_lock(%s, hashtext(current_schema()))", [_ROOM_LOCK])
        if not Content.objects.filter(sha256=sha256).exists():
            room = settings.ARTIFACT_TEAM_MB * MEGABYTE - used()
            if size > room:
                raise TooMuch(
                    f"{name} has {_megabytes(size)}, and of the {settings.ARTIFACT_TEAM_MB} MB that the team's"
                    f" artifacts may have, {_megabytes(max(room, 0))} are left. Somebody must delete artifacts or"
                    " imported swarms that nobody needs; an hour or two later there is room."
                )
        words: list[Any] = [uuid7(), sha256, size, GRACE, GRACE]
        cursor.execute(_ANNOUNCE, words)
        found: tuple[UUID, bool] = cursor.fetchone()
        return found


def used() -> int:
    """Bytes of all contents of the current team, with those on their way."""
    return int(Content.objects.aggregate(all=Coalesce(Sum("size"), 0))["all"])


def _megabytes(size: int) -> str:
    return f"{size / MEGABYTE:.1f} MB"


def refer(arrived: Arrived) -> Content:
    """The content, kept for what the caller's transaction makes name it. Raises Gone: bring it again."""
    held = Content.objects.filter(pk=arrived.row, stored_at__isnull=False).update(kept_until=Now() + GRACE)
    if not held:
        raise Gone(arrived.sha256)
    return Content.objects.get(pk=arrived.row)


def read(content: Content) -> "File[bytes]":
    """The bytes, read as they are needed. Raises FileNotFoundError."""
    return store().open(place_of(content.sha256), "rb")


def pieces(content: Content) -> Iterator[bytes]:
    """All bytes, few at a time."""
    with read(content) as file:
        while piece := file.read(PIECE):
            yield piece


_NAMED = Exists(Artifact.objects.filter(content=OuterRef("pk")))


def _unwanted() -> QuerySet[Content]:
    return Content.objects.filter(~_NAMED, kept_until__lt=Now())


def prune(most: int = 200) -> tuple[int, int]:
    """Remove contents of the current team that nothing names. Returns how many, and their bytes together.

    First the row says that the bytes go, for good; then they go, and the row with them. Whoever brings the same bytes
    meanwhile waits for the row, finds none, and brings them anew.
    """
    sizes = [size for key in condemn(most) if (size := take_out(key)) is not None]
    return len(sizes), sum(sizes)


def condemn(most: int) -> list[UUID]:
    """Say of contents that nothing names that their bytes go. Returns all of which that is said."""
    found = _unwanted().filter(stored_at__isnull=False).values("pk")[:most]
    _unwanted().filter(pk__in=found).update(stored_at=None)
    return list(_unwanted().filter(stored_at=None).values_list("pk", flat=True)[:most])


def take_out(key: UUID) -> int | None:
    """Delete the bytes of a condemned content, and its row. Returns its size; None when somebody brings it again."""
    with transaction.atomic():
        row = _unwanted().filter(pk=key, stored_at=None).select_for_update(skip_locked=True, of=("self",)).first()
        if row is None:
            return None
        store().delete(place_of(row.sha256))
        row.delete()
        return row.size


def fault(content: Content) -> str:
    """What is wrong with a stored content, looking into the store; empty: nothing."""
    try:
        size = store().size(place_of(content.sha256))
    except FileNotFoundError:
        return "is not in the store"
    return "" if size == content.size else f"has {size} bytes in the store, and should have {content.size}"


def remove_all(schema: str) -> None:
    """Every content of a team that is no more, named or not. May be repeated."""
    _empty(store(), schema)


def _empty(place: Storage, folder: str) -> None:
    try:
        folders, files = place.listdir(folder)
    except FileNotFoundError:
        return
    for name in folders:
        _empty(place, f"{folder}/{name}")
    for name in files:
        place.delete(f"{folder}/{name}")
    place.delete(folder)  # where folders are more than the beginning of a name
