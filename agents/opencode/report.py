"""What an import found and did, counted. Pure."""

from dataclasses import dataclass, field
from typing import Any

from agents.opencode.mapping import Fit, Note

MOST_LISTED = 1000
"""Broken records that are named; the others are counted."""


@dataclass
class Tally:
    """Records of one noun."""

    new: int = 0
    grown: int = 0
    """Here already, and changed."""
    same: int = 0

    def count(self, total: int, new: int, grown: int = 0) -> None:
        """So many records more, of which so many are new, or have grown."""
        self.new += new
        self.grown += grown
        self.same += total - new - grown


@dataclass
class Sort:
    """Records of one type."""

    count: int = 0
    example: str = ""


@dataclass
class Report:
    """Of one run over one or several stores."""

    is_dry: bool = False
    sources: list[str] = field(default_factory=list)
    sessions: Tally = field(default_factory=Tally)
    messages: Tally = field(default_factory=Tally)
    parts: Tally = field(default_factory=Tally)
    sorts: dict[Fit, dict[str, Sort]] = field(default_factory=dict)
    not_taken: dict[str, int] = field(default_factory=dict)
    skipped: int = 0
    listed: list[tuple[str, str]] = field(default_factory=list)
    """Of those that were skipped: id and reason, up to MOST_LISTED."""

    @property
    def changes_nothing(self) -> bool:
        """Whether everything was here already."""
        return not any(each.new or each.grown for each in (self.sessions, self.messages, self.parts))

    def note(self, note: Note) -> None:
        """Count what does not fit as it is."""
        sorts = self.sorts.setdefault(note.fit, {})
        sorts.setdefault(printable(note.type, 80), Sort(example=printable(note.id))).count += 1

    def skip(self, key: str, reason: str) -> None:
        """A record that could not be taken."""
        self.skipped += 1
        if len(self.listed) < MOST_LISTED:
            self.listed.append((printable(key), printable(reason, 300)))

    def of(self, fit: Fit) -> dict[str, Sort]:
        """What was noted so, the most frequent first."""
        found = self.sorts.get(fit, {})
        return dict(sorted(found.items(), key=lambda each: (-each[1].count, each[0])))

    def facts(self) -> dict[str, Any]:
        """For programs."""

        def sorts(fit: Fit) -> dict[str, Any]:
            return {name: {"count": sort.count, "example": sort.example} for name, sort in self.of(fit).items()}

        tallies = {"sessions": self.sessions, "messages": self.messages, "parts": self.parts}
        return {
            "dry_run": self.is_dry,
            "sources": self.sources,
            **{noun: {"new": each.new, "grown": each.grown, "same": each.same} for noun, each in tallies.items()},
            "kept_as_text": sorts(Fit.AS_TEXT),
            "not_understood": sorts(Fit.UNKNOWN),
            "left_out": sorts(Fit.LEFT_OUT),
            "not_taken": self.not_taken,
            "skipped": {"count": self.skipped, "records": [{"id": key, "reason": why} for key, why in self.listed]},
            "changes_nothing": self.changes_nothing,
        }


def printable(text: str, most: int = 120) -> str:
    """A name from elsewhere, fit for a terminal."""
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text[:most])
