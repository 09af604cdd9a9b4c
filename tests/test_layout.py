"""Drawing a plan."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from swarms.layout import GAP_X, GAP_Y, HEIGHT, WIDTH, Drawing, cut, lay_out, text_width


@st.composite
def plans(draw: st.DrawFn) -> tuple[list[str], dict[str, list[str]]]:
    keys = [f"n{i}" for i in range(draw(st.integers(0, 24)))]
    edges = {key: draw(st.lists(st.sampled_from(keys[:i]), max_size=4)) if i else [] for i, key in enumerate(keys)}
    return draw(st.permutations(keys)), edges


def layers(drawing: Drawing) -> dict[float, list[float]]:
    found: dict[float, list[float]] = {}
    for box in drawing.boxes:
        found.setdefault(box.x, []).append(box.y)
    return {x: sorted(ys) for x, ys in found.items()}


@given(plans())
def test_every_node_is_drawn_once_inside_the_picture(plan: tuple[list[str], dict[str, list[str]]]) -> None:
    keys, edges = plan
    drawing = lay_out(keys, edges)
    assert sorted(box.key for box in drawing.boxes) == sorted(keys)
    for box in drawing.boxes:
        assert box.x >= 0
        assert box.y >= -0.1
        assert box.x + box.width <= drawing.width + 0.1
        assert box.y + box.height <= drawing.height + 0.1


@given(plans())
def test_no_two_nodes_overlap(plan: tuple[list[str], dict[str, list[str]]]) -> None:
    for ys in layers(lay_out(*plan)).values():
        assert all(below - above >= HEIGHT + GAP_Y - 0.2 for above, below in pairwise(ys))


@given(plans())
def test_every_edge_goes_to_the_right(plan: tuple[list[str], dict[str, list[str]]]) -> None:
    keys, edges = plan
    drawing = lay_out(keys, edges)
    boxes = {box.key: box for box in drawing.boxes}
    assert {(c.parent, c.child) for c in drawing.curves} == {(p, key) for key in keys for p in edges[key]}
    for curve in drawing.curves:
        parent, child = boxes[curve.parent], boxes[curve.child]
        assert child.x - parent.x >= WIDTH + GAP_X - 0.1
        assert curve.path.startswith(f"M{parent.x + parent.width:g} ")


@given(plans())
def test_the_same_plan_is_drawn_the_same(plan: tuple[list[str], dict[str, list[str]]]) -> None:
    assert lay_out(*plan) == lay_out(*plan)


def test_a_chain_is_a_straight_line() -> None:
    drawing = lay_out(["a", "b", "c"], {"b": ["a"], "c": ["b"]})
    assert {box.y for box in drawing.boxes} == {0}
    assert (drawing.width, drawing.height) == (3 * WIDTH + 2 * GAP_X, HEIGHT)


def test_a_parent_stands_in_the_middle_of_its_children() -> None:
    drawing = lay_out(["a", "b", "c", "d"], {"b": ["a"], "c": ["a"], "d": ["a"]})
    boxes = {box.key: box for box in drawing.boxes}
    assert boxes["a"].middle == boxes["c"].middle == drawing.height / 2


def test_an_edge_over_a_layer_keeps_clear_of_the_node_between() -> None:
    drawing = lay_out(["a", "b", "c"], {"b": ["a"], "c": ["a", "b"]})
    long = next(curve for curve in drawing.curves if (curve.parent, curve.child) == ("a", "c"))
    box = next(box for box in drawing.boxes if box.key == "b")
    passes = float(long.path.split("H")[0].rsplit(" ", 1)[1])
    assert not box.y <= passes <= box.y + box.height


def test_crossings_that_need_not_be_are_undone() -> None:
    drawing = lay_out(["a", "b", "x", "y"], {"x": ["b"], "y": ["a"]})
    boxes = {box.key: box for box in drawing.boxes}
    assert (boxes["a"].y < boxes["b"].y) == (boxes["y"].y < boxes["x"].y)


@given(st.text(max_size=60), st.floats(20, 400))
def test_a_cut_text_fits(text: str, width: float) -> None:
    shown = cut(text, width, 13)
    assert text_width(shown, 13) <= width
    assert shown == text or shown.endswith("…")
