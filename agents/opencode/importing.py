"""Taking sessions over from OpenCode: in batches, as often as one likes, or only counting."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import cast

from django.db import DataError

from agents.contracts import PastMessage, PastPart
from agents.opencode import mapping
from agents.opencode.found import Found, Store
from agents.opencode.mapping import PROGRAM, Mapped, Told
from agents.opencode.report import Report
from sessions import history
from sessions.history import Past, Taken
from sessions.transcript import RecordFault

BATCH = 200
BATCH_CHARS = 2_000_000
"""A transaction takes so many records, or characters; no more is held in memory."""
Named = tuple[str, PastMessage | PastPart]
"""A record, with its name in OpenCode."""


@dataclass(frozen=True)
class Choice:
    """Which sessions are wanted: all, those with these ids, those of a directory and the ones below it."""

    sessions: frozenset[str] = frozenset()
    directory: str = ""

    def takes(self, found: Found) -> bool:
        """Whether a session is wanted. One that cannot be read has no directory."""
        if self.sessions and found.id not in self.sessions:
            return False
        places = (found.data.get("directory"), found.data.get("worktree"))
        return not self.directory or any(self._is_below(place) for place in places if isinstance(place, str))

    def _is_below(self, place: str) -> bool:
        wanted = self.directory.rstrip("/\\")
        return place.rstrip("/\\") == wanted or place.startswith((f"{wanted}/", f"{wanted}\\"))


class Import:
    """One run into one subject (`project:<uuid>`), inside its team's schema."""

    def __init__(
        self,
        subject: str,
        choice: Choice | None = None,
        *,
        is_dry: bool = False,
        progress: Callable[[Report], None] = lambda report: None,
    ) -> None:
        """With `is_dry` nothing is written, only counted; `progress` is called after each batch."""
        self.report = Report(is_dry=is_dry)
        self.looked_at: set[str] = set()
        """Ids of sessions. Older copies of them in a second store are left alone."""
        self._subject, self._choice, self._progress = subject, choice or Choice(), progress

    def take(self, store: Store) -> None:
        """Import what is wanted of a store. Raises found.SourceFault; what came before it stays."""
        self.report.sources.append(store.name)
        for found in store.sessions():
            if found.id in self.looked_at or not self._choice.takes(found):
                continue
            self.looked_at.add(found.id)
            if found.fault:
                self.report.skip(found.id, f"{found.fault}; its messages are left out, too")
            else:
                self._take(store, found)
        for lost in store.lost():
            if self._choice == Choice() or lost.session in self.looked_at:
                self.report.skip(lost.id, lost.reason)
        for what, count in store.not_taken().items():
            self.report.not_taken[what] = self.report.not_taken.get(what, 0) + count
        store.finish()

    def _take(self, store: Store, found: Found) -> None:
        """One session."""
        told = mapping.session(self._subject, found)
        past = Past(told.id, self._subject, told.title, PROGRAM, told.created_at, told.updated_at, told.origin)
        is_new = is_changed = False
        for batch in _batches(self._records(store, found.id, told)):
            taken = self._put(past, batch)
            is_new, is_changed = is_new or taken.is_new, is_changed or bool(taken)
        self.report.sessions.count(1, int(is_new), int(is_changed and not is_new))

    def _records(self, store: Store, session: str, told: Told) -> Iterator[Named]:
        for found in store.messages(session):
            if found.fault:
                self.report.skip(found.id, f"{found.fault}; its parts are left out, too")
                continue
            mapped = mapping.message(self._subject, found, told)
            record = cast(PastMessage, mapped.records[0])
            yield from self._noted(found, mapped)
            for each in store.parts(session, found.id):
                if each.fault:
                    self.report.skip(each.id, each.fault)
                else:
                    yield from self._noted(each, mapping.part(self._subject, each, record))
            yield from self._noted(found, mapping.ending(self._subject, found, record))

    def _noted(self, found: Found, mapped: Mapped) -> Iterator[Named]:
        for note in mapped.notes:
            self.report.note(note)
        return ((found.id, record) for record in mapped.records)

    def _put(self, past: Past, batch: Sequence[Named]) -> Taken:
        """Take a batch over, or compare it. What is refused is looked for by halves, left out and reported."""
        records = [record for _, record in batch]
        try:
            taken = (history.compare if self.report.is_dry else history.take)(past, records)
        except (RecordFault, DataError) as error:
            if len(batch) > 1:
                half = len(batch) // 2
                return self._put(past, batch[:half]) | self._put(past, batch[half:])
            self.report.skip(batch[0][0] if batch else past.origin["key"], f"refused: {error}")
            return Taken()
        messages = sum(1 for record in records if isinstance(record, PastMessage))
        self.report.messages.count(messages, taken.messages)
        self.report.parts.count(len(records) - messages, taken.parts, taken.grown)
        self._progress(self.report)
        return taken


def _batches(records: Iterator[Named]) -> Iterator[list[Named]]:
    """At least one, so that an empty session is taken, too."""
    batch: list[Named] = []
    size = 0
    is_first = True
    for key, record in records:
        batch.append((key, record))
        size += _size(record)
        if len(batch) >= BATCH or size >= BATCH_CHARS:
            yield batch
            batch, size, is_first = [], 0, False
    if batch or is_first:
        yield batch


def _size(record: PastMessage | PastPart) -> int:
    return len(record.text) + len(record.output) + len(str(record.input)) if isinstance(record, PastPart) else 0
