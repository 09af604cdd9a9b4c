"""What can be wrong with one node of a plan, in words that name the field and the remedy. Pure."""

import math
import re
from collections.abc import Iterator, Mapping

from agents.contracts.plan import PlanNode
from swarms.asked import answer_faults, condition_faults

ROLES = ("developer", "writer", "reviewer")
KEY_LENGTH = 40
NESTED = "--"
"""Stands in a key between the node and what it was detailed into; nobody else may use it."""
MOST_MINUTES = 1440
MOST_PRIORITY = 100
"""Of plans and of people, up and down from 0: coordinators and checks go before all of them."""
MOST_DOLLARS = 1_000_000_000
_KEY = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_ABSOLUTE = re.compile(r"[A-Za-z]:|[~/\\]")
_MOST_GLOBS, _GLOB_LENGTH = 50, 200
_LONGEST = {"title": 120, "instructions": 20_000, "compensate": 20_000}
_ONLY_AGENTS = ("role", "writes", "checks", "answers", "compensate")
"""Fields that say something only where an agent works."""


def node_faults(node: PlanNode, number: int, nodes: Mapping[str, PlanNode], *, is_known: bool = False) -> list[str]:
    """The faults of the `number`-th node; `nodes` are those of its plan by key; a known one has got its key already."""
    name = f"Node '{node.key}'" if node.key else f"Node {number}"
    return [f"{name}{fault}" for fault in _faults(node, nodes, is_known)]


def _faults(node: PlanNode, nodes: Mapping[str, PlanNode], is_known: bool) -> Iterator[str]:
    if not node.key:
        yield " has an empty key."
    elif not is_known and (len(node.key) > KEY_LENGTH or not _KEY.fullmatch(node.key)):
        yield f": a key has lower-case letters, digits and single hyphens, at most {KEY_LENGTH}."
    if not node.title.strip():
        yield " has an empty title."
    if node.kind != "noop" and not node.instructions.strip():
        yield " has empty instructions."
    for field, most in _LONGEST.items():
        if len(getattr(node, field)) > most:
            yield f": its {field} has more than {most} characters; shorten it."
    if node.kind == "agent":
        yield from _work(node)
    else:
        for field in _ONLY_AGENTS:
            if getattr(node, field):
                yield f" is a {node.kind}, and no agent works on it: its {field} must be empty."
    yield from _numbers(node)
    yield from _edges(node, nodes)


def _work(node: PlanNode) -> Iterator[str]:
    if node.role not in ROLES:
        yield f" has the unknown role '{node.role}'; roles are {', '.join(ROLES)}."
    if node.role == "reviewer" and node.writes:
        yield ": a review may write nothing, so its writes must be empty."
    if node.role in ("developer", "writer") and not node.writes:
        yield " declares no writes: name the globs of the paths that it may change."
    yield from answer_faults(node)
    if len(node.writes) > _MOST_GLOBS:
        yield f" declares more than {_MOST_GLOBS} writes: name folders, such as src/**."
        return
    for glob in node.writes:
        if why := path_fault(glob):
            yield f" writes '{glob}': {why}"


def _numbers(node: PlanNode) -> Iterator[str]:
    if node.minutes is not None and not 1 <= node.minutes <= MOST_MINUTES:
        yield f": its minutes are {node.minutes}; they must be from 1 to {MOST_MINUTES}, or left out."
    if abs(node.priority) > MOST_PRIORITY:
        yield f": its priority is {node.priority}; it must be from -{MOST_PRIORITY} to {MOST_PRIORITY}."
    if node.budget_usd is not None and not (math.isfinite(node.budget_usd) and 0 <= node.budget_usd <= MOST_DOLLARS):
        yield f": its budget_usd is {node.budget_usd}; it must be from 0 to {MOST_DOLLARS}, or left out."


def _edges(node: PlanNode, nodes: Mapping[str, PlanNode]) -> Iterator[str]:
    for key in node.depends_on:
        if key not in nodes:
            yield f" depends on '{key}', which is no node of the plan."
    if node.key in node.depends_on:
        yield " depends on itself."
    if node.fan_in != "all_success" and not node.depends_on:
        yield f" has the fan_in {node.fan_in} and depends on nothing: leave fan_in out, or fill depends_on."
    conditional: set[str] = set()
    for condition in node.when:
        if condition.parent not in node.depends_on:
            yield f" has a condition on '{condition.parent}': add it to depends_on, or remove it from when."
        if condition.parent in conditional:
            yield f" has two conditions on '{condition.parent}': keep one in when."
        conditional.add(condition.parent)
        yield from condition_faults(condition, nodes.get(condition.parent))


def path_fault(glob: str) -> str:
    """What is wrong with a glob that a node may change; empty: nothing."""
    if not glob.strip():
        return "the path is empty."
    if len(glob) > _GLOB_LENGTH:
        return f"the path has more than {_GLOB_LENGTH} characters."
    if _ABSOLUTE.match(glob):
        return "the path is absolute; paths are relative to the repository's root."
    parts = glob.split("/")
    if ".." in parts:
        return "the path leaves the repository."
    if ".git" in parts:
        return "git's own files are out of bounds."
    return ""
