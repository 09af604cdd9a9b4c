"""What a new version of a plan changes, and what it may not."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.contracts import PlanNode, PlanProposal
from agents.contracts.plan import EdgeCondition
from swarms import amend, graph
from swarms.amend import Changes, Present


def node(key: str, *after: str, **fields: object) -> PlanNode:
    made = PlanNode(key=key, title=f"do {key}", role="developer", instructions="x", depends_on=after, writes=(key,))
    return made.model_copy(update=fields)


def plan(*nodes: PlanNode) -> PlanProposal:
    return PlanProposal(summary="s", nodes=nodes)


CHAIN = [Present(node("a"), "has succeeded"), Present(node("b", "a"), "is running"), Present(node("c", "b"))]


def faults(present: list[Present], wanted: PlanProposal, **more: object) -> list[str]:
    return amend.faults(present, wanted, max_nodes=40, **more)  # type: ignore[arg-type]


def test_what_has_begun_stays_as_it_is() -> None:
    assert faults(CHAIN, plan(node("a"), node("b", "a"), node("c", "b"))) == []
    dropped = faults(CHAIN, plan(node("b"), node("c", "b")))
    assert "Node 'a' has succeeded and cannot be dropped: put it back as it was." in dropped
    assert any("'b' is running: put its depends_on back" in fault for fault in dropped)
    reworded = faults(CHAIN, plan(node("a", title="other", writes=("x",)), node("b", "a"), node("c", "b")))
    assert reworded == ["Node 'a' has succeeded: put its title, writes back, or add a node that comes after it."]
    before = faults(CHAIN, plan(node("a"), node("n"), node("b", "a", "n"), node("c", "b")))
    assert any("'b' is running: put its depends_on back" in fault for fault in before)


def test_what_has_not_begun_is_split_dropped_rewired_and_reworded() -> None:
    wanted = plan(node("a"), node("b", "a"), node("c1", "b"), node("c2", "a"))
    assert faults(CHAIN, wanted) == []
    found = amend.changes(CHAIN, wanted)
    assert found.summary == {"inserted": ["c1", "c2"], "dropped": ["c"], "rewired": [], "reworded": []}
    again = amend.changes(CHAIN, plan(node("a"), node("b", "a"), node("c", "a", title="new")))
    assert again.summary == {"inserted": [], "dropped": [], "rewired": ["c"], "reworded": ["c"]}
    assert again.path_lengths == {"a": 2, "b": 1, "c": 1}


def test_another_condition_is_another_edge() -> None:
    when = EdgeCondition(parent="b", field="verdict", values=("approve",))
    found = amend.changes(CHAIN, plan(node("a"), node("b", "a"), node("c", "b", when=(when,))))
    assert found.edges_remove == (("b", "c"),)
    assert found.edges_add == (amend.Wire("b", "c", when),)
    assert found.rewired == ["c"]
    assert found.reworded == []


def test_a_key_that_was_dropped_is_not_used_again() -> None:
    wanted = plan(node("a"), node("b", "a"), node("old", "b"))
    assert "choose another key" in faults(CHAIN, wanted, taken={"old"})[0]


def test_the_faults_of_any_plan_are_faults_of_a_change() -> None:
    assert any(
        "wait for each other" in f
        for f in faults(CHAIN, plan(node("a"), node("b", "a"), node("c", "d"), node("d", "c")))
    )
    more = plan(*(one.node for one in CHAIN), node("e"))
    assert any(f"at most {len(CHAIN)} are allowed" in f for f in amend.faults(CHAIN, more, max_nodes=2))


def test_the_coordinator_needs_not_repeat_what_has_begun() -> None:
    said = plan(node("a", title="misremembered"), node("c", "a"))
    whole = amend.with_begun(CHAIN, said)
    assert [one.key for one in whole.nodes] == ["a", "b", "c"]
    assert faults(CHAIN, whole) == []
    assert amend.changes(CHAIN, whole).rewired == ["c"]


def test_a_part_stands_between_its_node_and_what_waited_for_it() -> None:
    part = amend.prefixed(plan(node("x"), node("y", "x"), node("z")), "b")
    assert [(one.key, one.depends_on) for one in part.nodes] == [
        ("b--x", ("b",)),
        ("b--y", ("b--x",)),
        ("b--z", ("b",)),
    ]
    any_of = Present(node("d", "b", "a", fan_in="any_success"))
    whole = {one.key: one.depends_on for one in amend.grafted([*CHAIN, any_of], part, under="b").nodes}
    assert whole["c"] == ("b", "b--y", "b--z")
    assert whole["d"] == ("a", "b--y", "b--z")
    assert whole["b"] == ("a",)


@pytest.mark.parametrize(
    ("part", "word"),
    [
        (plan(node("k" * 39)), "at most 37 characters"),
        (plan(node("c")), "was used before"),
        (plan(node("x"), node("y")), "at most 1 are allowed"),
        (plan(node("p", kind="plan", role="", writes=())), "nest at most 1 deep"),
    ],
)
def test_faults_of_a_part_are_named(part: PlanProposal, word: str) -> None:
    found = amend.part_faults(CHAIN, part, under="b", max_nodes=4, max_depth=1, taken={"b--c"})
    assert any(word in fault for fault in found), found


@pytest.mark.parametrize(
    ("needs_approval", "approval", "then"),
    [
        (False, "", "adopt"),
        (True, "", "ask"),
        (True, "void", "ask"),
        (True, "pending", "wait"),
        (True, "approved", "adopt"),
        (True, "rejected", "reject"),
        (True, "expired", "reject"),
    ],
)
def test_what_is_done_about_a_proposed_change(needs_approval: bool, approval: str, then: str) -> None:
    assert amend.answer(needs_approval=needs_approval, approval=approval) == then


def carried_out(present: list[Present], found: Changes) -> dict[str, PlanNode]:
    """The nodes after the changes, as rows would have them."""
    nodes = {one.node.key: one.node for one in present if one.node.key not in found.drop}
    nodes |= {one.key: one.model_copy(update={"depends_on": (), "when": ()}) for one in found.insert}
    for one in found.update:
        was = nodes[one.key]
        nodes[one.key] = one.model_copy(update={"depends_on": was.depends_on, "when": was.when})
    edges = {(parent, one.key) for one in nodes.values() for parent in one.depends_on}
    edges -= set(found.edges_remove)
    edges |= {(wire.parent, wire.child) for wire in found.edges_add}
    conditions = {(c.parent, one.key): c for one in nodes.values() for c in one.when}
    conditions = {pair: c for pair, c in conditions.items() if pair not in found.edges_remove}
    conditions |= {(wire.parent, wire.child): wire.condition for wire in found.edges_add if wire.condition}
    return {
        key: one.model_copy(
            update={
                "depends_on": tuple(sorted(p for p, child in edges if child == key)),
                "when": tuple(conditions[pair] for pair in sorted(conditions) if pair[1] == key),
            }
        )
        for key, one in nodes.items()
    }


KEYS = [f"n{number}" for number in range(9)]


@st.composite
def graphs(draw: st.DrawFn) -> list[PlanNode]:
    """A random DAG over some of nine keys, with a few conditions."""
    keys = draw(st.lists(st.sampled_from(KEYS), min_size=1, max_size=7, unique=True))
    made = []
    for place, key in enumerate(keys):
        after = tuple(draw(st.lists(st.sampled_from(keys[:place]), unique=True, max_size=3))) if place else ()
        when = tuple(
            EdgeCondition(parent=parent, field="verdict", values=(draw(st.sampled_from("xy")),))
            for parent in after
            if draw(st.integers(0, 4)) == 0
        )
        made.append(node(key, *after, when=when, title=draw(st.sampled_from(["one", "two"]))))
    return made


@given(graphs(), graphs(), st.data())
def test_changes_make_the_wanted_graph_and_leave_alone_what_has_begun(
    now: list[PlanNode], then: list[PlanNode], data: st.DataObject
) -> None:
    begun: set[str] = set()
    for one in now:  # whatever has begun began after its parents
        if begun.issuperset(one.depends_on) and data.draw(st.booleans()):
            begun.add(one.key)
    present = [Present(one, "is running" if one.key in begun else "") for one in now]
    wanted = amend.with_begun(present, plan(*then)) if data.draw(st.booleans()) else plan(*then)
    if faults(present, wanted):
        return
    found = amend.changes(present, wanted)
    after = carried_out(present, found)
    asked = {
        one.key: one.model_copy(
            update={
                "depends_on": tuple(sorted(one.depends_on)),
                "when": tuple(sorted(one.when, key=lambda c: c.parent)),
            }
        )
        for one in wanted.nodes
    }
    assert after == asked
    assert not begun & {*found.drop, *found.rewired, *found.reworded}
    assert graph.find_cycle({key: one.depends_on for key, one in after.items()}) == []
    settled = [replace(one, node=after[one.node.key]) for one in present if one.node.key in after]
    settled += [Present(after[one.key]) for one in found.insert]
    assert amend.changes(settled, wanted).is_empty


@given(graphs(), graphs(), st.data())
def test_a_part_makes_no_cycle_and_everything_behind_its_node_waits_for_it(
    now: list[PlanNode], then: list[PlanNode], data: st.DataObject
) -> None:
    under = data.draw(st.sampled_from([one.key for one in now]))
    present = [Present(one, "is running" if one.key == under else "") for one in now]
    part = amend.prefixed(plan(*then), under)
    whole = amend.grafted(present, part, under=under)
    before = graph.ancestors({one.key: one.depends_on for one in whole.nodes})
    inside = {one.key for one in part.nodes}
    assert all(under in before[key] for key in inside)
    for one in now:
        if under in one.depends_on:
            assert inside <= before[one.key]
