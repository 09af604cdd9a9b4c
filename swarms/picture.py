"""A plan as a picture: cards at their places."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from swarms.board import Card
from swarms.graph import ancestors
from swarms.layout import WIDTH, Box, Curve, Drawing, cut, lay_out
from swarms.states import NodeState

PADDING, GLYPH = 14.0, 19.0


@dataclass(frozen=True)
class Vertex:
    """A card at its place in the graph."""

    card: Card
    box: Box
    title: str
    sub: str
    up: str
    """Keys at the other ends of the edges that are drawn, for walking by arrow keys."""
    down: str

    @property
    def text_x(self) -> float:
        return self.box.x + PADDING

    @property
    def sub_x(self) -> float:
        return self.text_x + GLYPH

    @property
    def title_y(self) -> float:
        return self.box.y + 23

    @property
    def sub_y(self) -> float:
        return self.box.y + 42

    @property
    def glyph_y(self) -> float:
        return self.box.y + 31


@dataclass(frozen=True)
class Graph:
    """A plan as a picture."""

    width: float
    height: float
    vertices: tuple[Vertex, ...]
    curves: tuple[tuple[Curve, str], ...]
    """Each with its mark: hot, done or nothing."""
    summary: str


def drawn(shown: Sequence[Card]) -> Drawing | None:
    """Where the nodes are; None when there are none, or when they wait for each other in a circle."""
    if not shown:
        return None
    try:
        return lay_out([card.key for card in shown], _needed({card.key: card.parents for card in shown}))
    except ValueError:
        return None


def graph(shown: Sequence[Card], drawing: Drawing | None = None) -> Graph | None:
    """The picture of some nodes, or nothing where `drawn` finds none. `drawing`: what that found for this shape."""
    drawing = drawing or drawn(shown)
    if drawing is None:
        return None
    by_key = {card.key: card for card in shown}
    room = WIDTH - 2 * PADDING
    vertices = tuple(
        Vertex(card, box, cut(card.title, room, 13), cut(card.sub, room - GLYPH, 12), *_ends(drawing, card.key))
        for box in drawing.boxes
        for card in [by_key[box.key]]
    )
    curves = tuple((curve, _mark(by_key[curve.parent], by_key[curve.child])) for curve in drawing.curves)
    return Graph(drawing.width, drawing.height, vertices, curves, summary(shown))


def _ends(drawing: Drawing, key: str) -> tuple[str, str]:
    up = [curve.parent for curve in drawing.curves if curve.child == key]
    down = [curve.child for curve in drawing.curves if curve.parent == key]
    return " ".join(up), " ".join(down)


def _needed(parents: dict[str, tuple[str, ...]]) -> dict[str, list[str]]:
    """Without the edges that follow from others: they change nothing and hide the shape. Raises CycleError."""
    before = ancestors({key: [p for p in given if p in parents] for key, given in parents.items()})
    return {
        key: [p for p in given if p in parents and not any(p in before[other] for other in given if other in before)]
        for key, given in parents.items()
    }


def _mark(parent: Card, child: Card) -> str:
    if child.look.tone == "running":
        return "hot"
    return "done" if parent.state == child.state == NodeState.SUCCEEDED else ""


def summary(shown: Iterable[Card]) -> str:
    """The nodes in one sentence: '6 nodes: 1 running, 2 waiting, 3 succeeded'."""
    counts: dict[str, int] = {}
    for card in shown:
        counts[card.look.word.lower()] = counts.get(card.look.word.lower(), 0) + 1
    total = sum(counts.values())
    parts = ", ".join(f"{n} {word}" for word, n in counts.items())
    return f"{total} node{'s' if total != 1 else ''}: {parts}"
