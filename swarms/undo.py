"""In which order what succeeded is undone: the last first. Pure."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from graphlib import TopologicalSorter

KEY_LENGTH = 40


@dataclass(frozen=True)
class Done:
    """A node that succeeded, and what there is to undo about it."""

    key: str
    compensates: bool = False
    """It names a way to undo its effects outside git."""
    merged: int | None = None
    """Its place in the order of merges; None: nothing of it was merged, or the target branch never saw it."""


@dataclass(frozen=True)
class Step:
    """A node that undoes another one."""

    key: str
    kind: str
    """undo: an agent takes back effects outside git; revert: the control plane takes back a merge."""
    undoes: str
    after: tuple[str, ...] = ()
    """Keys of the steps that must have succeeded before."""


@dataclass(frozen=True)
class Standing:
    """How far a rollback has come: keys of its steps."""

    done: tuple[str, ...] = ()
    on_branch: tuple[str, ...] = ()
    """Merges that are taken back on the swarm's branch, which is not on the target branch yet."""
    left: tuple[str, ...] = ()

    def __str__(self) -> str:
        told = {"done": self.done, "done on its branch, not on the target branch": self.on_branch, "left": self.left}
        return "; ".join(f"{what}: {', '.join(keys)}" for what, keys in told.items() if keys)


def steps(done: Sequence[Done], depends_on: Mapping[str, Iterable[str]], taken: Collection[str] = ()) -> list[Step]:
    """The steps that undo everything, each once, in an order in which they may be done.

    Effects outside git go in reverse topological order: a node's are undone when those of all that depended on it are,
    directly or over nodes that have none. Merges go in the reverse order of merging, each after its own node's effects:
    one merge may build upon another one that its node did not depend on. `taken` are keys that are in use.
    """
    used = set(taken)
    undo = {one.key: _name("undo", one.key, used) for one in done if one.compensates}
    later = _dependents(undo.keys(), depends_on)
    found = [
        Step(undo[key], "undo", key, tuple(sorted(undo[other] for other in later[key])))
        for key in _last_first(undo.keys(), later)
    ]
    before: tuple[str, ...] = ()
    merged = [(one.merged, one.key) for one in done if one.merged is not None]
    for _, key in sorted(merged, reverse=True):
        name = _name("revert", key, used)
        own = (undo[key],) if key in undo else ()
        found.append(Step(name, "revert", key, (*before, *own)))
        before = (name,)
    return found


def _name(word: str, key: str, used: set[str]) -> str:
    """A free key for the node that undoes another one."""
    name, number = f"{word}-{key}"[:KEY_LENGTH].rstrip("-"), 1
    while name in used:
        number += 1
        end = f"-{number}"
        name = f"{word}-{key}"[: KEY_LENGTH - len(end)].rstrip("-") + end
    used.add(name)
    return name


def _dependents(chosen: Collection[str], depends_on: Mapping[str, Iterable[str]]) -> dict[str, frozenset[str]]:
    """For each key the nearest chosen ones that depend on it, over any number of others. Expects no cycle."""
    order = list(TopologicalSorter({key: set(parents) for key, parents in depends_on.items()}).static_order())
    near: dict[str, set[str]] = {key: set() for key in (*chosen, *order)}
    for key in reversed(order):
        seen = {key} if key in chosen else near[key]
        for parent in depends_on.get(key, ()):
            near[parent] |= seen
    return {key: frozenset(found) for key, found in near.items()}


def _last_first(chosen: Collection[str], later: Mapping[str, frozenset[str]]) -> list[str]:
    return list(TopologicalSorter({key: sorted(later[key]) for key in sorted(chosen)}).static_order())
