"""What an archive has beside its events: talks, checks, diffs and answers of a node, shown as those of a live swarm."""

from collections.abc import Iterable, Iterator
from typing import Any
from uuid import UUID

from sessions import fragments
from sessions.models import Artifact, Message, Part, Session
from swarms import artifacts, diffs
from swarms.models import Archive, CheckRun
from swarms.replay import bundle, files, stories
from swarms.replay.checkpoints import scene_at

MOST_PARTS = 1000
"""Parts of one transcript that a page shows."""
MOST = 200


def of_node(archive: Archive, key: str, wanted: str | None) -> dict[str, Any]:
    """Context of a node's page, or of what belongs to no node (key empty). `wanted` is the session to show."""
    talks = [_session(line) for line in _lines(archive, "transcripts", key)]
    chosen = next((talk for talk in talks if str(talk.pk) == wanted), talks[-1] if talks else None)
    parts = list(_parts(archive, chosen)) if chosen else []
    changes = [
        {"line": line, "files": diffs.parse(line["text"]), "diff_error": line["missing"]}
        for line in _lines(archive, "diffs", key)
    ]
    scene = scene_at(stories.of_archive(archive), archive.last_seq)
    return {
        "node": next((node for node in scene.nodes.values() if node.key == key), None),
        "talks": talks,
        "session": chosen,
        "turns": fragments.in_turns(parts[:MOST_PARTS]),
        "is_cut": len(parts) > MOST_PARTS,
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


def _lines(archive: Archive, member: str, key: str) -> list[dict[str, Any]]:
    found = archive.records.filter(member=member, key=key).order_by("number")
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


def _parts(archive: Archive, session: Session) -> Iterator[Part]:
    """A transcript, as far as it is shown."""
    found = archive.records.filter(member="transcripts", key=str(session.pk)).order_by("number")
    messages: dict[UUID, Message] = {}
    for body in _bodies(found.values_list("body", flat=True)[: 3 * MOST_PARTS]):
        if isinstance(body, bundle.MessageLine):
            words = body.model_dump(exclude={"type", "id", "session"})
            messages[body.id] = Message(pk=body.id, session=session, **words)
        elif isinstance(body, bundle.PartLine) and body.message in messages:
            words = body.model_dump(exclude={"type", "id", "session", "message"})
            state = "failed" if body.state == "open" else body.state  # nobody goes on with it
            yield Part(pk=body.id, message=messages[body.message], **words | {"state": state})


def _bodies(lines: Iterable[dict[str, Any]]) -> Iterator[Any]:
    for line in lines:
        yield bundle.LINES["transcripts"].validate_python(line)


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
