"""Plans for the machine of rules: with every kind of node and every rule, and what may be changed about them."""

from collections.abc import Sequence
from typing import TypeVar

from hypothesis import strategies as st

from agents.contracts import AnswerAsked, PlanNode, PlanProposal
from agents.contracts.plan import EdgeCondition
from swarms.release import FAN_IN, ON_FAILURE

T = TypeVar("T")
KEYS = "abcde"
PLACES = st.integers(0, 11)
"""Which of several, for `pick`: what is drawn must not depend on what is there, which depends on the time."""
ASKED = (
    AnswerAsked(name="sure", asks="Is it so?"),
    AnswerAsked(name="found", kind="number", asks="How many are there?"),
)
SHARED = "shared.txt"
"""Several may write it: then their merges conflict."""


def pick(some: Sequence[T], which: int) -> T | None:
    """One of these; None when there are none."""
    return some[which % len(some)] if some else None


@st.composite
def plans(draw: st.DrawFn) -> PlanProposal:
    """Reviews, milestones, work that is committed, and parts that are planned later."""
    nodes: list[PlanNode] = []
    for place, key in enumerate(KEYS):
        before = sorted(draw(st.sets(st.sampled_from(KEYS[:place]), max_size=2))) if place else []
        node = _node(key, draw(st.sampled_from(["review", "review", "noop", "work", "plan"])), *before)
        rules = {
            "risk": draw(st.sampled_from(["low", "low", "high"])),
            "fan_in": draw(st.sampled_from(sorted(FAN_IN))) if before else "all_success",
            "on_failure": draw(st.sampled_from([*ON_FAILURE, "continue", "skip_descendants"])),
        }
        if node.kind == "agent" and draw(st.booleans()):
            rules["compensate"] = f"take {key} back"
        if node.role == "developer" and draw(st.booleans()):
            rules["writes"] = (SHARED,)
        if node.kind == "agent" and draw(st.booleans()):
            rules["answers"] = ASKED
        found = [draw(st.none() | st.sampled_from(looks)) for looks in map(_looks, nodes) if looks]
        rules["when"] = tuple(one for one in found if one and one.parent in before)
        nodes.append(node.model_copy(update=rules))
    return PlanProposal(summary="random", nodes=tuple(nodes))


def _looks(parent: PlanNode) -> list[EdgeCondition]:
    """Conditions that there may be on a node; empty: it says nothing that differs."""
    words: list[dict[str, object]] = []
    if parent.role == "reviewer":
        words += [{"field": "verdict", "values": ("approve",), "negate": negate} for negate in (False, True)]
    if parent.answers:
        words += [{"field": "sure", "values": ("yes",)}, {"field": "found", "at_least": 2, "at_most": 3}]
    return [EdgeCondition.model_validate({"parent": parent.key} | one) for one in words]


def _node(key: str, what: str, *before: str) -> PlanNode:
    kind, role = {"noop": ("noop", ""), "plan": ("plan", ""), "work": ("agent", "developer")}.get(
        what, ("agent", "reviewer")
    )
    return PlanNode(
        key=key,
        title=key,
        kind=kind,  # type: ignore[arg-type]
        role=role,
        instructions="" if kind == "noop" else key,
        depends_on=before,
        writes=(f"{key}.txt",) if what == "work" else (),
    )


PART = PlanProposal(summary="a part", nodes=(_node("x", "review"), _node("y", "noop", "x")))
"""What a node of kind plan is detailed into when nobody chooses."""


def parts() -> st.SearchStrategy[PlanProposal]:
    """Plans of a node's details; the last one has a fault, the one before is as deep as plans may nest, or deeper."""
    nodes: list[tuple[PlanNode, ...]] = [
        PART.nodes,
        (_node("x", "noop"),),
        (_node("x", "work"), _node("y", "review")),
        (_node("x", "plan"), _node("y", "noop", "x")),
        (_node("x", "noop", "nobody"),),
    ]
    return st.sampled_from([PlanProposal(summary="a part", nodes=some) for some in nodes])


def changed(plan: PlanProposal, key: str, what: str) -> PlanProposal:
    """The plan with one node dropped, given another title, or one milestone more."""
    nodes = {node.key: node for node in plan.nodes}
    if what == "drop":
        nodes.pop(key, None)
        nodes = {
            one: node.model_copy(
                update={
                    "depends_on": tuple(parent for parent in node.depends_on if parent != key),
                    "when": tuple(look for look in node.when if look.parent != key),
                }
            )
            for one, node in nodes.items()
        }
    elif what == "reword" and key in nodes:
        nodes[key] = nodes[key].model_copy(update={"title": "another title"})
    else:
        fresh = f"x{len(nodes)}{key}"
        nodes[fresh] = _node(fresh, "noop")
    return plan.model_copy(update={"nodes": tuple(nodes.values())})
