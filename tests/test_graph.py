"""Faults and warnings of plans, and the critical path."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.contracts import PlanNode, PlanProposal
from swarms import graph


def node(key: str, *after: str, writes: tuple[str, ...] = ("a.py",), role: str = "developer") -> PlanNode:
    return PlanNode(key=key, title=f"do {key}", role=role, instructions="x", depends_on=after, writes=writes)


def plan(*nodes: PlanNode) -> PlanProposal:
    return PlanProposal(summary="s", nodes=nodes)


def test_a_good_plan_has_no_faults() -> None:
    good = plan(node("a"), node("b", "a"), node("review", "b", writes=(), role="reviewer"))
    assert graph.faults(good, max_nodes=10) == []


@pytest.mark.parametrize(
    ("bad", "word"),
    [
        (plan(), "no nodes"),
        (plan(node("a", "b"), node("b", "a")), "wait for each other: "),
        (plan(node("a"), node("b", "c"), node("c", "b")), "wait for each other"),
        (plan(node("a"), node("b", "nobody")), "'nobody', which is no node"),
        (plan(node("")), "empty key"),
        (plan(node("a"), node("a")), "used 2 times"),
        (plan(node("A b")), "lower-case"),
        (plan(node("a", "b"), node("b", "a")), "No node can start"),
        (plan(node("a", "a"), node("b")), "depends on itself"),
        (plan(node("a", role="wizard")), "unknown role 'wizard'"),
        (plan(node("a", writes=("/etc/passwd",))), "absolute"),
        (plan(node("a", writes=("C:\\x",))), "absolute"),
        (plan(node("a", writes=("../x",))), "leaves the repository"),
        (plan(node("a", writes=("x/../../y",))), "leaves the repository"),
        (plan(node("a", writes=(".git/hooks/x",))), "git's own files"),
        (plan(node("a", writes=())), "declares no writes"),
        (plan(node("a", role="reviewer")), "may write nothing"),
        (plan(*(node(f"n{i}") for i in range(11))), "at most 10"),
    ],
)
def test_each_fault_is_named(bad: PlanProposal, word: str) -> None:
    found = graph.faults(bad, max_nodes=10)
    assert any(word in fault for fault in found), found


def test_all_faults_are_named_at_once() -> None:
    bad = plan(node("a", "ghost"), node("b", role="wizard"), node("b", writes=("/abs",)))
    assert len(graph.faults(bad, max_nodes=10)) == 4


def test_nodes_that_may_run_together_and_write_the_same_are_a_warning() -> None:
    parallel = plan(node("a", writes=("src/**",)), node("b", writes=("src/x.py",)), node("c", "a", "b"))
    assert graph.warnings(parallel) == ["'a' and 'b' may run at the same time and both write src/**."]
    assert graph.warnings(plan(node("a"), node("b", "a"))) == []


edges = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=30)


@given(edges)
def test_a_cycle_is_found_exactly_when_there_is_one(pairs: list[tuple[int, int]]) -> None:
    depends = {str(key): [str(parent) for child, parent in pairs if child == key] for key in range(10)}
    cycle = graph.find_cycle(depends)
    if cycle:
        assert cycle[0] == cycle[-1]
        assert all(one in depends[other] or other in depends[one] for one, other in pairwise(cycle))
    without_loops = {key: [p for p in parents if p != key] for key, parents in depends.items()}
    reach = {key: set(parents) for key, parents in without_loops.items()}
    for _ in range(10):
        reach = {key: seen.union(*(reach[parent] for parent in seen)) for key, seen in reach.items()}
    assert bool(cycle) == any(key in seen for key, seen in reach.items()), cycle


@given(edges)
def test_the_longest_path_shrinks_by_one_at_each_step(pairs: list[tuple[int, int]]) -> None:
    depends = {str(key): sorted({str(p) for c, p in pairs if c == key and p < key}) for key in range(10)}
    length = graph.path_lengths(depends)
    for key in depends:
        children = [child for child, parents in depends.items() if key in parents]
        assert length[key] == 1 + max((length[child] for child in children), default=0)
