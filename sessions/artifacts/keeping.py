"""Files that somebody keeps, under a name."""

import re
from contextlib import suppress
from typing import IO
from uuid import UUID

from django.db import transaction

from sessions.artifacts import contents
from sessions.artifacts.contents import Arrived, Gone
from sessions.artifacts.models import Artifact
from sessions.events import publish
from sessions.models import Session

ANYTHING = "application/octet-stream"
_MEDIA_TYPE = re.compile(r"^[a-z0-9][a-z0-9.+-]{0,40}/[a-z0-9][a-z0-9.+-]{0,50}$")
_ODD = re.compile(r"[\x00-\x1f\x7f]")


class Misnamed(ValueError):
    """The name cannot be one of an artifact; the text says why."""


def media_type_of(given: str) -> str:
    """A media type without its parameters; what is none could be anything."""
    word = given.partition(";")[0].strip().lower()
    return word if _MEDIA_TYPE.match(word) else ANYTHING


def checked_name(name: str) -> str:
    """A relative path, as people and agents write it. Raises Misnamed."""
    words = name.strip().removeprefix("./")
    if not words or len(words) > 200 or _ODD.search(words):
        raise Misnamed(f"{name[:80]!r} is no name for an artifact: 1 to 200 characters in one line.")
    if words.startswith("/") or ".." in words.split("/"):
        raise Misnamed(f"{name[:80]!r} is no name for an artifact: a path relative to the workspace, without '..'.")
    return words


def keep(session: Session, source: IO[bytes], *, name: str, media_type: str) -> Artifact:
    """Keep a file of a session; the same name again means what it has now.

    Raises Misnamed, contents.TooMuch, and contents.Gone, with words, when it was removed each time. Outside of a
    transaction, see contents.arrive.
    """
    name = checked_name(name)
    for _ in range(contents.ROUNDS):
        arrived = contents.arrive(source, name)
        with suppress(Gone):
            return _named(session, arrived, name, media_type_of(media_type))
    raise Gone(
        f"{name} was not kept: {contents.ROUNDS} times it took more than an hour, and its bytes were removed before it"
        " had its name. Send it once more when the store of artifacts is faster, a smaller file, or go on without it."
    )


@transaction.atomic
def _named(session: Session, arrived: Arrived, name: str, media_type: str) -> Artifact:
    content = contents.refer(arrived)
    before = Artifact.objects.select_for_update().filter(session=session, name=name).first()
    if before is not None and (before.content_id, before.media_type) == (content.pk, media_type):
        return before  # sent twice
    what = {"content": content, "media_type": media_type, "subject": session.subject, "made_by": session.agent}
    found, _ = Artifact.objects.update_or_create(session=session, name=name, defaults=what)
    publish(
        session.subject,
        "artifact.kept",
        artifact=str(found.pk),
        name=name,
        sha256=content.sha256,
        size=content.size,
        media_type=media_type,
        session=str(session.pk),
        by=session.agent,
    )
    return found


def kept_with(subject: str, key: UUID, arrived: Arrived, *, name: str, media_type: str, made_by: str) -> Artifact:
    """Keep, under an id of one's own, what came with something else, such as an archive. Raises Misnamed, Gone."""
    return Artifact.objects.create(
        id=key,
        subject=subject,
        name=checked_name(name),
        media_type=media_type_of(media_type),
        content=contents.refer(arrived),
        made_by=made_by,
    )


@transaction.atomic
def remove(artifact: Artifact) -> bool:
    """Take an artifact away; whether it was there. Its bytes go when nothing else names them."""
    count, _ = Artifact.objects.filter(pk=artifact.pk).delete()
    if count:
        publish(
            artifact.subject,
            "artifact.removed",
            artifact=str(artifact.pk),
            name=artifact.name,
            session=str(artifact.session_id or ""),
        )
    return bool(count)
