"""Why a piece of text cannot be replaced in a file, said so that the next try fits. Pure."""

import re
from collections import Counter
from difflib import SequenceMatcher

SHOWN_LINES = 20
ALIKE = 0.6
"""From here on a line is shown as what may have been meant."""
LOOKED_AT = 5_000
"""Lines of a file that are compared one by one."""
NUMBERED = re.compile(r"^\s*\d+\t")


def fault_of(text: str, old: str) -> str:
    """What is wrong with a piece that shall be replaced; empty when it occurs exactly once."""
    if not old:
        return "The old text is empty; use write_file for a whole file."
    count = text.count(old)
    if count == 1:
        return ""
    if count > 1:
        return f"The old text occurs {count} times, at lines {_places(text, old)}; give more of what stands around it."
    fault = "The old text does not occur."
    wanted = old.splitlines()
    if all(NUMBERED.match(line) for line in wanted if line.strip()):
        return f"{fault} It has line numbers, which are not in the file."
    lines = text.splitlines()
    if start := _but_for_spaces(lines, wanted):
        return f"{fault} It differs in white space only from these lines:\n{_shown(lines, start, len(wanted))}"
    if start := _nearest(lines, wanted):
        return f"{fault} What comes nearest:\n{_shown(lines, start, len(wanted))}"
    return f"{fault} Nothing in the file is like it; read the file again."


def _places(text: str, old: str) -> str:
    found: list[str] = []
    at = text.find(old)
    while at >= 0 and len(found) < 10:
        found.append(str(text.count("\n", 0, at) + 1))
        at = text.find(old, at + len(old))
    return ", ".join(found) + (" …" if at >= 0 else "")


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
