"""Faults and warnings of plans, and the critical path."""

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.contracts import AnswerAsked, PlanNode, PlanProposal
from agents.contracts.plan import EdgeCondition
from swarms import graph
from swarms.overlap import shared


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


def agent(key: str, *after: str, **fields: object) -> PlanNode:
    return node(key, *after).model_copy(update=fields)


NO_WORK = {"role": "", "writes": ()}


def ask(name: str, **fields: Any) -> AnswerAsked:
    return AnswerAsked(name=name, **{"asks": "Is it so?"} | fields)


def looks(asked: AnswerAsked, **condition: Any) -> PlanProposal:
    """A plan whose second node has a condition on what the first is asked."""
    return plan(agent("a", answers=(asked,)), agent("b", "a", when=(EdgeCondition(parent="a", **condition),)))


def test_conditions_on_what_a_node_is_asked_are_good() -> None:
    for asked, condition in (
        (ask("n"), {"values": [True]}),  # as YAML reads a bare yes
        (ask("n", kind="word", words=("a", "b")), {"values": ["b"], "negate": True}),
        (ask("n", kind="number"), {"at_least": 0.5}),
        (ask("n", kind="number"), {"at_least": 2, "at_most": 2}),
    ):
        assert graph.faults(looks(asked, field="n", **condition), max_nodes=10) == []


@pytest.mark.parametrize(
    ("bad", "word"),
    [
        (plan(agent("a", kind="noop", role="", writes=("x",))), "its writes must be empty"),
        (plan(agent("a", kind="plan", writes=())), "its role must be empty"),
        (plan(agent("a", kind="plan", instructions=" ", **NO_WORK)), "empty instructions"),
        (plan(agent("a", kind="noop", compensate="undo it", **NO_WORK)), "its compensate must be empty"),
        (plan(node("a"), agent("b", "a", when=(EdgeCondition(parent="c", field="x", values=("y",)),))), "on 'c'"),
        (plan(node("a"), agent("b", "a", when=(EdgeCondition(parent="a", field="", values=("y",)),))), "needs a field"),
        (
            plan(node("a"), agent("b", "a", when=(EdgeCondition(parent="a", field="summary", values=()),))),
            "1 to 20 values",
        ),
        (
            plan(node("a"), agent("b", "a", when=(EdgeCondition(parent="a", field="verdict", values=("approve",)),))),
            "looks at 'verdict', which that node never says. It says summary, commit, or have it asked in",
        ),
        (
            plan(
                agent("a", kind="noop", **NO_WORK),
                agent("b", "a", when=(EdgeCondition(parent="a", field="summary", values=("x",), negate=True),)),
            ),
            "It says nothing, it is a milestone.",
        ),
        (
            plan(node("a"), agent("b", "a", when=(EdgeCondition(parent="a", field="x", values=("y",)),) * 2)),
            "two conditions on 'a'",
        ),
        (plan(agent("a", kind="noop", answers=(ask("n"),), **NO_WORK)), "its answers must be empty"),
        (plan(agent("a", answers=(ask("n"), ask("n")))), "asks for the answer 'n' 2 times"),
        (plan(agent("a", answers=tuple(ask(f"n{n}") for n in range(21)))), "asks for 21 answers; at most 20"),
        (plan(agent("a", answers=(ask("No"),))), "its answer 'No' needs a name of lower-case letters"),
        (plan(agent("a", answers=(ask("verdict"),))), "needs another name: summary, commit, verdict"),
        (plan(agent("a", answers=(ask("n", asks="one\ntwo"),))), "its answer 'n' needs one line of 1 to 200"),
        (plan(agent("a", answers=(ask("n", words=("a", "b")),))), "is of kind yes_no: leave its words out"),
        (plan(agent("a", answers=(ask("n", kind="word", words=("a", "a")),))), "needs 2 to 20 words, each once"),
        (plan(agent("a", answers=(ask("n", kind="word", words=("a", " b")),))), "has the word ' b'"),
        (looks(ask("n"), field="m", values=("yes",)), "looks at 'm', which that node never says. It says n, summary"),
        (looks(ask("n"), field="n", values=("maybe",)), "waits for 'maybe', and 'n' is one of yes, no"),
        (looks(ask("n", kind="word", words=("a", "b")), field="n", values=("b", "c")), "waits for 'c'"),
        (looks(ask("n", kind="number"), field="n", values=("3",)), "looks at a number: give at_least"),
        (looks(ask("n", kind="number"), field="n", at_least=1, values=("3",)), "both values and bounds"),
        (looks(ask("n", kind="number"), field="n", at_least=2, at_most=1), "can never hold"),
        (looks(ask("n", kind="number"), field="n", at_most=float("nan")), "a bound that is no number"),
        (looks(ask("n"), field="n", at_least=1), "has bounds, and 'n' is no number"),
        (plan(agent("a", fan_in="any_success")), "depends on nothing"),
        (plan(agent("a", compensate="c" * 20_001)), "its compensate has more than"),
        (plan(agent("a", minutes=0)), "its minutes are 0; they must be from 1 to 1440"),
        (plan(agent("a", minutes=1441)), "its minutes are 1441"),
        (plan(agent("a", priority=-101)), "its priority is -101; it must be from -100 to 100"),
        (plan(agent("a", budget_usd=-0.5)), "its budget_usd is -0.5"),
        (plan(agent("a", budget_usd=float("nan"))), "its budget_usd is nan"),
        (plan(agent("a", budget_usd=1e13)), "its budget_usd is 10000000000000.0; it must be from 0 to 1000000000"),
        (plan(node("a--b")), "single hyphens"),
    ],
)
def test_each_fault_of_the_finer_fields_is_named(bad: PlanProposal, word: str) -> None:
    found = graph.faults(bad, max_nodes=10)
    assert any(word in fault for fault in found), found


def test_a_milestone_and_a_nested_plan_are_good_nodes() -> None:
    good = plan(node("a"), agent("b", "a", kind="noop", instructions="", **NO_WORK), agent("c", kind="plan", **NO_WORK))
    assert graph.faults(good, max_nodes=10) == []
    assert "nest at most 2 deep" in graph.faults(good, max_nodes=10, depth=2)[0]
    assert "nest at most 0 deep" in graph.faults(good, max_nodes=10, max_depth=0)[0]
    assert graph.faults(plan(node("a--b")), max_nodes=10, known={"a--b"}) == []


def test_a_condition_may_look_at_whatever_its_parent_says() -> None:
    review = agent("a", role="reviewer", writes=())
    for field in ("verdict", "summary", "commit"):
        when = (EdgeCondition(parent="a", field=field, values=("approve",)),)
        assert graph.faults(plan(review, agent("b", "a", when=when)), max_nodes=10) == []


def test_the_same_writes_of_very_many_nodes_are_told_briefly() -> None:
    crowd = plan(*(node(f"n{i}", writes=("src/**",)) for i in range(300)))
    found = graph.warnings(crowd)
    assert len(found) == graph.MOST_WARNINGS + 1
    assert found[-1].startswith("There are more nodes")


def test_a_plan_with_too_many_patterns_is_told_that_not_all_were_compared() -> None:
    wild = plan(*(node(f"n{i}", writes=(f"*/x{i}.py",)) for i in range(300)))
    assert graph.warnings(wild) == ["Too many writes to compare each with each: name folders instead of many patterns."]


globs = st.lists(st.sampled_from(["a", "a/b", "a/**", "*/b", "**", "a/b/c", "b/*", "b/", "a/b/"]), max_size=3)


@given(st.lists(globs, min_size=2, max_size=7), edges)
def test_the_pairs_warned_of_are_those_that_comparing_each_with_each_finds(
    written: list[list[str]], pairs: list[tuple[int, int]]
) -> None:
    nodes = [
        node(str(i), *{str(p) for c, p in pairs if c == i and p < i}, writes=tuple(some))
        for i, some in enumerate(written)
    ]
    before = graph.ancestors({one.key: one.depends_on for one in nodes})
    expected = [
        f"'{one.key}' and '{other.key}' may run at the same time and both write {', '.join(dict.fromkeys(both))}."
        for place, one in enumerate(nodes)
        for other in nodes[place + 1 :]
        if one.key not in before[other.key] and other.key not in before[one.key]
        if (both := shared(one.writes, other.writes))
    ]
    assert graph.warnings(plan(*nodes)) == expected


def test_five_thousand_nodes_are_looked_at_node_by_node() -> None:
    deep = plan(*(node(f"n{i}", *([f"n{i - 1}"] if i else []), writes=(f"src/{i}/**",)) for i in range(5000)))
    assert graph.faults(deep, max_nodes=5000) == []
    assert graph.warnings(deep) == []
    assert graph.path_lengths({one.key: one.depends_on for one in deep.nodes})["n0"] == 5000
    ring = plan(*(node(f"n{i}", f"n{(i + 1) % 5000}", writes=(f"src/{i}/**",)) for i in range(5000)))
    assert any("wait for each other" in fault for fault in graph.faults(ring, max_nodes=5000))
