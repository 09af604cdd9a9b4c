"""How a swarm's page follows its swarm: a line of the feed for each event, and of the rest what looks different."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any
from uuid import UUID

from django.conf import settings
from django.template.loader import render_to_string
from django.urls import reverse

from sessions.models import Event
from sessions.renderers import Swap
from swarms import picture, regions
from swarms.board import Card
from swarms.boxes import box
from swarms.feed import lines
from swarms.models import Swarm

FEED = "feed"
NODES = ("node.", "nodes.", "attempt.", "plan.", "swarm.", "approval.", "check_run.", "merge.", "priority.")
"""Kinds of events after which nodes may look different; and so on."""
NOW = ("attempt.", "execution.", "agent.doing", "plan.")
METERS = ("swarm.", "node.", "nodes.", "execution.", "model.", "budget.", "priority.", "deadline.")
CHECKS = ("check_run.", "checks.")
Known = dict[str, Any]


class SwarmPages:
    """Implements sessions.renderers.Renderer for swarms."""

    def each(self, events: Sequence[Event]) -> Sequence[Sequence[Swap]]:
        """See the protocol."""
        shown: list[list[Swap]] = [[] for _ in events]
        for place, item in lines(events):
            shown[place].append(Swap(FEED, render_to_string("swarms/_feed.html", {"feed": [item]})))
        for place, event in enumerate(events):
            if event.kind == "agent.doing":
                session, text = event.payload["session"], event.payload["text"]
                html = render_to_string(
                    "swarms/_doing.html", {"topic": event.subject, "session": session, "text": text}
                )
                shown[place].append(Swap(f"{event.subject}/doing/{session}", html))
        return shown

    def changes(self, event: Event) -> bool:
        """See the protocol."""
        return event.kind.startswith((*NODES, *NOW, *METERS, *CHECKS))

    def rest(self, topic: str, kinds: Collection[str], known: Known) -> Sequence[Swap]:
        """See the protocol."""
        swarm = Swarm.objects.select_related("project", "goal").get(pk=UUID(topic.partition(":")[2]))
        found: list[Swap] = []
        if _any(kinds, NODES):
            found += _nodes(swarm, regions.cards(swarm), known)
        wanted: Mapping[str, tuple[tuple[str, ...], Any]] = {
            "now": (NOW, regions.now),
            "meters": (METERS, regions.meters),
            "checks": (CHECKS, regions.checks),
        }
        for name, (after, read) in wanted.items():
            if _any(kinds, after):
                html = render_to_string(f"swarms/_swarm_{name}.html", {"swarm": swarm} | read(swarm))
                found += _changed(f"{topic}/{name}", html, known)
        return found


def _any(kinds: Collection[str], prefixes: tuple[str, ...]) -> bool:
    return any(kind.startswith(prefixes) for kind in kinds)


def _changed(place: str, html: str, known: Known) -> list[Swap]:
    if known.get(place) == html:
        return []
    known[place] = html
    return [Swap(place, html)]


def _nodes(swarm: Swarm, cards: Sequence[Card], known: Known) -> list[Swap]:
    """Rows and boxes that look different; all of them when the plan has another shape, or nobody knows the last."""
    shape = [(card.key, card.parents) for card in cards]
    before: dict[str, Card] = known.get("cards", {})
    drawing = known["drawing"] if known.get("shape") == shape else picture.drawn(cards)
    is_same = known.get("shape") == shape and drawing is not None and before.keys() == {card.key for card in cards}
    known["shape"], known["drawing"], known["cards"] = shape, drawing, {card.key: card for card in cards}
    graph = picture.graph(cards, drawing)
    drawn_before: picture.Graph | None = known.get("graph")
    known["graph"] = graph
    if not is_same or graph is None or drawn_before is None or any(_is_planned(card, before) for card in cards):
        context = {"swarm": swarm, "cards": cards, "graph": graph}
        return [
            Swap(f"{swarm.topic}/{name}", render_to_string(f"swarms/_swarm_{name}.html", context))
            for name in ("nodes", "graph")
        ]
    rows = [card for card in cards if card != before[card.key]]
    return [
        *(_row(swarm, card) for card in rows),
        *_drawn(swarm, drawn_before, graph),
    ]


def _is_planned(card: Card, before: Mapping[str, Card]) -> bool:
    """Whether it is a node only now, or still none: then it has, or had, no page to link to."""
    return "planned" in (card.state, before[card.key].state)


def _row(swarm: Swarm, card: Card) -> Swap:
    html = render_to_string("swarms/_node_row.html", {"swarm": swarm, "card": card})
    return Swap(f"{swarm.topic}/node/{card.key}", html)


def _drawn(swarm: Swarm, before: picture.Graph, graph: picture.Graph) -> list[Swap]:
    topic, found = swarm.topic, []
    base = reverse("swarm", args=[swarm.project.slug, swarm.number], urlconf=settings.ROOT_URLCONF)
    if graph.summary != before.summary:
        html = render_to_string("swarms/_graph_summary.html", {"swarm": swarm, "graph": graph})
        found.append(Swap(f"{topic}/summary", html))
    for old, vertex in zip(before.vertices, graph.vertices, strict=True):
        if vertex != old:
            found.append(Swap(f"{topic}/vertex/{vertex.card.key}", box(vertex, base, topic)))
    for (_, mark), (curve, now) in zip(before.curves, graph.curves, strict=True):
        if mark != now:
            html = render_to_string("swarms/_edge.html", {"swarm": swarm, "curve": curve, "mark": now})
            found.append(Swap(f"{topic}/edge/{curve.parent}/{curve.child}", html))
    return found
