"""A scene as its page shows it: cards for the graph, figures, agents, and what happened up to there."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import lru_cache
from typing import Any

from django.template.loader import render_to_string
from django.utils.safestring import mark_safe

from swarms import picture, words
from swarms.board import Card, Meters, planned
from swarms.boxes import box
from swarms.layout import Curve, Drawing
from swarms.looks import Look, look
from swarms.models.plans import part_of
from swarms.replay.checkpoints import scene_at
from swarms.replay.says import line, say
from swarms.replay.scene import NodeSeen, Scene, Told
from swarms.replay.stories import Story
from swarms.states import NodeState
from swarms.words import Sentence, plain
from tenants.models import User

LINES = 40
"""Lines of the feed that are shown."""


@dataclass(frozen=True)
class Line:
    """A line of what happened."""

    seq: int
    at: datetime
    passed: float
    """Seconds since the first event."""
    said: Sentence
    who: str
    is_now: bool


def at(story: Story, seq: int, last: int, nodes: str = "") -> dict[str, Any]:
    """All that a page shows at one event; the context of swarms/_replay_now.html.

    `nodes` is the address below which nodes have their pages.
    """
    scene, event = scene_at(story, seq), story.at(seq)
    shown = cards(scene, story)
    graph = picture.graph(shown, _drawing(tuple((card.key, card.parents) for card in shown)))
    base = nodes if scene.nodes else ""
    cause = story.cause(event) if event else None
    return {
        "at": seq,
        "last": last,
        "scene": scene,
        "event": event,
        "cause": cause,
        "caused": say(cause.kind, cause.payload).text if cause else "",
        "said": say(event.kind, event.payload) if event else Sentence("Nothing has happened yet"),
        "passed": _passed(scene, event.at) if event else 0.0,
        "meters": meters(scene),
        "graph": graph,
        "vertices": mark_safe("".join(box(vertex, base) for vertex in graph.vertices)) if graph else "",
        "edges": mark_safe("".join(_edge(*curve) for curve in graph.curves)) if graph else "",
        "works": sorted(scene.works.values(), key=lambda work: work.agent),
        "asks": list(scene.asks.values()),
        "lines": lines(story, scene, seq),
    }


@lru_cache(maxsize=64)
def _drawing(shape: tuple[tuple[str, tuple[str, ...]], ...]) -> Drawing | None:
    """Where nodes are: that takes longer than all else, and from event to event it is mostly the same."""
    blank = look("node", "planned")
    return picture.drawn([Card(key, key, "", blank, parents) for key, parents in shape])


@lru_cache(maxsize=4096)
def _edge(curve: Curve, mark: str) -> str:
    """A line of the graph."""
    return render_to_string("swarms/_edge.html", {"curve": curve, "mark": mark})


def cards(scene: Scene, story: Story) -> list[Card]:
    """The nodes; before there are any, those of the plan that is proposed."""
    if not scene.nodes:
        offered = planned(story.document(scene.offered)) if scene.offered else []
        return [replace(card, checks=()) for card in offered]
    present = scene.present
    keys = {node.key for node in present}
    return [_card(scene, node, keys) for node in present]


def _card(scene: Scene, node: NodeSeen, keys: set[str]) -> Card:
    return Card(
        key=node.key,
        title=node.title,
        role=part_of(node.kind, node.role),
        look=_look(scene, node),
        parents=tuple(key for key in node.parents if key in keys),
        agent=scene.agent_of(node),
        attempt=node.attempts,
        max_attempts=node.max_attempts,
        because=plain(node.because),
        risk=node.risk,
        state=node.state,
        started_at=node.began,
        ended_at=node.ended,
    )


def _look(scene: Scene, node: NodeSeen) -> Look:
    """A node that waits for another attempt looks like what went wrong."""
    last = scene.last_attempt(node)
    if node.state == NodeState.READY and last is not None:
        return look("node", "conflict" if last.reason == "merge_conflict" else "retrying")
    return look("node", node.state)


def meters(scene: Scene) -> Meters:
    """The figures of a scene."""
    spent = scene.spent
    return Meters(
        done=scene.done,
        total=sum(not node.is_dropped for node in scene.nodes.values()),
        agents=sum(work.kind != "check" for work in scene.works.values()),
        tokens=spent.tokens,
        cost=spent.microusd if spent.priced else None,
        unpriced=spent.unpriced,
        is_rehearsal=spent.rehearsed > 0,
    )


def lines(story: Story, scene: Scene, until: int) -> list[Line]:
    """What happened up to an event, the newest first."""
    events = story.before(until, 2 * LINES, words.KINDS)
    told = [(event, said) for event in events if (said := line(event.kind, event.payload))][:LINES]
    who = names(story, [event for event, _ in told])
    return [
        Line(
            event.seq,
            event.at,
            _passed(scene, event.at),
            said,
            "" if event.kind == "approval.decided" else who.get(event.actor, ""),
            event.seq == until,
        )
        for event, said in told
    ]


def names(story: Story, events: Sequence[Told]) -> dict[str, str]:
    """What people are called who did something; an archive has their names in the place of ids."""
    actors = {event.actor for event in events if event.actor.startswith("user:")}
    if story.is_archive:
        return {actor: actor.removeprefix("user:") for actor in actors}
    return {f"user:{user.pk}": str(user) for user in _users(actor.removeprefix("user:") for actor in actors)}


def _users(ids: Iterable[str]) -> list[User]:
    wanted = list(ids)
    return list(User.objects.filter(pk__in=wanted)) if wanted else []


def _passed(scene: Scene, moment: datetime) -> float:
    return (moment - scene.began).total_seconds() if scene.began else 0.0


def facts(story: Story, seq: int) -> dict[str, Any]:
    """A scene for programs: plain values, moments as text."""
    scene = scene_at(story, seq)
    rows = {name: [row._asdict() for row in getattr(scene, name).values()] for name in ("works", "asks")}
    tries = [attempt._asdict() for attempts in scene.attempts.values() for attempt in attempts]
    nodes = [node._asdict() | {"when": [one._asdict() for one in node.when]} for node in scene.present]
    return {
        "event": scene.seq,
        "at": scene.at,
        "goal": {"number": scene.number, "text": scene.goal},
        "state": scene.state,
        "because": scene.because,
        "plan": scene.version,
        "branch": scene.branch,
        "landed": scene.landed,
        "rolled_back": scene.rolled_back,
        "priority": scene.priority,
        "deadline": scene.deadline,
        "nodes": nodes,
        "attempts": tries,
        **rows,
        "plans": [plan._asdict() for plan in scene.plans.values()],
        "merges": [{"node": node, "commit": commit} for node, commit in scene.merges.items()],
        "spent": scene.spent._asdict(),
    }
