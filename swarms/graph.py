"""A plan as a graph: its faults, its warnings, its critical path. Pure."""

import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from graphlib import CycleError, TopologicalSorter

from agents.contracts.plan import PlanNode, PlanProposal
from swarms.overlap import overlap
from swarms.vertex import NESTED, node_faults

LOOKED_AT = 10_000
"""Of a plan with more nodes, nothing else is looked at."""
MOST_WARNINGS = 100
MOST_COMPARED = 20_000
"""Pairs of globs that are compared; a plan with more is told so."""
_NAMED = 20
_WILD = re.compile(r"[*?]")

Dependencies = Mapping[str, Iterable[str]]


def faults(
    plan: PlanProposal,
    *,
    max_nodes: int,
    known: Collection[str] = (),
    nested: Collection[str] = (),
    depth: int = 0,
    max_depth: int = 2,
) -> list[str]:
    """Everything that makes a plan unusable, in words that its author can act on. Empty: the plan is good.

    `known` are keys of nodes that the swarm has already, `nested` those of its nested plans, however deep such may be
    from now on; `depth` is how deep the plan is nested.
    """
    found: list[str] = []
    if not plan.nodes:
        return ["The plan has no nodes."]
    if len(plan.nodes) > max_nodes:
        found.append(f"The plan has {len(plan.nodes)} nodes; at most {max_nodes} are allowed.")
    if len(plan.nodes) > LOOKED_AT:
        return found
    counts = Counter(node.key for node in plan.nodes)
    found += [f"The key '{key}' is used {n} times; keys are unique." for key, n in counts.items() if n > 1]
    nodes = {node.key: node for node in plan.nodes}
    for number, node in enumerate(plan.nodes, start=1):
        found += node_faults(node, number, nodes, is_known=node.key in known)
        if node.kind == "plan" and node.key not in nested and depth + node.key.count(NESTED) >= max_depth:
            found.append(f"Node '{node.key}' is a plan, and plans nest at most {max_depth} deep: detail it here.")
    wired = {node.key: [key for key in node.depends_on if key in counts] for node in plan.nodes}
    if cycle := find_cycle(wired):
        if len(cycle) > _NAMED:
            cycle = [*cycle[: _NAMED - 1], "…", cycle[-1]]
        found.append("These nodes wait for each other: " + " → ".join(cycle) + ". Remove one of the dependencies.")
    if all(node.depends_on for node in plan.nodes):
        found.append("No node can start: each one depends on another. At least one must have an empty depends_on.")
    return found


def find_cycle(depends_on: Dependencies) -> list[str]:
    """One cycle, as its keys with the first one repeated at the end; empty when there is none."""
    others = {key: set(parents) - {key} for key, parents in depends_on.items()}
    if len(ordered(others)) < len(others):
        try:
            TopologicalSorter(others).prepare()
        except CycleError as error:
            return list(reversed(error.args[1]))
    return []


def ordered(depends_on: Dependencies) -> list[str]:
    """The keys, parents before children; those on a cycle or behind one are left out.

    Not by graphlib, which takes five times as long: a plan may have thousands of nodes.
    """
    left: dict[str, int] = {}
    children: dict[str, list[str]] = {}
    for key, given in depends_on.items():
        parents = set(given)
        left[key] = len(parents)
        for parent in parents:
            children.setdefault(parent, []).append(key)
    order = [key for key, waits in left.items() if not waits]
    for key in order:
        for child in children.get(key, ()):
            left[child] -= 1
            if not left[child]:
                order.append(child)
    return order


def warnings(plan: PlanProposal) -> list[str]:
    """Pairs of nodes that may run at the same time and declare the same writes. Expects a plan without faults."""
    nodes = list(plan.nodes)
    wrote: dict[str, int] = {}
    for place, node in enumerate(nodes):
        for glob in node.writes:
            wrote[glob] = wrote.get(glob, 0) | 1 << place
    touching, all_compared = _touching(wrote)
    shared = {
        place: {glob: later for glob in node.writes if (later := touching[glob] & -2 << place)}
        for place, node in enumerate(nodes)
    }
    found = _pairs(nodes, {place: beside for place, beside in shared.items() if beside})
    if not all_compared:
        found.append("Too many writes to compare each with each: name folders instead of many patterns.")
    return found


def _pairs(nodes: list[PlanNode], shared: Mapping[int, Mapping[str, int]]) -> list[str]:
    """Warnings of those that share writes (by place: for each glob the later nodes, as bits) and are not ordered."""
    found: list[str] = []
    apart = _ordered({node.key: node.depends_on for node in nodes}, [node.key for node in nodes]) if shared else []
    for place, by_glob in shared.items():
        beside = {glob: places & ~apart[place] for glob, places in by_glob.items()}
        pairs = 0
        for places in beside.values():
            pairs |= places
        for other in _places(pairs):
            if len(found) == MOST_WARNINGS:
                return [*found, "There are more nodes that may run at the same time and write the same."]
            globs = ", ".join(glob for glob, places in beside.items() if places >> other & 1)
            one, two = nodes[place].key, nodes[other].key
            found.append(f"'{one}' and '{two}' may run at the same time and both write {globs}.")
    return found


def _touching(wrote: Mapping[str, int]) -> tuple[dict[str, int], bool]:
    """For each glob the nodes (as bits) that write something it touches; and whether all globs were compared.

    Two globs can only touch when the literal beginning of one begins the other's: the rest is not compared.
    """
    heads: dict[tuple[str, ...], list[str]] = {}
    for glob in wrote:
        heads.setdefault(_head(glob), []).append(glob)
    touching = dict(wrote)
    compared = 0
    for head, globs in heads.items():
        for length in range(len(head) + 1):
            for other in heads.get(head[:length], ()):
                for glob in globs:
                    if length == len(head) and other >= glob:
                        continue  # the same head: each pair once
                    compared += 1
                    if compared > MOST_COMPARED:
                        return touching, False
                    if overlap(glob, other):
                        touching[glob] |= wrote[other]
                        touching[other] |= wrote[glob]
    return touching, True


def _head(glob: str) -> tuple[str, ...]:
    """The segments of a glob before its first wildcard."""
    wild = _WILD.search(glob)
    literal = glob[: glob.rfind("/", 0, wild.start()) + 1] if wild else glob
    return tuple(part for part in literal.split("/") if part not in ("", "."))


def _ordered(depends_on: Dependencies, keys: list[str]) -> list[int]:
    """For each node the others (as bits) that run before or after it."""
    bit = {key: 1 << place for place, key in enumerate(keys)}
    order = ordered(depends_on)
    before, after = dict.fromkeys(keys, 0), dict.fromkeys(keys, 0)
    for key in order:
        for parent in depends_on[key]:
            before[key] |= before[parent] | bit[parent]
    for key in reversed(order):
        for parent in depends_on[key]:
            after[parent] |= after[key] | bit[key]
    return [before[key] | after[key] for key in keys]


def _places(bits: int) -> Iterator[int]:
    while bits:
        low = bits & -bits
        yield low.bit_length() - 1
        bits ^= low


def ancestors(depends_on: Dependencies) -> dict[str, frozenset[str]]:
    """For each key all that must be done before it. Raises CycleError."""
    known: dict[str, frozenset[str]] = {}
    for key in TopologicalSorter({key: set(parents) for key, parents in depends_on.items()}).static_order():
        parents = frozenset(depends_on.get(key, ()))
        known[key] = parents.union(*(known[parent] for parent in parents))
    return known


def path_lengths(depends_on: Dependencies) -> dict[str, int]:
    """For each key the number of nodes on the longest path from it to an end: the critical path goes first."""
    order = ordered(depends_on)
    length = dict.fromkeys(order, 1)
    for key in reversed(order):
        for parent in depends_on.get(key, ()):
            length[parent] = max(length[parent], length[key] + 1)
    return length
