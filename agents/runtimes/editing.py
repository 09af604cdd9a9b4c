"""Why a piece of text cannot be replaced in a file, said so that the next try fits. Pure."""

import re
from collections import Counter
from collections.abc import Iterator
from difflib import SequenceMatcher
from itertools import islice

SHOWN_LINES = 20
ALIKE = 0.6
"""From here on a line is shown as what may have been meant."""
MOST_PLACES = 10
"""Of so many places of a piece that occurs more than once the lines are told."""
LOOKED_AT = 5_000
"""Lines of a file that are compared one by one."""
NUMBERED = re.compile(r"^\s*\d+\t")


def fault_of(text: str, old: str) -> str:
    """What is wrong with a piece that shall be replaced; empty when it occurs exactly once."""
    if not old:
        return "The old text is empty; use write_file for a whole file."
    places = list(islice(_places(text, old), MOST_PLACES + 1))
    if len(places) == 1:
        return ""
    if places:
        at = ", ".join(str(text.count("\n", 0, place) + 1) for place in places[:MOST_PLACES])
        times = f"{len(places)} times, at lines {at}"
        if len(places) > MOST_PLACES:
            times = f"more than {MOST_PLACES} times, at lines {at} …"
        return f"The old text occurs {times}; give more of what stands around it."
    fault = "The old text does not occur."
    wanted = lines_of(old)
    if "\r" not in old and old.replace("\n", "\r\n") in text:
        return f"{fault} Lines of this file end with \\r\\n; give them so, in the old text and in the new one."
    if all(NUMBERED.match(line) for line in wanted if line.strip()):
        return f"{fault} It has line numbers, which are not in the file."
    lines = lines_of(text)
    if start := _but_for_spaces(lines, wanted):
        return f"{fault} It differs in white space only from these lines:\n{_shown(lines, start, len(wanted))}"
    if start := _nearest(lines, wanted):
        return f"{fault} What comes nearest:\n{_shown(lines, start, len(wanted))}"
    return f"{fault} Nothing in the file is like it; read the file again."


def lines_of(text: str) -> list[str]:
    """The lines as git and grep count them: others than newlines end none."""
    lines = [line.removesuffix("\r") for line in text.split("\n")]
    return lines if lines[-1] else lines[:-1]


def _places(text: str, old: str) -> Iterator[int]:
    """Where it begins; two places may have a part in common."""
    at = text.find(old)
    while at >= 0:
        yield at
        at = text.find(old, at + 1)


def _but_for_spaces(lines: list[str], wanted: list[str]) -> int:
    """The line, from 1, where the same text begins with other white space; 0: nowhere."""
    bare = ["".join(line.split()) for line in wanted]
    there = ["".join(line.split()) for line in lines]
    if not any(bare):
        return 0
    last = len(there) - len(bare)
    return next((at + 1 for at in range(last + 1) if there[at] == bare[0] and there[at : at + len(bare)] == bare), 0)


def _nearest(lines: list[str], wanted: list[str]) -> int:
    """The line, from 1, where the piece begins that has most lines in common, or the line most like one; 0: none."""
    bare = Counter(line.strip() for line in wanted if line.strip())
    scores = [1 if line.strip() in bare else 0 for line in lines]
    width = len(wanted)
    window = sum(scores[:width])
    best, best_at = window, 0
    for at in range(1, max(len(lines) - width, 0) + 1):
        window += (scores[at + width - 1] if at + width <= len(lines) else 0) - scores[at - 1]
        if window > best:
            best, best_at = window, at
    if best:
        return best_at + 1
    first = next((line.strip() for line in wanted if line.strip()), "")
    matcher = SequenceMatcher(b=first, autojunk=False)
    ratios = []
    for number, line in enumerate(lines[:LOOKED_AT], 1):
        matcher.set_seq1(line.strip())
        if matcher.real_quick_ratio() >= ALIKE and matcher.quick_ratio() >= ALIKE:
            ratios.append((matcher.ratio(), -number))
    ratio, place = max(ratios, default=(0.0, 0))
    return -place if ratio >= ALIKE else 0


def _shown(lines: list[str], start: int, count: int) -> str:
    """Some lines with their numbers, as read_file shows them."""
    until = start - 1 + min(count, SHOWN_LINES)
    return "\n".join(f"{number:>5}\t{line}" for number, line in enumerate(lines[start - 1 : until], start))
