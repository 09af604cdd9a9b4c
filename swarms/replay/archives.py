"""Bringing in the file of a swarm, verified line by line, and taking it out again."""

import hashlib
import json
import re
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import IO, Any, NoReturn

import structlog
from django.db import DataError, IntegrityError, transaction
from pydantic import ValidationError as LineFault

from sessions import kinds
from sessions.artifacts.contents import Arrived
from swarms.models import Archive, ArchiveRecord
from swarms.replay import bundle, files, stories
from swarms.replay.checkpoints import scene_at
from tenants.models import User

logger = structlog.get_logger(__name__)

BATCH = 500
"""Lines that are stored at a time."""
MOST_NODES = 5000
_CONTENT = re.compile(r"^artifacts/[0-9a-f]{64}$")
_FAULTS = 3
"""Faults of one line that are told."""


class BundleFault(ValueError):
    """The file cannot be brought in; the text says where and why."""


class AlreadyImported(BundleFault):
    """The team has what is in this file."""

    def __init__(self, archive: Archive) -> None:
        super().__init__(f"This swarm was imported already, {archive.imported_at:%Y-%m-%d %H:%M} UTC, as {archive.pk}.")
        self.archive = archive


def bring_in(source: IO[bytes], *, by: User | None) -> Archive:
    """Store what an exported file has, in the current team, all or nothing. Raises BundleFault.

    The file can be sought in. No name in it is ever used as a path, and no more is unpacked than it says itself.
    """
    try:
        with zipfile.ZipFile(source) as file:
            manifest = _manifest(file)
            digest = _digest(manifest)
            if known := Archive.objects.filter(digest=digest).first():
                raise AlreadyImported(known)
            # Before the transaction: it takes a while. What nothing names in the end is pruned.
            arrived = files.unpack(file, manifest.contents)
            archive = _store(file, manifest, digest, by, arrived)
    except files.Unfit as error:
        raise BundleFault(str(error)) from error
    except RecursionError as error:
        raise BundleFault("Something in the file is nested too deeply.") from error
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        raise BundleFault(f"This is no zip file that can be read: {error}") from error
    except IntegrityError as error:
        if known := Archive.objects.filter(digest=digest).first():
            raise AlreadyImported(known) from error
        raise
    logger.info("archive imported", archive=str(archive.pk), events=archive.last_seq, by=str(by.pk) if by else "")
    return archive


def take_out(archive: Archive, *, by: User | None) -> None:
    """Delete an archive with all that belongs to it."""
    key = str(archive.pk)
    with transaction.atomic():
        files.forget(archive)
        archive.delete()
    logger.info("archive deleted", archive=key, by=str(by.pk) if by else "")


def _manifest(file: zipfile.ZipFile) -> bundle.Manifest:
    """The manifest, and nothing in the file that it does not name."""
    names = [entry.filename for entry in file.infolist()]
    wanted = {bundle.MANIFEST, *map(bundle.file_of, bundle.LINES)}
    if bundle.MANIFEST not in names:
        raise BundleFault("There is no manifest.json in it: this is no exported swarm.")
    held = {name for name in names if _CONTENT.match(name)}
    if odd := sorted(set(names) - wanted - held):
        raise BundleFault(f"The file has members that no export has: {', '.join(odd)[:200]}")
    if len(names) != len(set(names)):
        raise BundleFault("The file has a member twice.")
    if lacking := sorted(wanted - set(names)):
        raise BundleFault(f"The file lacks {', '.join(lacking)}.")
    if any(entry.flag_bits & 1 for entry in file.infolist()):
        raise BundleFault("The file is encrypted; exports are not.")
    with file.open(bundle.MANIFEST) as member:
        text = member.read(bundle.MOST_MANIFEST + 1)
    if len(text) > bundle.MOST_MANIFEST:
        raise BundleFault("manifest.json is too long.")
    given = _json(text, bundle.MANIFEST)
    if given.get("kind") == bundle.KIND and isinstance(given.get("format"), int) and given["format"] != bundle.FORMAT:
        raise BundleFault(
            f"The file has format {given['format']}, made by Waggle {str(given.get('waggle'))[:20]}; this installation"
            f" reads format {bundle.FORMAT}."
        )
    try:
        manifest = bundle.Manifest.model_validate(given)
    except LineFault as error:
        raise BundleFault(f"{bundle.MANIFEST}: {_said(error)}") from error
    if manifest.members.keys() != bundle.LINES.keys():
        raise BundleFault(f"{bundle.MANIFEST} does not name the members {', '.join(bundle.LINES)}.")
    if held != set(map(bundle.file_of_content, manifest.contents)):
        raise BundleFault("The artifacts in the file are not those that manifest.json names.")
    if sum(manifest.contents.values()) > bundle.MOST_CONTENTS:
        raise BundleFault(f"The artifacts unpack to more than {bundle.MOST_CONTENTS >> 20} MB.")
    if sum(member.bytes for member in manifest.members.values()) > bundle.MOST_BYTES:
        raise BundleFault(f"The file unpacks to more than {bundle.MOST_BYTES >> 20} MB.")
    if not manifest.members["events"].lines:
        raise BundleFault("The file has no events: there is nothing to replay.")
    return manifest


def _digest(manifest: bundle.Manifest) -> str:
    """What is in the file, whenever it was exported."""
    parts = [f"{name} {member.sha256}" for name, member in sorted(manifest.members.items())]
    return hashlib.sha256("\n".join([str(manifest.swarm.id), *parts]).encode()).hexdigest()


@transaction.atomic
def _store(
    file: zipfile.ZipFile, manifest: bundle.Manifest, digest: str, by: User | None, arrived: Mapping[str, Arrived]
) -> Archive:
    words = manifest.swarm
    try:
        archive = Archive.objects.create(
            digest=digest,
            swarm=words.id,
            project=words.project,
            number=words.number,
            goal=words.goal,
            state=words.state,
            last_seq=manifest.members["events"].lines,
            began_at=words.created_at,
            manifest=manifest.model_dump(mode="json"),
            imported_by=by,
        )
    except (DataError, ValueError) as error:
        raise BundleFault(f"{bundle.MANIFEST} cannot be stored: {error}") from error
    for name in bundle.LINES:
        rows = _rows(archive, name, _lines(file, name, manifest.members[name]), arrived)
        while batch := list(islice(rows, BATCH)):
            try:
                ArchiveRecord.objects.bulk_create(batch)
            except (DataError, ValueError) as error:  # such as half a pair of surrogates
                first = f"{bundle.file_of(name)}, line {batch[0].number} or soon after"
                raise BundleFault(f"{first}: this cannot be stored: {error}") from error
    # Whatever valid events there are, a scene comes of them; but better now than when somebody looks.
    scene = scene_at(stories.of_archive(archive), archive.last_seq)
    if len(scene.nodes) > MOST_NODES:
        raise BundleFault(f"The swarm has {len(scene.nodes)} nodes; at most {MOST_NODES} can be shown.")
    return archive


def _rows(
    archive: Archive, name: str, lines: Iterator[bytes], arrived: Mapping[str, Arrived]
) -> Iterator[ArchiveRecord]:
    for number, text in enumerate(lines, start=1):
        where = f"{bundle.file_of(name)}, line {number}"
        given = _json(text, where)
        try:
            line = bundle.LINES[name].validate_python(given)
            if name == "events":
                _check_event(line, number, where)
            elif name == "artifacts":
                files.store(archive, line, arrived)
        except files.Unfit as error:
            raise BundleFault(f"{where}: {error}") from error
        except LineFault as error:
            raise BundleFault(f"{where}: {_said(error)}") from error
        yield ArchiveRecord(
            archive=archive,
            member=name,
            number=number,
            key=bundle.key_of(name, line),
            body=line.model_dump(mode="json"),
        )


def _check_event(line: bundle.EventLine, number: int, where: str) -> None:
    if line.seq != number:
        raise BundleFault(
            f"{where}: this is event {line.seq}, and {number} was to come: events are numbered without gaps."
        )
    try:
        kinds.checked(line.kind, line.payload)
    except kinds.UnknownKind as error:
        raise BundleFault(
            f"{where}: there is no kind of event called {line.kind[:80]!r} here; a newer Waggle may know it."
        ) from error


def _lines(file: zipfile.ZipFile, name: str, wanted: bundle.Member) -> Iterator[bytes]:
    """The lines of a member, as many and as long as the manifest says, with the digest that it says."""
    digest, size, count, called = hashlib.sha256(), 0, 0, bundle.file_of(name)
    with file.open(called) as member:
        while line := member.readline(bundle.MOST_LINE + 1):
            size, count = size + len(line), count + 1
            if len(line) > bundle.MOST_LINE:
                raise BundleFault(f"{called}, line {count} is longer than {bundle.MOST_LINE >> 20} MB.")
            if size > wanted.bytes or count > wanted.lines:
                raise BundleFault(f"{called} is longer than the manifest says.")
            digest.update(line)
            yield line
    if size != wanted.bytes or count != wanted.lines or digest.hexdigest() != wanted.sha256:
        raise BundleFault(f"{called} is not what the manifest says: the file is damaged, or was changed.")


def _json(text: bytes, where: str) -> dict[str, Any]:
    try:
        found = json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise BundleFault(f"{where}: this is not JSON: {str(error)[:200]}") from error
    if not isinstance(found, dict):
        raise BundleFault(f"{where}: this is no JSON object.")
    return found


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number")


def _said(error: LineFault) -> str:
    told = [f"{'.'.join(map(str, fault['loc'])) or 'line'}: {fault['msg']}" for fault in error.errors()[:_FAULTS]]
    return "; ".join(told)[:400]
