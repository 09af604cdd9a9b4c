"""What an archive has beside its events: talks, checks, diffs and answers of a node, shown as those of a live swarm."""

from typing import Any
from uuid import UUID

from django.db.models import QuerySet

from sessions import fragments
from sessions.models import Artifact, Message, Part, Session
from swarms import artifacts, diffs
from swarms.models import Archive, ArchiveRecord, CheckRun
from swarms.replay import bundle, files, stories
from swarms.replay.checkpoints import scene_at

MOST_PARTS = 1000
"""Parts of one transcript that a page shows; the next ones are on the next."""
MOST = 200


def of_node(archive: Archive, key: str, wanted: str | None, after: int = 0) -> dict[str, Any]:
    """Context of a node's page, or of what belongs to no node (key empty).

    `wanted` is the session to show, from its first part that has a greater number in the file than `after`.
    """
    talks = [_session(line) for line in _lines(archive, "transcripts", key, body__type="session")]
    chosen = next((talk for talk in talks if str(talk.pk) == wanted), talks[-1] if talks else None)
    parts, more = _parts(archive, chosen, after) if chosen else ([], None)
    changes = [
        {"line": line, "files": diffs.parse(line["text"]), "diff_error": line["missing"]}
        for line in _lines(archive, "diffs", key)
    ]
    scene = scene_at(stories.of_archive(archive), archive.last_seq)
    return {
        "node": next((node for node in scene.nodes.values() if node.key == key), None),
        "talks": talks,
        "session": chosen,
        "turns": fragments.in_turns(parts),
        "after": after,
        "more": more,
        "runs": [_run(archive, line) for line in _lines(archive, "checks", key)],
        "changes": changes,
        "approvals": _lines(archive, "approvals", key),
    } | _artifacts(archive, key)


def _artifacts(archive: Archive, key: str) -> dict[str, Any]:
    """Those that can be taken, and the lines of those whose bytes were left out."""
    lines = [bundle.ArtifactLine.model_validate(line) for line in _lines(archive, "artifacts", key)]
    ids = [files.id_in(archive, line.id) for line in lines if line.sha256]
    found = Artifact.objects.filter(pk__in=ids).select_related("content").in_bulk()
    return {
        "artifacts": [artifacts.Row(found[key]) for key in ids if key in found],
        "left_out": [line for line in lines if not line.sha256],
    }


def _lines(archive: Archive, member: str, key: str, **which: Any) -> list[dict[str, Any]]:
    found = archive.records.filter(member=member, key=key, **which).order_by("number")
    return list(found.values_list("body", flat=True)[:MOST])


def _session(line: dict[str, Any]) -> Session:
    read = bundle.SessionLine.model_validate(line)
    number = f" (attempt {read.attempt})" if read.attempt and str(read.attempt) not in read.title else ""
    return Session(
        pk=read.id,
        title=f"{read.title}{number}",
        agent=read.agent,
        model=read.model,
        input_tokens=read.input_tokens,
        output_tokens=read.output_tokens,
        created_at=read.created_at,
        ended_at=read.ended_at or read.created_at,
    )


def _parts(archive: Archive, session: Session, after: int) -> tuple[list[Part], int | None]:
    """Parts of a transcript, and the number after which the next ones follow, if there are more."""
    found = archive.records.filter(member="transcripts", key=str(session.pk))
    rows = list(found.filter(body__type="part", number__gt=after).order_by("number")[: MOST_PARTS + 1])
    lines = [bundle.PartLine.model_validate(row.body) for row in rows[:MOST_PARTS]]
    wanted = {str(line.message) for line in lines}
    messages = _messages(found.filter(body__type="message", body__id__in=wanted), session)
    more = rows[MOST_PARTS - 1].number if len(rows) > MOST_PARTS else None
    return [_part(line, messages[line.message]) for line in lines if line.message in messages], more


def _messages(rows: QuerySet[ArchiveRecord], session: Session) -> dict[UUID, Message]:
    lines = [bundle.MessageLine.model_validate(row.body) for row in rows]
    words = {line.id: line.model_dump(exclude={"type", "id", "session"}) for line in lines}
    return {key: Message(pk=key, session=session, **given) for key, given in words.items()}


def _part(line: bundle.PartLine, message: Message) -> Part:
    words = line.model_dump(exclude={"type", "id", "session", "message"})
    state = "failed" if line.state == "open" else line.state  # nobody goes on with it
    return Part(pk=line.id, message=message, **words | {"state": state})


def _run(archive: Archive, line: dict[str, Any]) -> CheckRun:
    read = bundle.CheckLine.model_validate(line)
    results = [result | {"artifact": files.here(archive, result.get("artifact"))} for result in read.results]
    return CheckRun(
        purpose=read.purpose,
        commit=read.commit,
        state=read.state,
        because=read.because,
        results=results,
        created_at=read.created_at,
        ended_at=read.ended_at,
    )
