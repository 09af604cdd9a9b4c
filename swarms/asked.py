"""What nodes ask of their agents by name, and the conditions that look at it: what can be wrong with both. Pure."""

import math
import re
from collections import Counter
from collections.abc import Iterator

from agents.contracts.assignment import AnswerAsked
from agents.contracts.plan import EdgeCondition, PlanNode

MOST_ANSWERS = 20
"""Of one node."""
VERDICTS = ("approve", "request_changes")
_ALWAYS = ("summary", "commit")
_TAKEN = (*_ALWAYS, "verdict")
_NAME = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
_NAME_LENGTH, _ASKS_LENGTH = 40, 200
_MOST_WORDS, _WORD_LENGTH = 20, 60
_MOST_VALUES, _VALUE_LENGTH = 20, 200


def outputs(node: PlanNode) -> tuple[str, ...]:
    """The names in a node's output when it has succeeded: what conditions can look at."""
    if node.kind == "noop":
        return ()
    verdict = ("verdict",) if node.role == "reviewer" else ()
    return (*(one.name for one in node.answers), *verdict, *_ALWAYS)


def answer_faults(node: PlanNode) -> Iterator[str]:
    """What is wrong with the answers that a node asks for."""
    if len(node.answers) > MOST_ANSWERS:
        yield f" asks for {len(node.answers)} answers; at most {MOST_ANSWERS} are allowed."
        return
    for name, times in Counter(one.name for one in node.answers).items():
        if times > 1:
            yield f" asks for the answer '{name}' {times} times; names are unique in a node."
    for one in node.answers:
        yield from (f": its answer '{one.name}' {fault}" for fault in _answer(one))


def _answer(asked: AnswerAsked) -> Iterator[str]:
    if len(asked.name) > _NAME_LENGTH or not _NAME.fullmatch(asked.name):
        yield f"needs a name of lower-case letters, digits and single underscores, at most {_NAME_LENGTH}."
    elif asked.name in _TAKEN:
        yield f"needs another name: {', '.join(_TAKEN)} are what nodes say anyway."
    if not asked.asks.strip() or len(asked.asks) > _ASKS_LENGTH or not asked.asks.isprintable():
        yield f"needs one line of 1 to {_ASKS_LENGTH} characters in asks: what its agent is asked."
    if asked.kind != "word":
        if asked.words:
            yield f"is of kind {asked.kind}: leave its words out, or make it of kind word."
    elif not 2 <= len(asked.words) <= _MOST_WORDS or len(set(asked.words)) < len(asked.words):
        yield f"needs 2 to {_MOST_WORDS} words, each once."
    else:
        for word in asked.words:
            if word != word.strip() or not 1 <= len(word) <= _WORD_LENGTH or not word.isprintable():
                yield f"has the word {word[:_WORD_LENGTH]!r}; 1 to {_WORD_LENGTH} characters, no space around."


def condition_faults(condition: EdgeCondition, parent: PlanNode | None) -> Iterator[str]:
    """What is wrong with a condition on a parent, as far as that is known."""
    at = f": its condition on '{condition.parent}'"
    if not condition.field.strip() or len(condition.field) > _VALUE_LENGTH:
        yield f"{at} needs a field of 1 to {_VALUE_LENGTH} characters, such as verdict."
    elif parent and condition.field not in outputs(parent):
        known = ", ".join(outputs(parent)) or "nothing, it is a milestone"
        asks = f", or have it asked in the answers of '{parent.key}'" if parent.kind == "agent" else ""
        yield f"{at} looks at '{condition.field}', which that node never says. It says {known}{asks}."
    asked = next((one for one in parent.answers if one.name == condition.field), None) if parent else None
    if condition.has_bounds:
        if asked is None or asked.kind != "number":
            yield f"{at} has bounds, and '{condition.field}' is no number: give values instead."
        elif condition.values:
            yield f"{at} has both values and bounds: leave the values out."
        else:
            yield from _bounds(at, condition)
    elif asked and asked.kind == "number":
        yield f"{at} looks at a number: give at_least, at_most or both, and no values."
    else:
        yield from _values(at, condition, _known(condition.field, asked))


def _known(field: str, asked: AnswerAsked | None) -> tuple[str, ...]:
    """All that can stand in a field; empty: anything."""
    if asked is None:
        return VERDICTS if field == "verdict" else ()
    return asked.words if asked.kind == "word" else ("yes", "no")


def _bounds(at: str, condition: EdgeCondition) -> Iterator[str]:
    bounds = [bound for bound in (condition.at_least, condition.at_most) if bound is not None]
    if not all(map(math.isfinite, bounds)):
        yield f"{at} has a bound that is no number."
    elif bounds[0] > bounds[-1]:
        yield f"{at} can never hold: at_least is more than at_most."


def _values(at: str, condition: EdgeCondition, known: tuple[str, ...]) -> Iterator[str]:
    if not 1 <= len(condition.values) <= _MOST_VALUES:
        yield f"{at} needs 1 to {_MOST_VALUES} values."
    elif max(map(len, condition.values)) > _VALUE_LENGTH:
        yield f"{at} has a value of more than {_VALUE_LENGTH} characters; shorten it."
    elif known and (strange := [value for value in condition.values if value not in known]):
        yield f"{at} waits for '{strange[0]}', and '{condition.field}' is one of {', '.join(known)}."
