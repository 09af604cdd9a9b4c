"""Artifacts in the file of a swarm: their bytes go in, and come out again."""

import hashlib
import tempfile
import zipfile
from codecs import getincrementaldecoder
from collections.abc import Mapping
from typing import IO, Any
from uuid import UUID, uuid5

from django.db import DataError, IntegrityError

from sessions.artifacts import contents, keeping
from sessions.artifacts.stores import PIECE
from sessions.models import Artifact, Content
from swarms import artifacts
from swarms.models import Archive, Swarm
from swarms.replay import bundle
from tenants.redaction import Redaction

MOST_TEXT = 8 << 20
"""Bytes of a text that is looked through for secrets; a longer one is left out."""
WINDOW = 4 << 20
"""Bytes of another file that are looked through at a time."""
OVERLAP = 64 << 10
"""Bytes that are looked through twice, so that no secret is cut in two."""


class Unfit(ValueError):
    """An artifact of the file cannot be brought in; the text says why."""


class Packing:
    """Writes contents into a zip, each once, up to a limit."""

    def __init__(self, file: zipfile.ZipFile, taken: Redaction) -> None:
        self.sizes: dict[str, int] = {}
        """Of each content that is in the file, by its SHA-256."""
        self._file, self._taken = file, taken
        self._known: dict[UUID, dict[str, Any]] = {}

    def lines(self, swarm: Swarm) -> list[dict[str, Any]]:
        """Put the bytes of a swarm's artifacts in, and tell of each."""
        found = Artifact.objects.filter(subject=swarm.topic).select_related("content").order_by("created_at", "pk")
        return [
            {
                "id": row.artifact.pk,
                "node": row.node,
                "attempt": row.attempt,
                "name": row.artifact.name,
                "media_type": row.artifact.media_type,
                "made_by": row.artifact.made_by,
                "created_at": row.artifact.created_at,
            }
            | self._bytes_of(row.artifact.content)
            for row in artifacts.in_rows(found)
        ]

    def _bytes_of(self, content: Content) -> dict[str, Any]:
        if content.pk not in self._known:
            told = {"sha256": "", "size": content.size, "missing": ""}
            try:
                self._known[content.pk] = told | self._put(content)
            except FileNotFoundError:
                self._known[content.pk] = told | {"missing": "its bytes are lost"}
        return self._known[content.pk]

    def _put(self, content: Content) -> dict[str, Any]:
        text = _text(content)
        if text is not None and content.size > MOST_TEXT:
            return {"missing": f"a text of more than {MOST_TEXT >> 20} MB is not looked through for secrets"}
        if text is None and (kinds := self._kinds_in(content)):
            self._taken.counts["file with a secret"] += 1
            return {"missing": f"it is no text, and something in it looks like a secret ({', '.join(kinds)})"}
        data = None if text is None else str(self._taken.value(text)).encode()
        size = content.size if data is None else len(data)
        sha256 = content.sha256 if data is None else hashlib.sha256(data).hexdigest()
        if sha256 not in self.sizes:
            if sum(self.sizes.values()) + size > bundle.MOST_CONTENTS:
                return {"missing": f"the artifacts of one file have at most {bundle.MOST_CONTENTS >> 20} MB"}
            with self._file.open(bundle.entry(bundle.file_of_content(sha256)), "w", force_zip64=True) as member:
                for piece in contents.pieces(content) if data is None else [data]:
                    member.write(piece)
            self.sizes[sha256] = size
        return {"sha256": sha256, "size": size}

    def _kinds_in(self, content: Content) -> list[str]:
        kinds: set[str] = set()
        with contents.read(content) as file:
            window = b""
            while piece := file.read(WINDOW):
                window = window[-OVERLAP:] + piece
                kinds |= set(self._taken.kinds_in(window))
        return sorted(kinds)


def _text(content: Content) -> str | None:
    """The text that the bytes are, of a very long one the beginning; None: they are none."""
    is_whole = content.size <= MOST_TEXT
    if is_whole:
        data = b"".join(contents.pieces(content))
    else:
        with contents.read(content) as file:
            data = file.read(PIECE)
    if b"\0" in data:
        return None
    decoder = getincrementaldecoder("utf-8")()
    try:
        return decoder.decode(data, final=is_whole)  # what was cut may have been cut amid a character
    except UnicodeDecodeError:
        return None


def unpack(file: zipfile.ZipFile, sizes: Mapping[str, int]) -> dict[str, contents.Arrived]:
    """Bring the contents of a file into the store, each as the manifest says; nothing names them yet. Raises Unfit."""
    arrived: dict[str, contents.Arrived] = {}
    for sha256, size in sizes.items():
        name = bundle.file_of_content(sha256)
        with tempfile.TemporaryFile() as copy:
            with file.open(name) as member:
                _copy(member, copy, size, name)
            try:
                arrived[sha256] = contents.arrive(copy, name)
            except contents.TooMuch as error:
                raise Unfit(str(error)) from error
        if arrived[sha256].sha256 != sha256:
            raise Unfit(f"{name} is not what its name says: the file is damaged, or was changed.")
    return arrived


def _copy(member: IO[bytes], copy: IO[bytes], size: int, name: str) -> None:
    left = size
    while piece := member.read(min(PIECE, left + 1)):
        left -= len(piece)
        if left < 0:
            break
        copy.write(piece)
    if left:
        raise Unfit(f"{name} has not the size that the manifest says.")


def id_in(archive: Archive, artifact: UUID) -> UUID:
    """The id that an artifact of elsewhere has here."""
    return uuid5(archive.pk, str(artifact))


def here(archive: Archive, artifact: object) -> UUID | None:
    """The id that an artifact, named by its id of elsewhere, has here, if it came along."""
    try:
        key = id_in(archive, UUID(str(artifact)))
    except ValueError:
        return None
    return key if Artifact.objects.filter(pk=key).exists() else None


def store(archive: Archive, line: bundle.ArtifactLine, arrived: Mapping[str, contents.Arrived]) -> None:
    """Keep an artifact of an archive, if its bytes are there. Raises Unfit."""
    if not line.sha256:
        return
    if line.sha256 not in arrived:
        raise Unfit(f"the bytes of {line.name} are not in the file")
    words = {"name": line.name, "media_type": line.media_type, "made_by": line.made_by}
    try:
        keeping.kept_with(subject(archive), id_in(archive, line.id), arrived[line.sha256], **words)
    except keeping.Misnamed as error:
        raise Unfit(str(error)) from error
    except contents.Gone as error:
        raise Unfit("bringing it in took longer than an hour") from error
    except IntegrityError as error:
        raise Unfit(f"{line.name} is there twice") from error
    except DataError as error:
        raise Unfit(f"this cannot be stored: {error}") from error


def subject(archive: Archive) -> str:
    """Whose its artifacts are."""
    return f"archive:{archive.pk}"


def forget(archive: Archive) -> None:
    """Nothing of an archive names its contents any more."""
    Artifact.objects.filter(subject=subject(archive)).delete()
