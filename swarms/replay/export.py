"""A swarm as one file: events, plans, transcripts, diffs, checks, approvals, artifacts; without secrets.

People are in it by their names.
"""

import hashlib
import json
import zipfile
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import IO, Any, TypeVar
from urllib.parse import urlsplit
from uuid import UUID

from django.conf import settings
from django.db.models import Model, QuerySet
from django.utils import timezone

from agents.models import Execution
from sessions.models import Event, Message, Part, Session, Subject
from swarms.models import Attempt, Swarm
from swarms.replay import bundle
from swarms.replay.files import Packing
from swarms.workspace import repos
from swarms.workspace.git import GitError
from tenants import turns
from tenants.models import Membership, User
from tenants.redaction import Redaction

Row = TypeVar("Row", bound=Model)
CHUNK = 200
"""Rows that are in memory at a time."""
Lines = Iterator[dict[str, Any]]
_EVENT = ("seq", "kind", "payload", "actor", "at", "id", "cause", "trace")


def export(swarm: Swarm, into: IO[bytes]) -> bundle.Manifest:
    """Write a swarm's file, member after member, line after line. Returns its manifest.

    Of a swarm that is at work the events up to this moment; rows may be a little newer than the last of them.
    """
    taken = Redaction(people=_people(swarm), exact=_secrets())
    members: dict[str, bundle.Member] = {}
    with zipfile.ZipFile(into, "w", zipfile.ZIP_DEFLATED) as file:
        for name, lines in MEMBERS.items():
            with file.open(bundle.entry(bundle.file_of(name)), "w", force_zip64=True) as member:
                members[name] = _write(member, lines(swarm), taken)
        packing = Packing(file, taken)
        told = packing.lines(swarm)  # one entry of a zip is written at a time
        with file.open(bundle.entry(bundle.file_of("artifacts")), "w", force_zip64=True) as member:
            members["artifacts"] = _write(member, iter(told), taken)
        words = bundle.SwarmWords.model_validate(taken.value(_words(swarm)))
        manifest = bundle.Manifest(
            kind=bundle.KIND,
            format=bundle.FORMAT,
            waggle=settings.VERSION,
            exported_at=timezone.now(),
            swarm=words,
            members=members,
            contents=packing.sizes,
            redacted=dict(sorted(taken.counts.items())),
        )
        file.writestr(bundle.entry(bundle.MANIFEST), manifest.model_dump_json(indent=2))
    return manifest


def name_of(swarm: Swarm) -> str:
    """What the file is called."""
    return f"{swarm.project.slug}-{swarm.number}.waggle.zip"


def _write(member: IO[bytes], lines: Lines, taken: Redaction) -> bundle.Member:
    digest, size, count = hashlib.sha256(), 0, 0
    for line in lines:
        data = json.dumps(taken.value(line), ensure_ascii=False, default=_plain, separators=(",", ":")).encode() + b"\n"
        member.write(data)
        digest.update(data)
        size, count = size + len(data), count + 1
    return bundle.Member(sha256=digest.hexdigest(), bytes=size, lines=count)


def _plain(value: object) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, UUID):
        return str(value)
    raise TypeError(f"{type(value)} has no place in an export")


def _people(swarm: Swarm) -> dict[str, str]:
    """What people are called, by their ids and addresses: who has no name is a number, never an address."""
    actors = Event.objects.filter(subject=swarm.topic, actor__startswith="user:").values_list("actor", flat=True)
    ids = {actor.removeprefix("user:") for actor in actors.distinct()}
    ids |= {str(pk) for pk in Membership.objects.filter(team=turns.current_team_id()).values_list("user", flat=True)}
    ids |= {str(pk) for pair in swarm.approvals.values_list("requested_by", "decided_by") for pk in pair if pk}
    ids |= {str(pk) for pk in swarm.plans.values_list("created_by", flat=True) if pk} | {str(swarm.goal.created_by_id)}
    found: dict[str, str] = {}
    for number, user in enumerate(User.objects.filter(pk__in=ids).order_by("pk"), start=1):
        name = user.name if user.name and "@" not in user.name else f"member {number}"
        found |= dict.fromkeys((str(user.pk), user.email), name)
    return found


def _secrets() -> list[str]:
    """Secrets of this installation that a command's output might show."""
    known = (settings.MODEL_API_KEY, settings.SECRET_KEY, settings.METRICS_TOKEN)
    addresses = (settings.DATABASE_URL, settings.REDIS_URL)
    return [*known, *(urlsplit(address).password or "" for address in addresses)]


def _name(user: User | None) -> str:
    return user.email if user else ""  # becomes the name, as everywhere


def _words(swarm: Swarm) -> dict[str, Any]:
    project = swarm.project
    return {
        "id": str(swarm.pk),
        "project": project.slug,
        "project_name": project.name,
        "target_branch": project.target_branch,
        "number": swarm.number,
        "goal": swarm.goal.text,
        "by": _name(swarm.goal.created_by),
        "state": swarm.state,
        "base_commit": swarm.base_commit,
        "created_at": swarm.created_at,
        "ended_at": swarm.ended_at,
    }


def _events(swarm: Swarm) -> Lines:
    until = Subject.objects.filter(name=swarm.topic).values_list("last_seq", flat=True).first() or 0
    for start in range(0, until, CHUNK):
        page = Event.objects.filter(subject=swarm.topic, seq__gt=start, seq__lte=min(start + CHUNK, until))
        yield from map(dict, page.order_by("seq").values(*_EVENT))


def _each(rows: QuerySet[Row]) -> Iterator[Row]:
    """All rows in their order, few at a time in memory."""
    ids = list(rows.values_list("pk", flat=True))
    for start in range(0, len(ids), CHUNK):
        yield from rows.filter(pk__in=ids[start : start + CHUNK])


def _plans(swarm: Swarm) -> Lines:
    for plan in _each(swarm.plans.select_related("node", "created_by").order_by("version")):
        yield {
            "version": plan.version,
            "state": plan.state,
            "source": plan.source,
            "node": plan.node.key if plan.node else "",
            "because": plan.because,
            "document": plan.document,
            "faults": plan.faults,
            "warnings": plan.warnings,
            "by": _name(plan.created_by),
            "created_at": plan.created_at,
        }


def _transcripts(swarm: Swarm) -> Lines:
    executions = {
        row.session_id: row for row in Execution.objects.filter(swarm=swarm.pk).only("session", "kind").order_by()
    }
    tries = {
        session: (key, number)
        for session, key, number in Attempt.objects.filter(node__swarm=swarm, execution__isnull=False).values_list(
            "execution__session", "node__key", "number"
        )
    }
    for session in Session.objects.filter(subject=swarm.topic).order_by("created_at", "pk"):
        key, number = tries.get(session.pk, ("", None))
        execution = executions.get(session.pk)
        yield {
            "type": "session",
            "id": session.pk,
            "node": key,
            "attempt": number,
            "kind": execution.kind if execution else "",
            "agent": session.agent,
            "model": session.model,
            "title": session.title,
            "input_tokens": session.input_tokens,
            "output_tokens": session.output_tokens,
            "created_at": session.created_at,
            "ended_at": session.ended_at,
        }
        for message in session.messages.order_by("number"):
            yield from _message(session, message)


def _message(session: Session, message: Message) -> Lines:
    yield {
        "type": "message",
        "id": message.pk,
        "session": session.pk,
        "number": message.number,
        "role": message.role,
        "author": message.author,
        "model": message.model,
        "created_at": message.created_at,
    }
    index = -1
    while page := list(Part.objects.filter(message=message, index__gt=index).order_by("index")[:CHUNK]):
        for part in page:
            yield {
                "type": "part",
                "id": part.pk,
                "session": session.pk,
                "message": message.pk,
                "index": part.index,
                "kind": part.kind,
                "state": part.state,
                "text": part.text,
                "tool": part.tool,
                "input": part.input,
                "output": part.output,
                "usage": part.usage,
                "started_at": part.started_at,
                "ended_at": part.ended_at,
                "created_at": part.created_at,
                "updated_at": part.updated_at,
            }
        index = page[-1].index


def _diffs(swarm: Swarm) -> Lines:
    done = Attempt.objects.filter(node__swarm=swarm).exclude(commit="").select_related("node")
    for attempt in _each(done.order_by("created_at", "pk")):
        yield _diff(swarm, attempt.base_commit, attempt.commit, attempt.node.key, attempt.number)
    if swarm.integration_commit != swarm.base_commit:
        yield _diff(swarm, swarm.base_commit, swarm.integration_commit)


def _diff(swarm: Swarm, base: str, commit: str, node: str = "", attempt: int | None = None) -> dict[str, Any]:
    line = {"node": node, "attempt": attempt, "base": base, "commit": commit}
    try:
        return line | {"text": repos.diff(swarm.project, base, commit)}
    except GitError as error:
        return line | {"text": "", "missing": str(error)}


def _checks(swarm: Swarm) -> Lines:
    for run in _each(swarm.check_runs.select_related("attempt__node").order_by("created_at", "pk")):
        yield {
            "purpose": run.purpose,
            "node": run.attempt.node.key if run.attempt else "",
            "attempt": run.attempt.number if run.attempt else None,
            "commit": run.commit,
            "state": run.state,
            "because": run.because,
            "results": run.results,
            "created_at": run.created_at,
            "ended_at": run.ended_at,
        }


def _approvals(swarm: Swarm) -> Lines:
    asked = swarm.approvals.select_related("node", "requested_by", "decided_by").order_by("requested_at", "pk")
    for approval in _each(asked):
        yield {
            "kind": approval.kind,
            "title": approval.title,
            "node": approval.node.key if approval.node else "",
            "state": approval.state,
            "because": approval.because,
            "subject": approval.subject,
            "requested_by": _name(approval.requested_by),
            "requested_at": approval.requested_at,
            "decided_by": _name(approval.decided_by),
            "decided_at": approval.decided_at,
        }


MEMBERS: dict[str, Callable[[Swarm], Lines]] = {
    "events": _events,
    "plans": _plans,
    "transcripts": _transcripts,
    "diffs": _diffs,
    "checks": _checks,
    "approvals": _approvals,
}
"""What each member of the file is made of, but for artifacts; bundle.LINES says how its lines look."""
