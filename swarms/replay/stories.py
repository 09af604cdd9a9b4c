"""Where the events of a replay come from: a swarm of this installation, or an archive. Read alike."""

import json
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from django.db import connection

from swarms.models import Archive, Plan, Swarm
from swarms.replay.fold import KINDS
from swarms.replay.scene import Told

PAGE = 1000
"""Events that are read at a time."""
WINDOW = 400
"""Events among which the last ones of some kinds are looked for first; then among four times as many, and so on."""

_LIVE = "SELECT seq, kind, payload, at, actor, id, cause, trace FROM agent_sessions_event WHERE subject = %(of)s"
_KEPT = """
SELECT number AS seq, body ->> 'kind' AS kind, body -> 'payload' AS payload, (body ->> 'at')::timestamptz AS at,
  body ->> 'actor' AS actor, (body ->> 'id')::uuid AS id, (body ->> 'cause')::uuid AS cause, body ->> 'trace' AS trace
FROM swarms_archiverecord WHERE archive_id = %(of)s AND member = 'events'
"""
_TOLD = """
SELECT seq, kind, payload::text, at, actor{more} FROM ({source}) AS e WHERE {where} ORDER BY seq {way} LIMIT %(most)s
"""


class Mark(NamedTuple):
    """What one can jump to: events of these kinds, with more that must hold of them in SQL."""

    word: str
    kinds: tuple[str, ...]
    and_if: str = "true"


_BAD = "'failed', 'timed_out', 'stalled', 'lost'"
MARKS: dict[str, Mark] = {
    "decision": Mark("decision", ("decision.made",)),
    "approval": Mark("approval", ("approval.asked", "approval.decided")),
    "merge": Mark("merge", ("node.merged", "swarm.landed", "swarm.rolled_back")),
    "failure": Mark(
        "failure",
        ("node.moved", "nodes.moved", "attempt.moved", "swarm.moved", "merge.conflicted", "checks.finished"),
        f"""CASE kind
          WHEN 'merge.conflicted' THEN true
          WHEN 'checks.finished' THEN payload ->> 'passed' <> payload ->> 'total'
          WHEN 'nodes.moved' THEN payload @? '$.moves[*].after ? (@ == "failed")'
          ELSE payload ->> 'after' IN ({_BAD}) END""",
    ),
}


@dataclass(frozen=True)
class Story:
    """The events of one swarm, wherever they are kept."""

    key: str
    """`swarm:<uuid>` or `archive:<uuid>`."""
    of: Any
    source: str
    document: Callable[[int], dict[str, Any] | None]
    """The document of a version of the plan."""
    is_archive: bool = False
    """It came as a file: there is no repository, and people are known by their names alone."""

    def last(self) -> int:
        """The number of the newest event; 0: there is none."""
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT coalesce(max(seq), 0) FROM ({self.source}) AS e", {"of": self.of})
            return int(cursor.fetchone()[0])

    def told(self, after: int, until: int, read: Collection[str] = KINDS) -> Iterator[Told]:
        """Events after one number until another, in order. Payloads only of the kinds that are to be read."""
        while after < until:
            page = self._rows("seq > %(after)s AND seq <= %(until)s", PAGE, read, after=after, until=until)
            yield from page
            if len(page) < PAGE:
                return
            after = page[-1].seq

    def at(self, seq: int) -> Told | None:
        """One event, whole."""
        found = self._rows("seq = %(seq)s", 1, None, seq=seq)
        return found[0] if found else None

    def cause(self, event: Told) -> Told | None:
        """The event that one follows from, whole; None when it is none of this story."""
        if event.cause is None:
            return None
        found = self._rows("id = %(id)s AND seq < %(seq)s", 1, None, "DESC", id=event.cause, seq=event.seq)
        return found[0] if found else None

    def before(self, until: int, count: int, kinds: Collection[str]) -> list[Told]:
        """The newest events of some kinds until a number, the newest first."""
        # From window to window: all at once, the database might read and sort all that ever happened.
        where, found = "seq > %(after)s AND seq <= %(until)s AND kind = ANY (%(kinds)s)", list[Told]()
        span = WINDOW
        while until > 0 and len(found) < count:
            words = {"after": until - span, "until": until, "kinds": list(kinds)}
            found += self._rows(where, count - len(found), None, "DESC", **words)
            until, span = until - span, 4 * span
        return found

    def find(self, mark: Mark, at: int, *, backwards: bool = False) -> int | None:
        """The next event of a kind after a number, or the last one before it."""
        where = f"seq {'<' if backwards else '>'} %(at)s AND kind = ANY (%(kinds)s) AND {mark.and_if}"
        found = self._rows(where, 1, (), "DESC" if backwards else "", at=at, kinds=list(mark.kinds))
        return found[0].seq if found else None

    def moments(self, after: int, count: int) -> list[tuple[int, datetime]]:
        """Numbers and times of the next events."""
        return [(event.seq, event.at) for event in self._rows("seq > %(after)s", count, (), after=after)]

    def _rows(self, where: str, most: int, read: Collection[str] | None, way: str = "", **words: Any) -> list[Told]:
        # Ids are made of text one by one: only for events that are wanted whole.
        more = ", id, cause, trace" if read is None else ""
        sql = _TOLD.format(source=self.source, where=where, way=way, more=more)
        with connection.cursor() as cursor:
            cursor.execute(sql, {"of": self.of, "most": most} | words)
            rows = cursor.fetchall()
        return [
            Told(seq, kind, json.loads(payload) if read is None or kind in read else {}, *rest)
            for seq, kind, payload, *rest in rows
        ]


def of_swarm(swarm: Swarm) -> Story:
    """The story of a swarm of this team."""

    def document(version: int) -> dict[str, Any] | None:
        return Plan.objects.filter(swarm=swarm, version=version).values_list("document", flat=True).first()

    return Story(swarm.topic, swarm.topic, _LIVE, document)


def of_archive(archive: Archive) -> Story:
    """The story of an archive."""

    def document(version: int) -> dict[str, Any] | None:
        found = archive.records.filter(member="plans", key=str(version)).values_list("body", flat=True).first()
        return found["document"] if found else None

    return Story(f"archive:{archive.pk}", archive.pk, _KEPT, document, is_archive=True)


def known(subject: UUID) -> Story | None:
    """The story of a swarm or of an archive of this team, by its id."""
    if swarm := Swarm.objects.filter(pk=subject).first():
        return of_swarm(swarm)
    archive = Archive.objects.filter(pk=subject).first()
    return of_archive(archive) if archive else None
