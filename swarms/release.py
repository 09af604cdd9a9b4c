"""Which node may start when its parents end: one table of rules for Python and for the database. Pure.

A rule is a pair of comparisons over three counts of a node: `parents` (edges in), `left` (parents that have not ended)
and `ok` (edges that are satisfied). The text of a comparison means the same in Python and in SQL, so the procedure that
releases nodes (swarms.procedures) and the functions here cannot differ.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class FanIn(StrEnum):
    """Which ends of its parents let a node start."""

    ALL_SUCCESS = "all_success"
    ALL_DONE = "all_done"
    ANY_SUCCESS = "any_success"


class OnFailure(StrEnum):
    """What the failure of a node means for its swarm."""

    FAIL_SWARM = "fail_swarm"  # the swarm fails
    SKIP_DESCENDANTS = "skip_descendants"  # what cannot run without it is skipped; the swarm goes on
    CONTINUE = "continue"  # what depends on it runs as if it had succeeded
    ROLLBACK = "rollback"  # the swarm fails, and what succeeded is undone


@dataclass(frozen=True)
class Rule:
    """When a node may start, and when it never can."""

    holds: str
    never: str


FAN_IN: Mapping[str, Rule] = {
    FanIn.ALL_SUCCESS: Rule(holds="left <= 0 and ok >= parents", never="ok + left < parents"),
    FanIn.ALL_DONE: Rule(holds="left <= 0", never="parents < 0"),
    FanIn.ANY_SUCCESS: Rule(holds="ok >= 1 or parents <= 0", never="left <= 0 and ok < 1 and parents > 0"),
}
ON_FAILURE = sorted(OnFailure)
SWARM_STOPS = frozenset({OnFailure.FAIL_SWARM, OnFailure.ROLLBACK})
"""Policies under which a failed node stops its swarm; its edges then stay open, so that it can be tried again."""
SATISFIES = frozenset({OnFailure.CONTINUE})
"""Policies under which a failed node counts as if it had succeeded."""
_COMPILED = {
    (name, part): compile(getattr(rule, part), f"fan_in {name} {part}", "eval")
    for name, rule in FAN_IN.items()
    for part in ("holds", "never")
}


class Verdict(StrEnum):
    """What becomes of a node that waits."""

    GO = "go"
    WAIT = "wait"
    SKIP = "skip"


def verdict(fan_in: str, *, parents: int, left: int, ok: int) -> Verdict:
    """What becomes of a blocked node with these counts."""
    counts = {"parents": parents, "left": left, "ok": ok}
    if eval(_COMPILED[fan_in, "never"], {}, counts):
        return Verdict.SKIP
    return Verdict.GO if eval(_COMPILED[fan_in, "holds"], {}, counts) else Verdict.WAIT


def case_of(part: str, *, fan_in: str, parents: str, left: str, ok: str) -> str:
    """A rule's part as an SQL expression over the given columns, for every fan-in."""
    names = {"parents": parents, "left": left, "ok": ok}
    whens = " ".join(
        f"WHEN '{name}' THEN {' '.join(names.get(word, word) for word in getattr(rule, part).split())}"
        for name, rule in FAN_IN.items()
    )
    return f"(CASE {fan_in} {whens} END)"


def satisfied(state: str, on_failure: str, condition: Mapping[str, Any] | None, output: Mapping[str, Any]) -> bool:
    """Whether an edge whose parent ended in `state` is satisfied.

    A condition is an EdgeCondition without its parent. `met` says the same in SQL.
    """
    if state == "failed":
        return on_failure in SATISFIES
    if state != "succeeded":
        return False
    if not condition:
        return True
    said = output.get(condition["field"])
    least, most = condition.get("at_least"), condition.get("at_most")
    if least is None and most is None:
        holds = said in condition["values"]
    else:
        is_number = isinstance(said, int | float) and not isinstance(said, bool)
        holds = is_number and (least is None or said >= least) and (most is None or said <= most)
    return holds != bool(condition.get("negate"))


def met(condition: str, output: str) -> str:
    """Whether an edge is satisfied whose parent succeeded, as an SQL expression over two columns."""
    name = f"({condition} ->> 'field')"
    least, most = f"({condition} ->> 'at_least')::numeric", f"({condition} ->> 'at_most')::numeric"
    return f"""({condition} IS NULL OR coalesce(
      CASE WHEN coalesce({least}, {most}) IS NULL THEN ({condition} -> 'values') @> ({output} -> {name})
        WHEN jsonb_typeof({output} -> {name}) = 'number' THEN ({output} ->> {name})::numeric
          BETWEEN coalesce({least}, '-infinity') AND coalesce({most}, 'infinity') END, false)
      <> coalesce(({condition} ->> 'negate')::boolean, false))"""


@dataclass(frozen=True)
class Waiting:
    """A blocked node with its counts."""

    fan_in: str
    parents: int
    left: int
    ok: int


def spread(
    ended: Iterable[tuple[str, bool]], children: Mapping[str, Iterable[str]], waiting: Mapping[str, Waiting]
) -> tuple[list[str], list[str]]:
    """What follows when nodes end: keys that may start, and keys that never can, in topological order.

    `ended` pairs a key with whether its edges are satisfied; `children` are the keys that wait for a key.
    """
    go: list[str] = []
    skipped: list[str] = []
    counts = dict(waiting)
    wave = list(ended)
    while wave:
        touched: dict[str, Waiting] = {}
        for key, is_ok in wave:
            for child in children.get(key, ()):
                if child in go or child in skipped or child not in counts:
                    continue
                now = touched.get(child, counts[child])
                touched[child] = Waiting(now.fan_in, now.parents, now.left - 1, now.ok + is_ok)
        counts |= touched
        wave = []
        for child, now in sorted(touched.items()):
            match verdict(now.fan_in, parents=now.parents, left=now.left, ok=now.ok):
                case Verdict.GO:
                    go.append(child)
                case Verdict.SKIP:
                    skipped.append(child)
                    wave.append((child, False))
    return go, skipped
