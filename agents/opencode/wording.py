"""A report in words, for a terminal. Pure."""

from collections.abc import Iterator

from agents.opencode.report import Fit, Report, Sort

SHOWN = 20
"""Broken records that are named in words; all that are kept are in the report's facts."""


def lines(report: Report) -> Iterator[str]:
    """What was found, what became of it, what did not."""
    for source in report.sources:
        yield f"From {source}"
    yield f"{'':<12}{'new':>9}{'grown':>9}{'here already':>14}"
    for noun, tally in (("sessions", report.sessions), ("messages", report.messages), ("parts", report.parts)):
        yield f"{noun:<12}{tally.new:>9,}{tally.grown:>9,}{tally.same:>14,}"
    yield from _sorts("Kept as text, for want of a kind of its own", report.of(Fit.AS_TEXT))
    yield from _sorts("Not understood, kept as text with its JSON", report.of(Fit.UNKNOWN))
    yield from _sorts("Left out", report.of(Fit.LEFT_OUT))
    if report.not_taken:
        yield "Never taken: " + ", ".join(f"{what} {count:,}" for what, count in sorted(report.not_taken.items()))
    if report.skipped:
        yield f"Skipped, because broken: {report.skipped:,}"
        yield from (f"  {key}: {reason}" for key, reason in report.listed[:SHOWN])
        if report.skipped > SHOWN:
            yield f"  … and {report.skipped - SHOWN:,} more; --json names up to {len(report.listed):,} of them"
    yield _end(report)


def progress(report: Report) -> str:
    """How far it is."""
    counts = [each.new + each.grown + each.same for each in (report.sessions, report.messages, report.parts)]
    return "… {:,} sessions, {:,} messages, {:,} parts so far".format(*counts)


def _sorts(title: str, sorts: dict[str, Sort]) -> Iterator[str]:
    if sorts:
        yield f"{title}:"
        yield from (f"  {name} {sort.count:,} (e.g. {sort.example})" for name, sort in sorts.items())


def _end(report: Report) -> str:
    if report.changes_nothing:
        return "Nothing new: all of it is here already." if report.sessions.same else "Nothing found."
    return "Nothing was written: this was a dry run." if report.is_dry else "Done."
