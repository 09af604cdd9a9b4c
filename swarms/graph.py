"""A plan as a graph: its faults, its warnings, its critical path. Pure."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import PurePosixPath

from agents.contracts.plan import PlanNode, PlanProposal
from swarms.overlap import shared

ROLES = ("developer", "writer", "reviewer")
_KEY = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_KEY_LENGTH = 40
LOOKED_AT = 1000
"""Of a plan with more nodes, nothing else is looked at."""
_MOST_GLOBS, _GLOB_LENGTH = 50, 200
_LONGEST = {"title": 120, "instructions": 20_000}

Dependencies = Mapping[str, Iterable[str]]


def faults(plan: PlanProposal, *, max_nodes: int) -> list[str]:
    """Everything that makes a plan unusable, in words that its author can act on. Empty: the plan is good."""
    found: list[str] = []
    if not plan.nodes:
        return ["The plan has no nodes."]
    if len(plan.nodes) > max_nodes:
        found.append(f"The plan has {len(plan.nodes)} nodes; at most {max_nodes} are allowed.")
    if len(plan.nodes) > LOOKED_AT:
        return found
    counts = Counter(node.key for node in plan.nodes)
    found += [f"The key '{key}' is used {n} times; keys are unique." for key, n in counts.items() if n > 1]
    for number, node in enumerate(plan.nodes, start=1):
        found += _node_faults(node, number, counts.keys())
    known = {node.key: [key for key in node.depends_on if key in counts] for node in plan.nodes}
    if cycle := find_cycle(known):
        found.append("These nodes wait for each other: " + " → ".join(cycle) + ". Remove one of the dependencies.")
    if all(node.depends_on for node in plan.nodes):
        found.append("No node can start: each one depends on another. At least one must have an empty depends_on.")
    return found


def _node_faults(node: PlanNode, number: int, keys: Iterable[str]) -> list[str]:
    found: list[str] = []
    name = f"Node '{node.key}'" if node.key else f"Node {number}"
    if not node.key:
        found.append(f"{name} has an empty key.")
    elif not _KEY.fullmatch(node.key) or len(node.key) > _KEY_LENGTH:
        found.append(f"{name}: a key has lower-case letters, digits and single hyphens, at most {_KEY_LENGTH}.")
    if not node.title.strip():
        found.append(f"{name} has an empty title.")
    if node.kind != "noop" and not node.instructions.strip():
        found.append(f"{name} has empty instructions.")
    for field, most in _LONGEST.items():
        if len(getattr(node, field)) > most:
            found.append(f"{name}: its {field} has more than {most} characters; shorten it.")
    if len(node.writes) > _MOST_GLOBS:
        return [*found, f"{name} declares more than {_MOST_GLOBS} writes: name folders, such as src/**."]
    if node.kind == "agent" and node.role not in ROLES:
        found.append(f"{name} has the unknown role '{node.role}'; roles are {', '.join(ROLES)}.")
    found += [f"{name} depends on '{key}', which is no node of the plan." for key in node.depends_on if key not in keys]
    if node.key in node.depends_on:
        found.append(f"{name} depends on itself.")
    if node.role == "reviewer" and node.writes:
        found.append(f"{name} is a review: it may write nothing, so its writes must be empty.")
    if node.role in ("developer", "writer") and not node.writes:
        found.append(f"{name} declares no writes: name the globs of the paths that it may change.")
    found += [f"{name} writes '{glob}': {why}" for glob in node.writes if (why := _path_fault(glob))]
    return found


def _path_fault(glob: str) -> str:
    if not glob.strip():
        return "the path is empty."
    if len(glob) > _GLOB_LENGTH:
        return f"the path has more than {_GLOB_LENGTH} characters."
    path = PurePosixPath(glob)
    if path.is_absolute() or re.match(r"^[A-Za-z]:|^~|^\\", glob):
        return "the path is absolute; paths are relative to the repository's root."
    if ".." in path.parts:
        return "the path leaves the repository."
    if ".git" in path.parts:
        return "git's own files are out of bounds."
    return ""


def find_cycle(depends_on: Dependencies) -> list[str]:
    """One cycle, as its keys with the first one repeated at the end; empty when there is none."""
    try:
        TopologicalSorter({key: set(parents) - {key} for key, parents in depends_on.items()}).prepare()
    except CycleError as error:
        return list(reversed(error.args[1]))
    return []


def warnings(plan: PlanProposal) -> list[str]:
    """Pairs of nodes that may run at the same time and declare the same writes. Expects a plan without faults."""
    before = ancestors({node.key: node.depends_on for node in plan.nodes})
    found = []
    nodes = list(plan.nodes)
    for place, one in enumerate(nodes):
        for other in nodes[place + 1 :]:
            if one.key in before[other.key] or other.key in before[one.key]:
                continue
            if globs := shared(one.writes, other.writes):
                found.append(
                    f"'{one.key}' and '{other.key}' may run at the same time and both write {', '.join(globs)}."
                )
    return found


def ancestors(depends_on: Dependencies) -> dict[str, frozenset[str]]:
    """For each key all that must be done before it. Expects no cycle."""
    known: dict[str, frozenset[str]] = {}
    for key in TopologicalSorter({key: set(parents) for key, parents in depends_on.items()}).static_order():
        parents = frozenset(depends_on.get(key, ()))
        known[key] = parents.union(*(known[parent] for parent in parents))
    return known


def path_lengths(depends_on: Dependencies) -> dict[str, int]:
    """For each key the number of nodes on the longest path from it to an end: the critical path goes first."""
    order = list(TopologicalSorter({key: set(parents) for key, parents in depends_on.items()}).static_order())
    length = dict.fromkeys(order, 1)
    for key in reversed(order):
        for parent in depends_on.get(key, ()):
            length[parent] = max(length[parent], length[key] + 1)
    return length
