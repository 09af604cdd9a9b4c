"""Drawing a plan: layers from left to right, few crossings, straight where it can be. Pure; lengths are pixels.

Ranks by the longest path, dummies for edges over several layers, barycentre sweeps against crossings, then passes
that pull every vertex to its neighbours as far as the spacing lets it.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean, median

from swarms.graph import path_lengths

WIDTH, HEIGHT = 200.0, 56.0
GAP_X, GAP_Y = 72.0, 16.0
DUMMY = 10.0
"""Height that a passing edge takes in a layer."""
SWEEPS, PULLS = 4, 6

Vertex = tuple[str, str, int]
"""(key, "", 0) is a node; (parent, child, rank) the place where their edge passes a layer."""


@dataclass(frozen=True)
class Box:
    """Where a node is drawn."""

    key: str
    x: float
    y: float
    width: float = WIDTH
    height: float = HEIGHT

    @property
    def middle(self) -> float:
        return self.y + self.height / 2


@dataclass(frozen=True)
class Curve:
    """An edge, as the `d` of an SVG path."""

    parent: str
    child: str
    path: str


@dataclass(frozen=True)
class Drawing:
    """A whole plan. `boxes` are in topological order, so that reading and tabbing follow the work."""

    width: float
    height: float
    boxes: tuple[Box, ...]
    curves: tuple[Curve, ...]


def lay_out(keys: Sequence[str], depends_on: Mapping[str, Iterable[str]]) -> Drawing:
    """Place the nodes; the order of `keys` settles ties, so that a small change moves little. Expects no cycle."""
    known = set(keys)
    parents = {key: [p for p in dict.fromkeys(depends_on.get(key, ())) if p in known] for key in keys}
    rank = _ranks(keys, parents)
    layers, links = _layers(keys, parents, rank)
    _order(layers, links)
    middle = _place(layers, links)
    top = min((middle[v] - _height(v) / 2 for layer in layers for v in layer), default=0.0)
    boxes = {
        key: Box(key, round(rank[key] * (WIDTH + GAP_X), 1), round(middle[(key, "", 0)] - HEIGHT / 2 - top, 1))
        for key in keys
    }
    curves = tuple(
        Curve(parent, key, _path(boxes[parent], boxes[key], _passes(parent, key, rank, middle, top)))
        for key in keys
        for parent in parents[key]
    )
    bottom = max((middle[v] + _height(v) / 2 - top for layer in layers for v in layer), default=0.0)
    width = max((box.x + box.width for box in boxes.values()), default=0.0)
    ordered = sorted(boxes.values(), key=lambda box: (box.x, box.y))
    return Drawing(round(width, 1), round(bottom, 1), tuple(ordered), curves)


def _ranks(keys: Sequence[str], parents: Mapping[str, list[str]]) -> dict[str, int]:
    """The layer of each node: the number of nodes on the longest path to it."""
    children: dict[str, list[str]] = {key: [] for key in keys}
    for key in keys:
        for parent in parents[key]:
            children[parent].append(key)
    return {key: length - 1 for key, length in path_lengths(children).items()}


def _height(vertex: Vertex) -> float:
    return DUMMY if vertex[1] else HEIGHT


def _layers(
    keys: Sequence[str], parents: Mapping[str, list[str]], rank: Mapping[str, int]
) -> tuple[list[list[Vertex]], dict[Vertex, tuple[list[Vertex], list[Vertex]]]]:
    """Layers with dummies, and for each vertex its neighbours on the left and on the right."""
    layers: list[list[Vertex]] = [[] for _ in range(max(rank.values(), default=-1) + 1)]
    links: dict[Vertex, tuple[list[Vertex], list[Vertex]]] = {}
    for key in keys:
        layers[rank[key]].append((key, "", 0))
        links[(key, "", 0)] = ([], [])
    for key in keys:
        for parent in parents[key]:
            between = [(parent, key, r) for r in range(rank[parent] + 1, rank[key])]
            for vertex in between:
                layers[vertex[2]].append(vertex)
                links[vertex] = ([], [])
            for left, right in pairwise([(parent, "", 0), *between, (key, "", 0)]):
                links[left][1].append(right)
                links[right][0].append(left)
    return layers, links


def _order(layers: list[list[Vertex]], links: Mapping[Vertex, tuple[list[Vertex], list[Vertex]]]) -> None:
    """Sort each layer by where its neighbours are, to and fro, and keep the order with the fewest crossings."""
    best, fewest = [list(layer) for layer in layers], _crossings(layers, links)
    for sweep in range(SWEEPS):
        side = sweep % 2
        for layer in layers if side == 0 else reversed(layers):
            place = {v: i for row in layers for i, v in enumerate(row)}
            middle = {v: fmean(place[n] for n in links[v][side]) if links[v][side] else place[v] for v in layer}
            layer.sort(key=middle.__getitem__)
        if (crossings := _crossings(layers, links)) < fewest:
            best, fewest = [list(layer) for layer in layers], crossings
    layers[:] = best


def _crossings(layers: list[list[Vertex]], links: Mapping[Vertex, tuple[list[Vertex], list[Vertex]]]) -> int:
    """How many pairs of edges between neighbouring layers cross: inversions, counted by insertion."""
    count = 0
    for left, right in pairwise(layers):
        place = {v: i for i, v in enumerate(right)}
        seen: list[int] = [0] * len(right)
        for vertex in left:
            ends = [place[n] for n in links[vertex][1]]
            count += sum(sum(seen[end + 1 :]) for end in ends)
            for end in ends:
                seen[end] += 1
    return count


def _place(
    layers: list[list[Vertex]], links: Mapping[Vertex, tuple[list[Vertex], list[Vertex]]]
) -> dict[Vertex, float]:
    """The middle of each vertex: as near to the median of its neighbours as order and spacing allow."""
    middle: dict[Vertex, float] = {}
    for layer in layers:
        middle |= dict(zip(layer, _spread([0.0] * len(layer), layer), strict=True))
    for turn in range(PULLS):
        side = turn % 2
        for layer in layers if side == 0 else reversed(layers):
            wanted = [median(middle[n] for n in links[v][side]) if links[v][side] else middle[v] for v in layer]
            middle |= dict(zip(layer, _spread(wanted, layer), strict=True))
    return middle


def _spread(wanted: Sequence[float], layer: Sequence[Vertex]) -> list[float]:
    """Places nearest to the wanted ones (least squares) that keep the order and the gaps: pooled neighbours."""
    offset, offsets = 0.0, []
    for i, vertex in enumerate(layer):
        if i:
            offset += (_height(layer[i - 1]) + _height(vertex)) / 2 + GAP_Y
        offsets.append(offset)
    pools: list[tuple[float, int]] = []
    for want, shift in zip(wanted, offsets, strict=True):
        mean, size = want - shift, 1
        while pools and pools[-1][0] > mean:
            other, count = pools.pop()
            mean, size = (mean * size + other * count) / (size + count), size + count
        pools.append((mean, size))
    flat = [mean for mean, size in pools for _ in range(size)]
    return [base + shift for base, shift in zip(flat, offsets, strict=True)]


def _passes(
    parent: str, child: str, rank: Mapping[str, int], middle: Mapping[Vertex, float], top: float
) -> list[tuple[float, float]]:
    """Left ends of the dummies of an edge, as (x, y)."""
    return [(r * (WIDTH + GAP_X), middle[(parent, child, r)] - top) for r in range(rank[parent] + 1, rank[child])]


def _path(parent: Box, child: Box, passes: list[tuple[float, float]]) -> str:
    x, y = parent.x + parent.width, parent.middle
    parts = [f"M{x:g} {y:g}"]
    for next_x, next_y in [*passes, (child.x, child.middle)]:
        bend = (x + next_x) / 2
        parts.append(f"C{bend:g} {y:g} {bend:g} {next_y:.1f} {next_x:g} {next_y:.1f}")
        x, y = next_x, next_y
        if (next_x, next_y) in passes:
            x += WIDTH
            parts.append(f"H{x:g}")
    return "".join(parts)


# Advance widths of Inter at weight 600, in thousandths of the font size, for the characters from space to tilde.
_ADVANCES = (
    *(252, 321, 523, 644, 650, 1004, 663, 326, 373, 373, 540, 673, 319, 465, 319, 379, 660, 423, 623, 636, 666, 612),
    *(640, 576, 640, 640, 319, 329, 673, 673, 673, 543, 999, 728, 659, 737, 722, 605, 588, 749, 746, 277, 580, 703),
    *(565, 922, 759, 769, 645, 773, 652, 650, 660, 736, 728, 1020, 720, 713, 652, 373, 379, 373, 481, 469, 351, 574),
    *(624, 583, 624, 591, 389, 625, 612, 262, 262, 569, 262, 900, 612, 609, 624, 624, 397, 549, 353, 612, 587, 839),
    *(569, 588, 566, 455, 359, 455, 673),
)


def text_width(text: str, size: float) -> float:
    """How wide a text is in the graph's font; characters that it may not have count as a full square."""
    return sum(_ADVANCES[ord(c) - 32] if " " <= c <= "~" else 1000 for c in text) * size / 1000


def cut(text: str, width: float, size: float) -> str:
    """The text, shortened with an ellipsis until it fits."""
    if text_width(text, size) <= width:
        return text
    while text and text_width(text + "…", size) > width:
        text = text[:-1]
    return text.rstrip() + "…"
